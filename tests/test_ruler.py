"""Bits per byte measure any model alike, and refuse answers that no model can give."""

import math

import numpy as np
import pytest

from bow2gpt import ruler
from bow2gpt.chapters.counting_models import NGramModel, WordTokenizer, jelinek_mercer


class Coin:
    """A stand-in for a model: every byte costs the same number of nats."""

    def __init__(self, nats_per_byte):
        self.nats_per_byte = nats_per_byte

    def token_log_probs(self, text, context=""):
        return np.full(len(text.encode()), -self.nats_per_byte, dtype=np.float32)

    def next_token_log_probs(self, context=""):
        return np.full(256, -self.nats_per_byte)

    def generate(self, num_tokens, context="", *, temperature=1.0, seed=0):
        return ""


@pytest.mark.parametrize("text", ["a", "peace and war", "naïve 東京 🕊️", "\n" * 1000])
def test_model_that_knows_nothing_takes_eight_bits_per_byte(text):
    assert ruler.bits_per_byte(Coin(math.log(256)), text) == pytest.approx(8, rel=1e-6)


def test_length_is_counted_in_bytes_of_utf8():
    model = NGramModel.fit("東京", order=1)
    assert ruler.bits_per_byte(model, "東") == pytest.approx(-ruler.log_prob(model, "東") / math.log(2) / 3)


def test_empty_text_takes_no_bits():
    assert ruler.bits_per_byte(Coin(1.0), "") == 0.0
    assert math.copysign(1, ruler.bits_per_byte(Coin(1.0), "")) == 1


def test_bits_do_not_depend_on_how_the_text_is_cut():
    """Two tokenizers that give each text the same probability get the same bits, and other perplexities."""

    class TwoBytesAtATime(Coin):
        def token_log_probs(self, text, context=""):
            return np.full(len(text.encode()) // 2, -2 * self.nats_per_byte)

    text = "peace and war."
    one, two = Coin(1.0), TwoBytesAtATime(1.0)
    assert ruler.bits_per_byte(one, text) == pytest.approx(ruler.bits_per_byte(two, text))
    assert ruler.perplexity(two, text) == pytest.approx(ruler.perplexity(one, text) ** 2)


def test_perplexity_and_bits_agree_over_bytes():
    model = NGramModel.fit("the people of the states", order=3)
    text = "the states of the people"
    assert math.log2(ruler.perplexity(model, text)) == pytest.approx(ruler.bits_per_byte(model, text))


def test_log_prob_is_the_sum_over_tokens_in_double_precision():
    assert ruler.log_prob(Coin(0.1), "a" * 1_000_000) == pytest.approx(-1e5, rel=1e-6)


def test_word_model_pays_for_an_unknown_word():
    text = "we love peace. we love peace. "
    model = NGramModel.fit(text, order=2, tokenizer=WordTokenizer.train(text))
    assert ruler.log_prob(model, "we love zymurgy") < ruler.log_prob(model, "we love peace") - 7 * math.log(2)


def test_impossible_text_takes_infinite_bits():
    model = NGramModel.fit("abab", order=2, smoothing=jelinek_mercer(1.0))
    assert ruler.bits_per_byte(model, "ac") == math.inf


@pytest.mark.parametrize("nats", [math.nan, -1.0])
def test_impossible_answer_of_a_model_is_refused(nats):
    with pytest.raises(ValueError, match=r"Coin gave the text a log-probability of .*; it must be at most zero"):
        ruler.bits_per_byte(Coin(nats), "abc")


@pytest.mark.parametrize("text", [b"bytes", None, 3, ["a"]])
def test_something_else_than_text_is_refused(text):
    for measure in (ruler.bits_per_byte, ruler.perplexity, ruler.log_prob):
        with pytest.raises(TypeError, match=rf"the text must be a str, got {type(text).__name__}; decode bytes"):
            measure(Coin(1.0), text)
    with pytest.raises(TypeError, match="the context must be a str"):
        ruler.log_prob(Coin(1.0), "a", text)


def test_perplexity_of_an_empty_text_is_refused():
    with pytest.raises(ValueError, match="got an empty text; perplexity is a mean over tokens"):
        ruler.perplexity(Coin(1.0), "")


def test_protocol_is_checked_at_run_time():
    assert isinstance(Coin(1.0), ruler.LanguageModel)
    assert not isinstance(object(), ruler.LanguageModel)
