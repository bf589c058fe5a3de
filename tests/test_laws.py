"""Every language model of the book obeys the laws of probability; a model that cheats is caught."""

from functools import cache

import laws
import numpy as np
import pytest

from bow2gpt import corpus
from bow2gpt.chapters.attention import AttentionLanguageModel, train_attention_model
from bow2gpt.chapters.counting_models import (
    NGramModel,
    WordTokenizer,
    absolute_discounting,
    add_k,
    jelinek_mercer,
    modified_kneser_ney,
    witten_bell,
)
from bow2gpt.chapters.embeddings import LogBilinearModel, MixtureModel
from bow2gpt.chapters.language_features import ByteTokenizer, Tokenizer, UnigramModel
from bow2gpt.chapters.mini_gpt import GPT, GPTConfig, train_gpt
from bow2gpt.chapters.mlps import NeuralLanguageModel, train_language_model
from bow2gpt.chapters.sequences import LSTMLanguageModel, train_recurrent

SMOOTHINGS = {
    "Kneser-Ney": modified_kneser_ney,
    "Witten-Bell": witten_bell,
    "absolute discounting": absolute_discounting(0.75),
    "Jelinek-Mercer": jelinek_mercer(0.7),
    "add-k": add_k(0.1),
}


@cache
def training_text() -> str:
    """A passage of the corpus, and a few characters that it lacks."""
    return corpus.text("validation")[:40_000] + "\n\nnaïve café 🕊️ the union of the states\n"


@cache
def word_tokenizer() -> WordTokenizer:
    return WordTokenizer.train(training_text())


@cache
def bpe_tokenizer() -> Tokenizer:
    return Tokenizer.train(training_text(), 500)


def over_bytes(smoothing, order):
    return lambda: NGramModel.fit(training_text(), order, smoothing)


def over_words(smoothing, order):
    return lambda: NGramModel.fit(training_text(), order, smoothing, word_tokenizer())


def log_bilinear():
    return LogBilinearModel.fit(training_text(), bpe_tokenizer(), dim=16)


def mixed_with_counts(build):
    def both():
        return MixtureModel([build(), NGramModel.fit(training_text(), 3, tokenizer=bpe_tokenizer())], [0.3, 0.7])

    return both


def neural(make_tokenizer):
    def build():
        tokenizer = make_tokenizer()
        model = NeuralLanguageModel(tokenizer, context_length=4, embedding_dim=8, hidden_dim=16)
        return train_language_model(model, tokenizer.encode(training_text()), num_steps=60, batch_size=128)

    return build


def attentive(make_tokenizer, num_layers):
    def build():
        tokenizer = make_tokenizer()
        model = AttentionLanguageModel(tokenizer, 5, embedding_dim=16, num_heads=2, num_layers=num_layers)
        return train_attention_model(model, tokenizer.encode(training_text()), 40, 8, sequence_length=32)

    return build


def gpt(make_tokenizer, **changes):
    def build():
        tokenizer = make_tokenizer()
        model = GPT(GPTConfig(tokenizer.vocabulary_size, 8, 1, 2, 16, **changes), tokenizer)
        options = {"batch_size": 8, "num_steps": 40, "device": "cpu", "precision": "fp32"}
        train_gpt(model, tokenizer.encode(training_text()), **options)
        return model

    return build


def lstm(make_tokenizer, block_length=256, **options):
    def build():
        tokenizer = make_tokenizer()
        model = LSTMLanguageModel(tokenizer, embedding_dim=8, hidden_dim=16, **options)
        model.block_length = block_length
        return train_recurrent(model, tokenizer.encode(training_text()), num_steps=60, batch_size=8, chunk_length=16)

    return build


#: One line a model: its name, and how to build a small one.
MODELS = {
    "uniform, bytes": lambda: UnigramModel(np.zeros(256), ByteTokenizer()),
    "unigram, bytes": lambda: UnigramModel.fit(training_text()),
    "unigram, BPE": lambda: UnigramModel.fit(training_text(), bpe_tokenizer()),
    "Kneser-Ney, BPE, n = 3": lambda: NGramModel.fit(training_text(), 3, tokenizer=bpe_tokenizer()),
    **{f"{name}, bytes, n = {n}": over_bytes(s, n) for name, s in SMOOTHINGS.items() for n in (1, 3, 5)},
    **{f"{name}, words, n = {n}": over_words(s, n) for name, s in SMOOTHINGS.items() for n in (1, 3)},
    "log-bilinear, BPE": log_bilinear,
    "log-bilinear and Kneser-Ney, mixed": mixed_with_counts(log_bilinear),
    "MLP, bytes": neural(ByteTokenizer),
    "MLP, BPE": neural(bpe_tokenizer),
    "attention, bytes, one block": attentive(ByteTokenizer, 1),
    "attention, BPE, two blocks": attentive(bpe_tokenizer, 2),
    "attention and Kneser-Ney, mixed": mixed_with_counts(attentive(bpe_tokenizer, 1)),
    "GPT, bytes, with everything": gpt(ByteTokenizer, bigrams=500, dropout=0.1),
    "GPT, BPE": gpt(bpe_tokenizer),
    "GPT, BPE, as GPT-2": gpt(bpe_tokenizer, positions="learned", norm="layer", mlp="gelu", qk_norm=False, tied=True),
    "GPT and Kneser-Ney, mixed": mixed_with_counts(gpt(bpe_tokenizer)),
    "MLP and Kneser-Ney, mixed": mixed_with_counts(neural(bpe_tokenizer)),
    "LSTM, bytes": lstm(ByteTokenizer),
    "LSTM, BPE, forgetting every 9 tokens": lstm(bpe_tokenizer, block_length=9, num_layers=2, dropout=0.1),
    "LSTM and Kneser-Ney, mixed": mixed_with_counts(lstm(bpe_tokenizer)),
    "Kneser-Ney, bytes, a text shorter than the order": lambda: NGramModel.fit("ab", 5),
}


@cache
def built(name: str):
    return MODELS[name]()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_language_model_obeys(law, name):
    law(built(name))


@pytest.mark.parametrize("name", MODELS)
def test_same_question_same_answer(name):
    laws.same_question_same_answer(MODELS[name])


class Cheat:
    """An honest model with one method spoiled by each of its children."""

    def __init__(self):
        self.honest = built("Kneser-Ney, bytes, n = 3")
        self.tokenizer = self.honest.tokenizer

    def token_log_probs(self, text, context=""):
        return self.honest.token_log_probs(text, context)

    def next_token_log_probs(self, context=""):
        return self.honest.next_token_log_probs(context)

    def generate(self, num_tokens, context="", *, temperature=1.0, seed=0):
        return self.honest.generate(num_tokens, context, temperature=temperature, seed=seed)


class LooksAhead(Cheat):
    def token_log_probs(self, text, context=""):
        return self.honest.token_log_probs(text, context) * (0.5 if "zebra" in text else 1.0)


class SumsToMore(Cheat):
    def next_token_log_probs(self, context=""):
        return self.honest.next_token_log_probs(context) + 1e-4


class ForgetsTheContext(Cheat):
    def token_log_probs(self, text, context=""):
        return self.honest.token_log_probs(text)


class AnswersTwoWays(Cheat):
    def next_token_log_probs(self, context=""):
        return np.roll(self.honest.next_token_log_probs(context), 1)


class CannotSpell(Cheat):
    def token_log_probs(self, text, context=""):
        scores = self.honest.token_log_probs(text, context)
        return np.where(self.tokenizer.encode(text) < 128, scores, -np.inf)


class ChargesForNothing(Cheat):
    def token_log_probs(self, text, context=""):
        return self.honest.token_log_probs(text or " ", context)


class IgnoresTheSeed(Cheat):
    def generate(self, num_tokens, context="", *, temperature=1.0, seed=0):
        return self.honest.generate(num_tokens, context, temperature=temperature, seed=7)


class IgnoresTheTemperature(Cheat):
    def generate(self, num_tokens, context="", *, temperature=1.0, seed=0):
        return self.honest.generate(num_tokens, context, seed=seed)


class Draws(Cheat):
    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng()

    def token_log_probs(self, text, context=""):
        return self.honest.token_log_probs(text, context) - self.rng.random()

    def generate(self, num_tokens, context="", *, temperature=1.0, seed=0):
        return super().generate(num_tokens, context, temperature=temperature, seed=int(self.rng.integers(2**30)))


class OnlyWrites:
    def generate(self, num_tokens, context="", *, temperature=1.0, seed=0):
        return ""


CHEATS = [
    (OnlyWrites, laws.follows_the_protocol, "lacks a method"),
    (SumsToMore, laws.next_token_probabilities_sum_to_one, "sums to 1.0001"),
    (ForgetsTheContext, laws.chain_rule_adds_up, "the parts of"),
    (AnswersTwoWays, laws.token_scores_are_next_token_scores, "as the next token"),
    (LooksAhead, laws.future_changes_nothing, "zebra"),
    (CannotSpell, laws.every_text_takes_finite_bits, "takes inf bits"),
    (ChargesForNothing, laws.every_text_takes_finite_bits, "the empty text takes bits"),
    (IgnoresTheSeed, laws.seed_decides_what_is_written, "five seeds wrote the same"),
    (Draws, laws.seed_decides_what_is_written, "the same seed wrote something else"),
    (IgnoresTheTemperature, laws.temperature_zero_takes_the_most_probable, "the most probable is"),
]


@pytest.mark.parametrize(("cheat", "law", "says"), CHEATS, ids=lambda value: getattr(value, "__name__", None))
def test_law_catches_a_cheat(cheat, law, says):
    with pytest.raises(AssertionError, match=says):
        law(cheat())


def test_law_catches_a_model_that_draws_its_answers():
    with pytest.raises(AssertionError, match="was scored twice"):
        laws.same_question_same_answer(Draws)


def test_an_honest_model_in_a_cheats_clothes_passes():
    for law in laws.LAWS:
        law(Cheat())
    laws.same_question_same_answer(Cheat)


def test_a_history_without_discount_still_hands_something_down():
    """Counts of counts of 4, 1, 1, 1 make the discount of a count of 2 zero; what never followed must stay possible."""
    model = NGramModel.fit("cddddbbbbbcdaa", order=2)
    laws.every_text_takes_finite_bits(model)
    laws.next_token_probabilities_sum_to_one(model)
