"""The one ruler of the book: bits per byte of held-out text, the same for a unigram count and a GPT.

A model may see bytes, words or pieces of words. What it is asked is always the same: how probable is this text? The
answer in bits, divided by the length of the text in UTF-8 bytes, depends on no tokenizer.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class LanguageModel(Protocol):
    """What every language model of the book can do.

    A model cuts text into tokens of its own. Whatever these are, the log-probabilities of a text's tokens add up to the
    log-probability of the text: a word model that meets an unknown word pays for spelling it.
    """

    def token_log_probs(self, text: str, context: str = "") -> np.ndarray:
        """Natural log of the probability of each token of the text, given the tokens before it.

        Args:
            text: any Unicode text, the empty one included.
            context: what was read before the text; it is not scored.

        Returns:
            Array of shape (tokens of the text,), nats, all finite.
        """
        ...

    def next_token_log_probs(self, context: str = "") -> np.ndarray:
        """Natural log of the probability of each token of the vocabulary to come next: shape (vocabulary,), nats."""
        ...

    def generate(self, num_tokens: int, context: str = "", *, temperature: float = 1.0, seed: int = 0) -> str:
        """Draw tokens one after the other and return their text, without the context; the same seed, the same text."""
        ...


def log_prob(model: LanguageModel, text: str, context: str = "") -> float:
    """Natural log of the probability of a text under a model.

    Args:
        model: any language model.
        text: the text to score.
        context: what was read before it.

    Returns:
        Nats, at most zero.
    """
    return float(np.sum(model.token_log_probs(_checked(text, "text"), _checked(context, "context")), dtype=np.float64))


def bits_per_byte(model: LanguageModel, text: str) -> float:
    """Bits that a model needs to write down a text, per byte of its UTF-8 encoding (Shannon, 1948).

    Args:
        model: any language model.
        text: held-out text. The empty text takes no bits: 0.0.

    Returns:
        Bits per byte: 8 for a model that knows nothing, less for a better one.

    Raises:
        TypeError: if the text is not a `str`.
        ValueError: if the model gives an impossible answer (NaN, or a probability above one).
    """
    nats = -log_prob(model, text)
    if math.isnan(nats) or nats < -1e-6:
        raise ValueError(f"{type(model).__name__} gave the text a log-probability of {-nats}; it must be at most zero")
    return max(0.0, nats) / math.log(2) / max(len(text.encode("utf-8")), 1)


def perplexity(model: LanguageModel, text: str) -> float:
    """How many equally likely tokens the model hesitates between, on average (Jelinek, Mercer, Bahl and Baker, 1977).

    Only models that cut text into the same tokens can be compared by it; `bits_per_byte` compares any two.

    Args:
        model: any language model.
        text: held-out text.

    Returns:
        exp of the mean negative log-probability per token.

    Raises:
        ValueError: if the text has no token.
    """
    log_probs = model.token_log_probs(_checked(text, "text"))
    if len(log_probs) == 0:
        raise ValueError("got an empty text; perplexity is a mean over tokens and needs at least one")
    return float(np.exp(-np.mean(log_probs, dtype=np.float64)))


def _checked(text: str, name: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"the {name} must be a str, got {type(text).__name__}; decode bytes with .decode()")
    return text
