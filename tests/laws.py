"""The laws of every language model, one function each: they raise AssertionError on a model that breaks its law.

But: they know a model only by the protocol `LanguageModel` and the `encode` and `decode` of its tokenizer.
"""

import math
import re
from collections.abc import Callable

import numpy as np

from bow2gpt import ruler

EMOJI = "family 👩‍👩‍👧 and flags 🇺🇸 of peace 🕊️ unite"
TEXTS = (
    "the union of the states",
    "The state of the Union is strong, and our people are free.\n\nIn 1862 we paid $4,000.",
    "two  spaces, a tab\tand an end \n of line \r\n here",
    "naïve café, e\u0301 combined, ﷺ, \u200b zero width, \x00\x1f controls",
    "Ünïcödé und Straße und 東京 тоже",
    EMOJI,
)
CONTEXTS = ("", " ", "\n\n", "the", "the union of", "qzx qzx", "In 1862", "東京", EMOJI)


def random_text(rng: np.random.Generator, length: int) -> str:
    """Characters from all of Unicode, of which half are common, and no lone surrogates (they are no characters)."""
    common = " \n\t\r\x0b\x1c\x85\xa0\u2028\u3000abcdeABC019_.,'’▁<>\\$é\u0301😀"
    rare = [int(code) for code in rng.integers(0, 0x110000, length)]
    characters = [chr(code) if not 0xD800 <= code < 0xE000 else "\ufffd" for code in rare]
    return "".join(c if rng.random() < 0.5 else common[int(rng.integers(len(common)))] for c in characters)


def safe_cuts(text: str) -> list[int]:
    """Places where every tokenizer cuts: before a space that follows a letter and precedes one."""
    return [match.start() for match in re.finditer(r"(?<=[a-z]) (?=[a-z])", text)]


def next_token_probabilities_sum_to_one(model: ruler.LanguageModel) -> None:
    """A distribution is non-negative and sums to one, whatever was read before."""
    rng = np.random.default_rng(1)
    for context in (*CONTEXTS, *TEXTS, *(random_text(rng, 6) for _ in range(10))):
        probabilities = np.exp(model.next_token_log_probs(context))
        assert probabilities.ndim == 1, f"got shape {probabilities.shape} after {context!r}, expected (vocabulary,)"
        assert np.all(probabilities >= 0), f"a probability after {context!r} is negative or NaN"
        assert abs(probabilities.sum() - 1) < 1e-6, f"the distribution after {context!r} sums to {probabilities.sum()}"


def chain_rule_adds_up(model: ruler.LanguageModel) -> None:
    """log p(xy) = log p(x) + log p(y | x)."""
    for text in TEXTS:
        whole = ruler.log_prob(model, text)
        for cut in safe_cuts(text):
            parts = ruler.log_prob(model, text[:cut]) + ruler.log_prob(model, text[cut:], context=text[:cut])
            assert math.isclose(parts, whole, rel_tol=1e-6, abs_tol=1e-6), (
                f"cut at {cut}, the parts of {text!r} have {parts}, the whole {whole}"
            )


def token_scores_are_next_token_scores(model: ruler.LanguageModel) -> None:
    """What `token_log_probs` says of a token is what `next_token_log_probs` said of it before it came."""
    compared = 0
    for text in TEXTS:
        token_ids, scores = model.tokenizer.encode(text), model.token_log_probs(text)
        assert len(token_ids) == len(scores), f"{len(token_ids)} tokens of {text!r} got {len(scores)} scores"
        for end in range(len(text)):
            before = model.tokenizer.encode(text[:end])
            place = len(before)
            if place < len(token_ids) and np.array_equal(before, token_ids[:place]):
                expected = model.next_token_log_probs(text[:end])[token_ids[place]]
                assert math.isclose(scores[place], expected, rel_tol=1e-6, abs_tol=1e-6), (
                    f"token {place} of {text!r} scores {scores[place]}, but {expected} as the next token"
                )
                compared += 1
    assert compared > 20, f"only {compared} tokens could be compared"


def future_changes_nothing(model: ruler.LanguageModel) -> None:
    """The score of a token does not depend on what comes after it."""
    for text in TEXTS:
        for cut in safe_cuts(text):
            alone = model.token_log_probs(text[:cut])
            for future in (text[cut:], " " + text[cut::-1], " zebra " * 3, " e" * 9):
                beside = model.token_log_probs(text[:cut] + " x" + future)[: len(alone)]
                assert np.allclose(alone, beside, rtol=1e-6, atol=1e-9), f"{future!r} changed what {text[:cut]!r} costs"


def every_text_takes_finite_bits(model: ruler.LanguageModel) -> None:
    """Any text can be written down, none for less than nothing, and the empty one for nothing."""
    rng = np.random.default_rng(2)
    assert ruler.bits_per_byte(model, "") == 0.0, "the empty text takes bits"
    for text in (*TEXTS, *CONTEXTS, *(random_text(rng, int(rng.integers(1, 30))) for _ in range(30))):
        bits = ruler.bits_per_byte(model, text)
        assert math.isfinite(bits), f"{text!r} takes {bits} bits per byte"
        assert bits >= 0, f"{text!r} takes {bits} bits per byte"


def same_question_same_answer(build: Callable[[], ruler.LanguageModel]) -> None:
    """Two calls, and two models fitted alike, agree to the last bit."""
    first, second = build(), build()
    for text in TEXTS:
        scores = first.token_log_probs(text)
        for other in (first.token_log_probs(text), second.token_log_probs(text)):
            assert np.array_equal(scores, other), f"{text!r} was scored twice and differs"
    assert first.generate(20, "the", seed=3) == second.generate(20, "the", seed=3), "two fits write differently"


def seed_decides_what_is_written(model: ruler.LanguageModel) -> None:
    """The same seed gives the same text, another seed usually another."""
    written = [model.generate(30, "the", seed=seed) for seed in range(5)]
    again = [model.generate(30, "the", seed=seed) for seed in range(5)]
    assert written == again, "the same seed wrote something else"
    assert len(set(written)) > 1, "five seeds wrote the same text"
    assert model.generate(0, "the") == "", "no tokens are no text"


def temperature_zero_takes_the_most_probable(model: ruler.LanguageModel) -> None:
    """At temperature 0 each token is the most probable one, whatever the seed."""
    for context in CONTEXTS:
        expected = model.tokenizer.decode([int(np.argmax(model.next_token_log_probs(context)))])
        for seed in (0, 1):
            got = model.generate(1, context, temperature=0, seed=seed)
            assert got == expected, f"after {context!r} came {got!r}, the most probable is {expected!r}"
    assert model.generate(20, temperature=0, seed=0) == model.generate(20, temperature=0, seed=1), "the seed mattered"


def follows_the_protocol(model: ruler.LanguageModel) -> None:
    """A model has the three methods of the protocol."""
    assert isinstance(model, ruler.LanguageModel), f"{type(model).__name__} lacks a method of LanguageModel"


#: Laws of one model; `same_question_same_answer` needs to build two.
LAWS = (
    follows_the_protocol,
    next_token_probabilities_sum_to_one,
    chain_rule_adds_up,
    token_scores_are_next_token_scores,
    future_changes_nothing,
    every_text_takes_finite_bits,
    seed_decides_what_is_written,
    temperature_zero_takes_the_most_probable,
)
