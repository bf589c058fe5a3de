# Generated from chapters/03_embeddings.py by `bow2gpt build`: edit there.
"""Embeddings: what the chapter builds."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch

from bow2gpt.chapters.counting_models import sample_with_temperature
from bow2gpt.chapters.language_features import AnyTokenizer
from bow2gpt.ruler import LanguageModel


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Scale each row of (n, d) to length 1; a zero row stays zero."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2:
        raise ValueError(f"got vectors of shape {vectors.shape}, expected (n, d): one row for each word")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)


def cosine_neighbours(vectors: np.ndarray, index: int, count: int) -> list[int]:
    """Find the rows most similar to one row by cosine.

    Args:
        vectors: shape (n, d); a zero row has similarity 0 to everything.
        index: the row to compare with, 0 to n - 1.
        count: how many rows to give.

    Returns:
        Row numbers, most similar first, the query left out, ties by lower number; at most n - 1.

    Raises:
        ValueError: if there is no such row, or the count is negative.
    """
    unit = unit_rows(vectors)
    if not 0 <= index < len(unit) or count < 0:
        raise ValueError(
            f"got index {index}, count {count} of {len(unit)} rows; the index must be one of them, the count at least 0"
        )
    similarity = np.round(unit @ unit[index], 12)  # equal up to rounding is a tie
    order = np.argsort(-similarity, kind="stable")
    return [int(row) for row in order if row != index][:count]


def frequent_words(tokens: Iterable[str], min_count: int = 5) -> list[str]:
    """List the words that occur at least `min_count` times, most frequent first, ties in alphabetical order."""
    counts = Counter(tokens)
    return sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))


def word_ids(tokens: Iterable[str], vocabulary: Sequence[str]) -> np.ndarray:
    """Number of each word in the vocabulary, -1 for a word outside it: shape (tokens,)."""
    number = {word: index for index, word in enumerate(vocabulary)}
    if len(number) != len(vocabulary):
        raise ValueError("the vocabulary repeats a word; pass each word once")
    return np.fromiter((number.get(word, -1) for word in tokens), dtype=np.int32)


def cooccurrence_counts(
    token_ids: np.ndarray, vocabulary_size: int, window: int = 5, decay: bool = False
) -> np.ndarray:
    """Count how often two words stand within a window of each other, by shifted slices of the text.

    Args:
        token_ids: word numbers of shape (T,); a negative one is skipped, but keeps its place.
        vocabulary_size: V.
        window: largest distance.
        decay: count a pair at distance k as 1/k, as GloVe does.

    Returns:
        Symmetric float32 array of shape (V, V).

    Raises:
        ValueError: if the window is below 1 or a word number is V or more.
    """
    token_ids = np.asarray(token_ids)
    if window < 1 or (len(token_ids) and token_ids.max() >= vocabulary_size):
        raise ValueError(
            f"got window {window} and numbers up to {max(token_ids, default=-1)}; "
            f"the window must be at least 1, the numbers below {vocabulary_size}"
        )
    counts = np.zeros(vocabulary_size * vocabulary_size, dtype=np.float32)
    for distance in range(1, window + 1):
        first, second = token_ids[:-distance].astype(np.int64), token_ids[distance:]
        known = (first >= 0) & (second >= 0)
        np.add.at(counts, first[known] * vocabulary_size + second[known], np.float32(1 / distance if decay else 1))
    counts = counts.reshape(vocabulary_size, vocabulary_size)
    counts += counts.T.copy()
    return counts


def ppmi(counts: np.ndarray, smoothing: float = 0.75) -> np.ndarray:
    """Weigh counts by positive pointwise mutual information, contexts smoothed (Levy, Goldberg and Dagan, 2015).

    Args:
        counts: of each word (row) with each context (column), shape (n, m), not negative.
        smoothing: power of the context distribution, above 0; 1 for none.

    Returns:
        Nats of shape (n, m), none below 0, and 0 where the count is 0; float32 if the counts are, else float64.

    Raises:
        ValueError: if a count is negative or not finite, or the smoothing is not above 0.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError(f"got counts of shape {counts.shape}; expected (n, m), each finite and at least 0")
    if not smoothing > 0:
        raise ValueError(f"got smoothing {smoothing}; it must be above 0 (1 leaves the contexts as they are)")
    result = np.array(counts, dtype=counts.dtype if counts.dtype == np.float32 else np.float64)
    if not counts.any():
        return result
    word_totals = counts.sum(axis=1, dtype=np.float64)
    context_totals = counts.sum(axis=0, dtype=np.float64)
    context_share = np.where(context_totals > 0, context_totals, 0) ** smoothing
    with np.errstate(divide="ignore"):  # log of zero, which stands for a pair that never met
        np.log(result, out=result)
        result -= np.log(np.maximum(word_totals, 1e-300))[:, None].astype(result.dtype)
        result -= np.log(np.maximum(context_share / context_share.sum(), 1e-300)).astype(result.dtype)
    return np.maximum(result, 0, out=result)


def svd_embed(matrix: np.ndarray, dim: int, seed: int = 0) -> np.ndarray:
    """Embed rows by truncated singular value decomposition: U times the root of the singular values.

    Args:
        matrix: shape (n, m).
        dim: dimensions to keep, 1 to min(n, m).
        seed: of the random projection that stands in for the exact method above 1,500 rows and columns.

    Returns:
        Shape (n, dim), the largest singular value first.

    Raises:
        ValueError: if there are not so many dimensions.
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or not 1 <= dim <= min(matrix.shape):
        raise ValueError(f"got dim {dim} for shape {matrix.shape}; it must be from 1 to the smaller side of a matrix")
    if min(matrix.shape) <= 1500 or 3 * dim > min(matrix.shape):
        left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    else:
        basis = np.random.default_rng(seed).standard_normal((matrix.shape[1], dim + 32)).astype(matrix.dtype)
        for _ in range(4):
            basis = np.linalg.qr(matrix.T @ np.linalg.qr(matrix @ basis)[0])[0]
        left, values, _ = np.linalg.svd(matrix @ basis, full_matrices=False)
    return left[:, :dim] * np.sqrt(values[:dim])


def odd_one_out(vectors: np.ndarray, indices: Sequence[int]) -> int:
    """The one of some rows that is least similar to the others by cosine; on a tie, the first."""
    unit = unit_rows(np.asarray(vectors)[list(indices)])
    similarity = np.round(unit @ unit.T, 12)
    return int(indices[int(np.argmin(similarity.sum(axis=1) - np.diag(similarity)))])


def odd_one_out_accuracy(vectors: np.ndarray, vocabulary: Sequence[str], items: Iterable[Sequence[str]]) -> float:
    """Share of items found out; an item is an odd word, then the words that belong together. Unknown words: wrong."""
    number = {word: index for index, word in enumerate(vocabulary)}
    found = [
        all(word in number for word in item)
        and odd_one_out(vectors, [number[word] for word in (*item[1:], item[0])]) == number[item[0]]
        for item in items
    ]
    if not found:
        raise ValueError("got no items; an item is a sequence of words, the odd one first")
    return float(np.mean(found))


def odd_one_out_items() -> list[tuple[str, str, str, str]]:
    """The book's sixty-six items: the odd word, then three that belong together."""
    with (resources.files("bow2gpt") / "odd_one_out.csv").open(encoding="utf-8", newline="") as file:
        return [(row["odd"], row["first"], row["second"], row["third"]) for row in csv.DictReader(file)]


def cbow_loss_and_grad(
    context_ids: np.ndarray, target: int, input_vectors: np.ndarray, output_vectors: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Loss and gradients of guessing one word from its context, full softmax (Mikolov, Chen, Corrado and Dean, 2013).

    Args:
        context_ids: numbers of the context words, shape (c,), c at least 1; a word that is named twice counts twice.
        target: number of the word to guess.
        input_vectors: shape (V, d).
        output_vectors: shape (V, d).

    Returns:
        The loss in nats, and its gradients by the input and by the output vectors, both of shape (V, d).

    Raises:
        ValueError: if there is no context, or a number is no row.
    """
    context_ids, size = np.asarray(context_ids, dtype=np.int64), len(output_vectors)
    if context_ids.ndim != 1 or len(context_ids) == 0:
        raise ValueError(f"got context ids of shape {context_ids.shape}; expected (c,), at least one word")
    if context_ids.min() < 0 or context_ids.max() >= len(input_vectors) or not 0 <= target < size:
        raise ValueError(
            f"got context ids {context_ids.min()} to {context_ids.max()} and target {target}; "
            f"expected rows, 0 to {size - 1}"
        )
    hidden = input_vectors[context_ids].mean(axis=0)  # (d,)
    scores = output_vectors @ hidden  # (V,)
    scores = scores - scores.max()
    log_probs = scores - np.log(np.exp(scores).sum())
    delta = np.exp(log_probs)
    delta[target] -= 1
    grad_input = np.zeros_like(input_vectors, dtype=np.result_type(input_vectors, delta))
    np.add.at(grad_input, context_ids, output_vectors.T @ delta / len(context_ids))
    return float(-log_probs[target]), grad_input, np.outer(delta, hidden)


def sgns_loss_and_grad(
    center: np.ndarray, context: np.ndarray, negatives: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Loss and gradients of skip-gram with negative sampling for one pair (Mikolov, Sutskever, Chen et al., 2013).

    Args:
        center: vector of the center word, shape (d,).
        context: vector of the true neighbour, shape (d,).
        negatives: vectors of words drawn at random, shape (k, d).

    Returns:
        The loss in nats, and its gradients by center (d,), context (d,) and negatives (k, d).

    Raises:
        ValueError: if the shapes do not belong together.
    """
    center, context, negatives = (np.asarray(array, dtype=np.float64) for array in (center, context, negatives))
    if center.ndim != 1 or context.shape != center.shape or negatives.shape[1:] != center.shape:
        raise ValueError(
            f"got shapes {center.shape}, {context.shape} and {negatives.shape}; expected (d,), (d,) and (k, d)"
        )
    positive, negative = context @ center, negatives @ center  # one number, (k,)
    loss = np.logaddexp(0, -positive) + np.logaddexp(0, negative).sum()
    pull = -np.exp(-np.logaddexp(0, positive))  # sigmoid(positive) - 1
    push = np.exp(-np.logaddexp(0, -negative))  # sigmoid(negative), (k,)
    return float(loss), pull * context + push @ negatives, pull * center, np.outer(push, center)


LINE = 32  # words of a line
LINES = 32  # lines of a block
SHARED = 64  # negatives that a line shares


@dataclass(frozen=True)
class Block:
    """What one step of word2vec trains on.

    Attributes:
        centers: (LINES * LINE,) word numbers.
        contexts: (LINES * (LINE + 2 window),) the words in reach of each line.
        negatives: (LINES * SHARED,) words drawn at random.
        mask: (LINE, LINE + 2 window) 1 where a word is in the window of a center, else 0.
        progress: share of the training that is done, 0 to 1.
    """

    centers: torch.Tensor
    contexts: torch.Tensor
    negatives: torch.Tensor
    mask: torch.Tensor
    progress: float


def keep_probabilities(counts: np.ndarray, threshold: float = 1e-3) -> np.ndarray:
    """Chance of each word to survive subsampling (Mikolov, Sutskever, Chen, Corrado and Dean, 2013): shape (V,)."""
    ratio = threshold * counts.sum() / np.maximum(counts, 1)
    return np.minimum(1, np.sqrt(ratio) + ratio)


def window_masks(window: int) -> list[torch.Tensor]:
    """For each reach from 1 to the window, which of a line's slice each center sees: (LINE, LINE + 2 window)."""
    distance = (torch.arange(LINE + 2 * window) - torch.arange(LINE)[:, None] - window).abs()
    return [((distance <= reach) & (distance > 0)).float() for reach in range(1, window + 1)]


def blocks(token_ids: np.ndarray, counts: np.ndarray, window: int, epochs: int, seed: int) -> Iterator[Block]:
    """Cut a text of word numbers (T,) into blocks, epoch after epoch, each time subsampled anew."""
    rng, size = np.random.default_rng(seed), LINE * LINES
    keep, masks, noise = keep_probabilities(counts), window_masks(window), np.cumsum(counts**0.75)
    for epoch in range(epochs):
        kept = token_ids[rng.random(len(token_ids), dtype=np.float32) < keep[token_ids]].astype(np.int64)
        if len(kept) < size:  # a small text is read again and again until it fills a block
            kept = np.resize(kept, size)
        num_blocks = len(kept) // size
        start = rng.integers(len(kept) - num_blocks * size + 1)  # another place each epoch, so that nothing is left out
        text = torch.from_numpy(kept[start : start + num_blocks * size])
        text = torch.cat([text[-window:], text, text[:window]])
        draws = rng.random((num_blocks, LINES * SHARED)) * noise[-1]
        negatives = torch.from_numpy(np.minimum(np.searchsorted(noise, draws, side="right"), len(counts) - 1))
        reach = rng.integers(window, size=num_blocks)
        for number in range(num_blocks):
            piece = text[number * size : (number + 1) * size + 2 * window]
            contexts = piece.unfold(0, LINE + 2 * window, LINE).reshape(-1)  # (LINES, LINE + 2 window), flat
            progress = (epoch + number / num_blocks) / epochs
            yield Block(piece[window:-window], contexts, negatives[number], masks[reach[number]], progress)


def skip_gram_step(
    center: torch.Tensor,
    context: torch.Tensor,
    negative: torch.Tensor,
    mask: torch.Tensor,
    rate: float,
    num_negatives: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How far to move the vectors of one block for skip-gram.

    Args:
        center: (lines, L, d) input vectors of the centers.
        context: (lines, S, d) output vectors of the words in reach.
        negative: (lines, K, d) output vectors of the shared negatives.
        mask: (L, S) which words are in the window of which center.
        rate: step size.
        num_negatives: how many negatives each pair should weigh.

    Returns:
        Moves of the same shapes as the first three.
    """
    pull = torch.bmm(center, context.transpose(1, 2)).sigmoid_().neg_().add_(1).mul_(mask).mul_(rate)  # (lines, L, S)
    weight = mask.sum(dim=1, keepdim=True) * (-rate * num_negatives / negative.shape[1])  # (L, 1)
    push = torch.bmm(center, negative.transpose(1, 2)).sigmoid_().mul_(weight)  # (lines, L, K)
    move_center = torch.bmm(pull, context).baddbmm_(push, negative)
    return move_center, torch.bmm(pull.transpose(1, 2), center), torch.bmm(push.transpose(1, 2), center)


def cbow_step(
    center: torch.Tensor,
    context: torch.Tensor,
    negative: torch.Tensor,
    mask: torch.Tensor,
    rate: float,
    num_negatives: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """How far to move the vectors of a block for CBOW: contexts are input vectors, centers and negatives output."""
    average = (mask / mask.sum(dim=1, keepdim=True)).expand(len(center), -1, -1)  # (lines, L, S)
    hidden = torch.bmm(average, context)  # (lines, L, d)
    pull = (hidden * center).sum(dim=2, keepdim=True).sigmoid_().neg_().add_(1).mul_(rate)  # (lines, L, 1)
    weight = -rate * num_negatives / negative.shape[1]
    push = torch.bmm(hidden, negative.transpose(1, 2)).sigmoid_().mul_(weight)  # (lines, L, K)
    move_hidden = (pull * center).baddbmm_(push, negative)
    move_context = torch.bmm(average.transpose(1, 2), move_hidden)
    return pull * hidden, move_context, torch.bmm(push.transpose(1, 2), hidden)


def train_word2vec(
    token_ids: np.ndarray,
    vocabulary_size: int,
    dim: int = 100,
    architecture: str = "skip-gram",
    *,
    window: int = 5,
    num_negatives: int = 5,
    epochs: int = 5,
    learning_rate: float | None = None,
    nested: Sequence[int] = (),
    seed: int = 0,
) -> np.ndarray:
    """Train word vectors by skip-gram or CBOW with negative sampling (Mikolov, Sutskever, Chen et al., 2013).

    Args:
        token_ids: the text as word numbers, shape (T,), each below vocabulary_size.
        vocabulary_size: V.
        dim: size of a vector.
        architecture: "skip-gram" or "cbow".
        window: largest distance of a neighbour.
        num_negatives: negatives for each pair.
        epochs: how often the text is read.
        learning_rate: first step size; None for 0.05 (skip-gram) or 0.5 (cbow).
        nested: sizes; each block trains only the first so many dimensions, drawn at random from these.
        seed: of everything random. The result also depends a little on machine and number of threads.

    Returns:
        Input vectors, float32 of shape (V, dim).

    Raises:
        ValueError: on an unknown architecture, sizes that are not in order, or word numbers outside the vocabulary.
    """
    token_ids = np.asarray(token_ids)
    if architecture not in ("skip-gram", "cbow"):
        raise ValueError(f"got architecture {architecture!r}; expected 'skip-gram' or 'cbow'")
    if len(token_ids) == 0 or token_ids.min() < 0 or token_ids.max() >= vocabulary_size:
        raise ValueError(
            f"the text must hold word numbers from 0 to {vocabulary_size - 1}, at least one; drop unknown words"
        )
    if min(dim, window, num_negatives, epochs, *nested) < 1 or max(nested, default=1) > dim:
        raise ValueError(
            f"got dim {dim}, window {window}, num_negatives {num_negatives}, epochs {epochs}, nested {nested}; "
            "each must be at least 1, and nested at most dim"
        )
    torch.set_flush_denormal(True)
    skip_gram = architecture == "skip-gram"
    step, first_rate = (skip_gram_step, 0.05) if skip_gram else (cbow_step, 0.5)
    generator, sizes = torch.Generator().manual_seed(seed), np.random.default_rng(seed + 1)
    inputs = (torch.rand(vocabulary_size, dim, generator=generator) - 0.5) * 2 / dim
    outputs = torch.zeros(vocabulary_size, dim)
    counts = np.bincount(token_ids, minlength=vocabulary_size)
    slow = _slowing(counts)
    for block in blocks(token_ids, counts, window, epochs, seed):
        rate = (first_rate if learning_rate is None else learning_rate) * max(1 - block.progress, 1e-3)
        size = int(sizes.choice(nested)) if nested else dim
        of_centers, of_contexts = (inputs, outputs) if skip_gram else (outputs, inputs)
        tables = [(of_centers, block.centers), (of_contexts, block.contexts), (outputs, block.negatives)]
        vectors = [table[:, :size].index_select(0, ids).view(LINES, -1, size) for table, ids in tables]
        moves = step(*vectors, block.mask, rate, num_negatives)
        for (table, ids), move in zip(tables, moves, strict=True):
            move = move.reshape(-1, size) * slow.index_select(0, ids)
            table[:, :size].scatter_add_(0, ids[:, None].expand(-1, size), move)
    return inputs.numpy()


def _slowing(counts: np.ndarray) -> torch.Tensor:
    """Share of the step that each word takes, by how often a block of its kept words and negatives holds it: (V, 1)."""
    kept, noise = counts * keep_probabilities(counts), counts**0.75
    expected = LINES * LINE * kept / kept.sum() + LINES * SHARED * noise / noise.sum()
    return torch.tensor(np.minimum(1, np.sqrt(0.1 / np.maximum(expected, 1e-9))), dtype=torch.float32)[:, None]


def neighbour_overlap(first: np.ndarray, second: np.ndarray, queries: Sequence[int], count: int = 10) -> float:
    """Mean share of the nearest neighbours that two sets of vectors, rows for the same words, have in common.

    Args:
        first: shape (n, d).
        second: shape (n, e).
        queries: rows to compare.
        count: how many neighbours of each.
    """
    if len(first) != len(second):
        raise ValueError(f"got {len(first)} and {len(second)} rows; both must hold the same words in the same order")
    nearest = []
    for vectors in (unit_rows(first), unit_rows(second)):
        similarity = vectors[list(queries)] @ vectors.T
        similarity[np.arange(len(queries)), list(queries)] = -np.inf
        nearest.append(np.argpartition(-similarity, count, axis=1)[:, :count])
    return float(np.mean([len(set(a) & set(b)) / count for a, b in zip(*nearest, strict=True)]))


def glove_loss(
    counts: np.ndarray,
    word_vectors: np.ndarray,
    context_vectors: np.ndarray,
    word_biases: np.ndarray,
    context_biases: np.ndarray,
    maximum: float = 100.0,
    power: float = 0.75,
) -> float:
    """Weighted squared error of log-counts (Pennington, Socher and Manning, 2014).

    Args:
        counts: shape (n, n), not negative; pairs with count 0 are left out.
        word_vectors: shape (n, d).
        context_vectors: shape (n, d).
        word_biases: shape (n,).
        context_biases: shape (n,).
        maximum: the count from which a pair has weight 1.
        power: of the weight below that.

    Returns:
        The sum over all pairs with a count above 0.

    Raises:
        ValueError: if a count is negative or not finite, or the maximum is not above 0.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if not np.isfinite(counts).all() or (counts < 0).any() or not maximum > 0:
        raise ValueError(
            f"got a count that is negative or not finite, or maximum {maximum}; "
            "counts are at least 0, the maximum above 0"
        )
    seen = counts > 0
    predicted = word_vectors @ np.transpose(context_vectors) + np.asarray(word_biases)[:, None] + context_biases
    weights = np.minimum(1, counts[seen] / maximum) ** power
    return float(np.sum(weights * (predicted[seen] - np.log(counts[seen])) ** 2))


def train_glove(
    counts: np.ndarray,
    dim: int = 100,
    *,
    epochs: int = 25,
    learning_rate: float = 0.05,
    maximum: float = 100.0,
    power: float = 0.75,
    seed: int = 0,
) -> tuple[np.ndarray, list[float]]:
    """Fit GloVe vectors to co-occurrence counts by Adagrad, 256 rows at a time (Pennington, Socher and Manning, 2014).

    Args:
        counts: shape (n, n), not negative.
        dim: size of a vector.
        epochs: how often all pairs are used.
        learning_rate: of Adagrad.
        maximum: the count from which a pair has weight 1.
        power: of the weight below that.
        seed: of the start and the order of rows.

    Returns:
        Sum of word and context vectors, float32 of shape (n, dim), and the loss in each epoch.
    """
    counts, generator = torch.as_tensor(np.asarray(counts, dtype=np.float32)), torch.Generator().manual_seed(seed)
    size, losses = len(counts), []
    tables = [(torch.rand(size, dim + 1, generator=generator) - 0.5) / dim for _ in range(2)]  # the last column: biases
    squares = [torch.full((size, dim + 1), 1e-2) for _ in range(2)]
    for _ in range(epochs):
        losses.append(0.0)
        for rows in torch.randperm(size, generator=generator).split(256):
            found = counts.index_select(0, rows)
            weight = (found / maximum).clamp_(max=1).pow_(power)  # (256, n), 0 where the pair never met
            word = tables[0].index_select(0, rows)
            predicted = word[:, :dim] @ tables[1][:, :dim].T + word[:, dim:] + tables[1][:, dim]
            error = predicted.sub_(found.clamp_(min=1e-9).log_())
            weighted = weight.mul_(error)
            losses[-1] += float((weighted * error).sum())
            word_move = torch.hstack([weighted @ tables[1][:, :dim], weighted.sum(dim=1, keepdim=True)])
            context_move = torch.hstack([weighted.T @ word[:, :dim], weighted.sum(dim=0)[:, None]])
            squares[0].index_add_(0, rows, word_move**2)
            squares[1] += context_move**2
            tables[0].index_add_(0, rows, -learning_rate * word_move / squares[0].index_select(0, rows).sqrt())
            tables[1] -= learning_rate * context_move / squares[1].sqrt()
    return (tables[0] + tables[1])[:, :dim].numpy(), losses


def analogy(vectors: np.ndarray, vocabulary: Sequence[str], a: str, b: str, c: str, count: int = 1) -> list[str]:
    """Answer "a is to b as c is to ?": the words nearest to b - a + c (Mikolov, Yih and Zweig, 2013).

    Args:
        vectors: shape (n, d); rows are scaled to length 1 first.
        vocabulary: n distinct words, one for each row.
        a: first word of the known pair.
        b: second word of the known pair.
        c: the word to answer for.
        count: how many answers.

    Returns:
        Words, best first, none of the three among them.

    Raises:
        ValueError: if a word is not in the vocabulary.
    """
    if len(vocabulary) != len(vectors):
        raise ValueError(f"got {len(vocabulary)} words for {len(vectors)} vectors; each row needs its word")
    place = {word: row for row, word in enumerate(vocabulary)}
    if missing := [word for word in (a, b, c) if word not in place]:
        raise ValueError(f"the vocabulary has no word {missing[0]!r}; try it in lower case, or choose another")
    unit = unit_rows(vectors)
    similarity = np.round(unit @ (unit[place[b]] - unit[place[a]] + unit[place[c]]), 12)
    order = np.argsort(-similarity, kind="stable")
    return [vocabulary[row] for row in order if vocabulary[row] not in (a, b, c)][:count]


def procrustes(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation or reflection that brings source rows closest to target rows (Schönemann, 1966).

    Args:
        source: shape (n, d).
        target: shape (n, d), rows for the same words.

    Returns:
        Orthogonal matrix of shape (d, d); `source @ procrustes(source, target)` is nearest to the target.

    Raises:
        ValueError: if the shapes differ.
    """
    source, target = np.asarray(source), np.asarray(target)
    if source.shape != target.shape or source.ndim != 2:
        raise ValueError(f"got shapes {source.shape} and {target.shape}; both must be (n, d), rows for the same words")
    left, _, right = np.linalg.svd(source.T @ target)
    return left @ right


def truncate_and_renormalise(vectors: np.ndarray, dim: int) -> np.ndarray:
    """Keep the first dimensions of each row and bring it back to length 1 (Kusupati et al., 2022).

    Args:
        vectors: shape (n, d).
        dim: how many dimensions to keep, 1 to d.

    Returns:
        Shape (n, dim); each row has length 1, or is zero where nothing was left.

    Raises:
        ValueError: if there are not so many dimensions.
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or not 1 <= dim <= vectors.shape[1]:
        raise ValueError(f"got dim {dim} for vectors of shape {vectors.shape}; it must be from 1 to their last side")
    return unit_rows(vectors[:, :dim])


def sinusoidal_positions(context_length: int, embedding_dim: int) -> np.ndarray:
    """A vector of sines and cosines for each position (Vaswani et al., 2017).

    Args:
        context_length: number of positions, counted from 0.
        embedding_dim: size d of each vector.

    Returns:
        Shape (context_length, embedding_dim), from -1 to 1: dimensions 0, 2, 4 ... are sines, 1, 3, 5 ... cosines.

    Raises:
        ValueError: if a size is negative, or the embedding has no dimension.
    """
    if context_length < 0 or embedding_dim < 1:
        raise ValueError(
            f"got context_length {context_length} and embedding_dim {embedding_dim}; expected at least 0 and 1"
        )
    dimensions = np.arange(embedding_dim)
    angles = np.arange(context_length)[:, None] / 10000.0 ** (2 * (dimensions // 2) / embedding_dim)
    return np.where(dimensions % 2 == 0, np.sin(angles), np.cos(angles))


def log_bilinear_gradients(
    context_ids: torch.Tensor, targets: torch.Tensor, vectors: torch.Tensor, mixing: torch.Tensor, biases: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean loss of a batch of guesses and its gradients, by hand (Mnih and Hinton, 2007).

    Args:
        context_ids: (batch, n), the latest token first.
        targets: (batch,) the tokens that came.
        vectors: (V, d).
        mixing: (n * d, d), the matrices C_1 to C_n below each other.
        biases: (V,).

    Returns:
        The loss in nats, and its gradients by vectors, mixing and biases.
    """
    batch, size = len(targets), vectors.shape[1]
    read = vectors.index_select(0, context_ids.reshape(-1)).view(batch, -1)  # (batch, n * d)
    predicted = read @ mixing  # (batch, d)
    log_probs = torch.log_softmax(torch.addmm(biases, predicted, vectors.T), dim=1)  # (batch, V)
    loss = -log_probs.gather(1, targets[:, None]).mean()
    delta = log_probs.exp_()
    delta[torch.arange(batch), targets] -= 1
    delta /= batch
    grad_predicted = delta @ vectors
    grad_vectors = delta.T @ predicted
    grad_read = (grad_predicted @ mixing.T).view(-1, size)
    grad_vectors.index_add_(0, context_ids.reshape(-1), grad_read)
    return loss, grad_vectors, read.T @ grad_predicted, delta.sum(dim=0)


def train_log_bilinear(
    token_ids: np.ndarray,
    vocabulary_size: int,
    dim: int,
    context_length: int,
    epochs: float,
    learning_rate: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
    """Fit vectors (V, d), mixing (n * d, d) and biases (V,) to a text (T,); gives the loss of each batch, too."""
    torch.set_flush_denormal(True)
    text, generator = torch.as_tensor(np.asarray(token_ids, dtype=np.int64)), torch.Generator().manual_seed(seed)
    counts = torch.bincount(text, minlength=vocabulary_size).float() + 1
    vectors = torch.randn(vocabulary_size, dim, generator=generator) * 0.1
    mixing = torch.eye(dim).repeat(context_length, 1) / context_length
    parameters = [vectors, mixing, (counts / counts.sum()).log()]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, 0.99))
    places, losses = len(text) - context_length, []
    batch = min(2048, max(places // 64, 1))  # a small text takes smaller batches, not fewer than 64
    num_steps = int(epochs * places / batch)
    back = torch.arange(1, context_length + 1)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(num_steps):
        if len(order) < batch:
            order = torch.randperm(places, generator=generator) + context_length
        chosen, order = order[:batch], order[batch:]
        loss, *gradients = log_bilinear_gradients(text[chosen[:, None] - back], text[chosen], *parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.param_groups[0]["lr"] = learning_rate * min(1, (step + 1) / 100) * (1 - step / num_steps)
        optimizer.step()
        losses.append(float(loss))
    return *(parameter.numpy() for parameter in parameters), losses


class LogBilinearModel:
    """A language model that predicts the vector of the next token, linearly, from those before (Mnih and Hinton, 2007).

    Attributes:
        tokenizer: cuts a text into token ids.
        vectors: (V, d) one for each token.
        mixing: (n, d, d) what the token i + 1 places back contributes.
        biases: (V,).
        losses: of the training batches, in nats.
    """

    def __init__(
        self,
        tokenizer: AnyTokenizer,
        vectors: np.ndarray,
        mixing: np.ndarray,
        biases: np.ndarray,
        losses: Sequence[float] = (),
    ) -> None:
        """Take over trained parameters; mixing of shape (n * d, d) or (n, d, d)."""
        self.tokenizer, self.losses = tokenizer, list(losses)
        self.vectors, self.biases = np.asarray(vectors, dtype=np.float64), np.asarray(biases, dtype=np.float64)
        dim = self.vectors.shape[1]
        self.mixing = np.asarray(mixing, dtype=np.float64).reshape(-1, dim, dim)

    @classmethod
    def fit(
        cls, text: str, tokenizer: AnyTokenizer, *, dim: int = 100, context_length: int = 5, epochs: float = 1,
        learning_rate: float = 0.006, seed: int = 0,
    ) -> "LogBilinearModel":  # fmt: skip
        """Train on a text.

        Raises:
            ValueError: if the text is shorter than a context and a token, or a size is below 1.
        """
        token_ids = tokenizer.encode(text)
        if min(dim, context_length) < 1 or len(token_ids) <= context_length:
            raise ValueError(
                f"got {len(token_ids)} tokens, dim {dim}, context_length {context_length}; "
                "the text must be longer than its context, sizes at least 1"
            )
        return cls(
            tokenizer,
            *train_log_bilinear(token_ids, tokenizer.vocabulary_size, dim, context_length, epochs, learning_rate, seed),
        )

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned."""
        return self.vectors.size + self.mixing.size + self.biases.size

    def token_log_probs(self, text: str, context: str = "") -> np.ndarray:
        """Natural log of each token's probability given those before it: shape (tokens of the text,)."""
        before = self._history(context)
        tokens = np.concatenate([before, self.tokenizer.encode(text)])
        scores = np.empty(len(tokens) - len(before))
        for start in range(len(before), len(tokens), 2048):
            stop = min(start + 2048, len(tokens))
            log_probs = self._log_probs(tokens[max(0, start - len(self.mixing)) : stop], stop - start)
            scores[start - len(before) : stop - len(before)] = log_probs[np.arange(stop - start), tokens[start:stop]]
        return scores

    def next_token_log_probs(self, context: str = "") -> np.ndarray:
        """Natural log of each token's probability to come next: shape (vocabulary,)."""
        return self.next_after(self._history(context))

    def generate(self, num_tokens: int, context: str = "", *, temperature: float = 1.0, seed: int = 0) -> str:
        """Draw tokens one after the other; the same seed gives the same text."""
        rng, ids = np.random.default_rng(seed), list(self._history(context))
        start = len(ids)
        for _ in range(num_tokens):
            log_probs = self.next_after(np.array(ids, dtype=np.int64))
            ids.append(sample_with_temperature(log_probs, temperature, rng))
        return self.tokenizer.decode(ids[start:])

    def next_after(self, history: np.ndarray) -> np.ndarray:
        """The same, after the ids of some tokens."""
        return self._log_probs(np.append(history[-len(self.mixing) :], 0), 1)[0]

    def _history(self, context: str) -> np.ndarray:
        return self.tokenizer.encode(context)[-len(self.mixing) :]

    def _log_probs(self, tokens: np.ndarray, count: int) -> np.ndarray:
        """Distributions for the last `count` places of some tokens, from those before each: (count, V)."""
        first = len(tokens) - count
        predicted = np.zeros((count, self.vectors.shape[1]))
        for back, matrix in enumerate(self.mixing, start=1):
            missing = min(count, max(0, back - first))  # places that have no token so far back
            predicted[missing:] += self.vectors[tokens[first + missing - back : len(tokens) - back]] @ matrix
        logits = predicted @ self.vectors.T + self.biases
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


class MixtureModel:
    """A weighted mean of the probabilities of several models that share a tokenizer (Jelinek and Mercer, 1980).

    Attributes:
        models: models over the same tokens.
        weights: their shares, which sum to 1.
    """

    def __init__(self, models: Sequence[LanguageModel], weights: Sequence[float]) -> None:
        self.models, self.weights = list(models), np.asarray(weights, dtype=np.float64)
        if not self.models or self.weights.shape != (len(self.models),):
            raise ValueError(
                f"got {len(self.models)} models and weights {weights}; expected a weight for each of some models"
            )
        if not (np.all(self.weights > 0) and abs(self.weights.sum() - 1) < 1e-9):
            raise ValueError(f"got weights {weights}; they must be above 0 and sum to 1")
        self.tokenizer = self.models[0].tokenizer
        if any(model.tokenizer.names() != self.tokenizer.names() for model in self.models):
            raise ValueError("the models cut a text into different tokens; train all of them with one tokenizer")

    @classmethod
    def fit(cls, models: Sequence[LanguageModel], held_out: str, num_rounds: int = 50) -> "MixtureModel":
        """Choose the weights that suit a held-out text, by expectation and maximisation (Dempster et al., 1977).

        Each round asks of every token which model probably gave it, and makes the shares of the answers the weights.
        """
        log_probs = np.array([model.token_log_probs(held_out) for model in models])  # (models, tokens)
        weights = np.full(len(log_probs), 1 / len(log_probs))
        for _ in range(num_rounds):
            joint = np.log(weights)[:, None] + log_probs
            weights = np.exp(joint - np.logaddexp.reduce(joint, axis=0)).mean(axis=1).clip(1e-6)
            weights /= weights.sum()
        return cls(models, weights)

    @property
    def num_parameters(self) -> int:
        """How many numbers the models have learned, and the weights."""
        return sum(model.num_parameters for model in self.models) + len(self.weights)

    def token_log_probs(self, text: str, context: str = "") -> np.ndarray:
        """Natural log of each token's probability given those before it: shape (tokens of the text,)."""
        return self._mixed([model.token_log_probs(text, context) for model in self.models])

    def next_token_log_probs(self, context: str = "") -> np.ndarray:
        """Natural log of each token's probability to come next: shape (vocabulary,)."""
        return self._mixed([model.next_token_log_probs(context) for model in self.models])

    def generate(self, num_tokens: int, context: str = "", *, temperature: float = 1.0, seed: int = 0) -> str:
        """Draw tokens one after the other; the same seed gives the same text."""
        rng, ids = np.random.default_rng(seed), self.tokenizer.encode(context).tolist()
        start = len(ids)
        for _ in range(num_tokens):
            history = np.array(ids, dtype=np.int64)
            log_probs = self._mixed([model.next_after(history) for model in self.models])
            ids.append(sample_with_temperature(log_probs, temperature, rng))
        return self.tokenizer.decode(ids[start:])

    def _mixed(self, log_probs: list[np.ndarray]) -> np.ndarray:
        weighted = [np.log(weight) + each for weight, each in zip(self.weights, log_probs, strict=True)]
        return np.logaddexp.reduce(weighted, axis=0)
