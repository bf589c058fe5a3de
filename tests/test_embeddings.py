"""Embeddings agree with their oracles: numpy, scikit-learn, torch's autograd, finite differences, gensim."""

import csv
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from bow2gpt import corpus, ruler
from bow2gpt.chapters import embeddings as em
from bow2gpt.chapters.counting_models import NGramModel
from bow2gpt.chapters.language_features import ByteTokenizer, Tokenizer, words


def slopes(loss_of, array, epsilon=1e-6):
    """Derivatives of a loss by each number of an array, by finite differences."""
    found = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        array[place] = kept + epsilon
        above = loss_of()
        array[place] = kept - epsilon
        found[place] = (above - loss_of()) / (2 * epsilon)
        array[place] = kept
    return found


# Neighbours


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_are_scikit_learns(seed):
    vectors = np.random.default_rng(seed).normal(size=(30, 6)) * np.logspace(-3, 3, 30)[:, None]
    expected = np.argsort(-cosine_similarity(vectors), axis=1)
    for index in range(30):
        assert em.cosine_neighbours(vectors, index, 29) == [row for row in expected[index] if row != index]


def test_neighbours_of_equal_similarity_come_in_order_and_a_zero_row_is_similar_to_nothing():
    vectors = np.array([[0.0, 0], [3, 3], [1, 1], [0, 0], [1, -1], [0.1, 0.1], [-1, -1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert em.cosine_neighbours(vectors, 2, 6) == [1, 5, 0, 3, 4, 6]
        assert em.cosine_neighbours(vectors, 0, 6) == [1, 2, 3, 4, 5, 6]
    assert em.cosine_neighbours(vectors, 2, 0) == []
    assert em.cosine_neighbours(vectors, 2, 99) == [1, 5, 0, 3, 4, 6]


def test_neighbours_take_integers_and_leave_the_vectors_alone():
    vectors = np.array([[1, 0], [5, 5], [2, 1]])
    before = vectors.copy()
    assert em.cosine_neighbours(vectors, 0, 2) == [2, 1]
    assert np.array_equal(vectors, before)


@pytest.mark.parametrize(("index", "count"), [(3, 1), (-1, 1), (0, -1)])
def test_neighbours_refuse_rows_that_do_not_exist(index, count):
    with pytest.raises(ValueError, match=f"got index {index}, count {count} of 3 rows"):
        em.cosine_neighbours(np.eye(3), index, count)


def test_vectors_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"got vectors of shape \(3,\), expected \(n, d\)"):
        em.unit_rows(np.ones(3))


# Analogies

CORNERS = np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0], [-2.0, 9.0], [5.0, 1.0]])
NAMES = ["small", "big", "old", "huge", "tiny"]


def test_analogy_uses_unit_vectors_and_leaves_out_its_words():
    assert em.analogy(CORNERS, NAMES, "small", "big", "old") == ["huge"]
    assert em.analogy(CORNERS, NAMES, "small", "big", "old", count=9) == ["huge", "tiny"]
    longer = CORNERS * np.array([[100.0], [0.01], [1], [5], [7]])
    assert em.analogy(longer, NAMES, "small", "big", "old", count=2) == ["huge", "tiny"]


@pytest.mark.parametrize("seed", range(5))
def test_analogy_equals_gensim(seed):
    from gensim.models import KeyedVectors

    names = [f"w{number}" for number in range(50)]
    theirs = KeyedVectors(8)
    theirs.add_vectors(names, np.random.default_rng(seed).normal(size=(50, 8)).astype(np.float32))
    expected = [word for word, _ in theirs.most_similar(positive=["w7", "w9"], negative=["w3"], topn=10)]
    assert em.analogy(theirs.vectors, names, "w3", "w7", "w9", count=10) == expected


def test_analogy_refuses_unknown_words_and_rows_without_a_word():
    with pytest.raises(ValueError, match="the vocabulary has no word 'queen'"):
        em.analogy(CORNERS, NAMES, "small", "big", "queen")
    with pytest.raises(ValueError, match="got 4 words for 5 vectors"):
        em.analogy(CORNERS, NAMES[:4], "small", "big", "old")


# Odd one out, overlap, agreement


def test_odd_one_out_equals_gensim():
    from gensim.models import KeyedVectors

    rng = np.random.default_rng(0)
    names = [f"w{number}" for number in range(60)]
    theirs = KeyedVectors(5)
    theirs.add_vectors(names, (rng.normal(size=(60, 5)) + 0.5).astype(np.float32))
    for _ in range(50):
        rows = rng.choice(60, 3, replace=False)
        # gensim compares with the mean, which is the same order as the sum of cosines to the others
        assert names[em.odd_one_out(theirs.vectors, rows)] == theirs.doesnt_match([names[row] for row in rows])


def test_odd_one_out_accuracy_counts_unknown_words_as_wrong_and_ties_as_not_found():
    vectors = np.array([[1.0, 0], [1, 0.1], [1, -0.1], [0, 1]])
    assert em.odd_one_out_accuracy(vectors, list("abcd"), [("d", "a", "b", "c"), ("d", "a", "b", "x")]) == 0.5
    assert em.odd_one_out_accuracy(np.ones((4, 2)), list("abcd"), [("d", "a", "b", "c")]) == 0
    with pytest.raises(ValueError, match="got no items"):
        em.odd_one_out_accuracy(vectors, list("abcd"), [])


def test_items_are_distinct_and_of_words_that_the_training_text_holds_often():
    items = em.odd_one_out_items()
    assert len(items) >= 60
    assert len({frozenset(item) for item in items}) == len(items)
    assert all(len(set(item)) == 4 for item in items)
    vocabulary = set(em.frequent_words(words(corpus.text("train")), 15))
    assert not [word for item in items for word in item if word not in vocabulary]


def test_overlap_is_one_with_itself_turned_and_scaled_and_small_with_noise():
    rng = np.random.default_rng(0)
    vectors, noise = rng.normal(size=(300, 10)), rng.normal(size=(300, 10))
    turn = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    assert em.neighbour_overlap(vectors, 3 * vectors @ turn, range(50)) == 1
    assert em.neighbour_overlap(vectors, noise, range(50)) < 0.15


def test_comparisons_refuse_other_numbers_of_words():
    with pytest.raises(ValueError, match="got 3 and 4 rows"):
        em.neighbour_overlap(np.ones((3, 2)), np.ones((4, 2)), [0])


# Counts


def test_frequent_words_come_in_order_and_ids_find_them():
    tokens = ["b", "a", "c", "b", "a", "d"]
    assert em.frequent_words(tokens, 1) == ["a", "b", "c", "d"]
    assert em.frequent_words(tokens, 2) == ["a", "b"]
    assert em.word_ids(tokens, ["b", "a"]).tolist() == [0, 1, -1, 0, 1, -1]
    with pytest.raises(ValueError, match="repeats a word"):
        em.word_ids(tokens, ["a", "a"])


@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize("window", [1, 2, 5, 50])
def test_cooccurrence_equals_a_loop(window, decay):
    token_ids = np.random.default_rng(window).integers(-1, 6, size=40)
    expected = np.zeros((6, 6))
    for place, word in enumerate(token_ids):
        for other in range(max(0, place - window), min(40, place + window + 1)):
            if other != place and word >= 0 and token_ids[other] >= 0:
                expected[word, token_ids[other]] += 1 / abs(other - place) if decay else 1
    got = em.cooccurrence_counts(token_ids, 6, window, decay)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_cooccurrence_of_nothing_is_zero_and_bad_input_is_refused():
    assert em.cooccurrence_counts(np.array([], dtype=int), 3).tolist() == np.zeros((3, 3)).tolist()
    with pytest.raises(ValueError, match="got window 0"):
        em.cooccurrence_counts(np.array([0]), 3, 0)
    with pytest.raises(ValueError, match="the numbers below 3"):
        em.cooccurrence_counts(np.array([3]), 3)


@pytest.mark.parametrize("smoothing", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("shape", [(5, 5), (4, 9)])
def test_ppmi_equals_its_formula_cell_by_cell(shape, smoothing):
    counts = np.random.default_rng(0).poisson(1.0, shape)
    counts[1], counts[:, 2] = 0, 0
    total, smoothed = counts.sum(), counts.sum(axis=0) ** smoothing
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = em.ppmi(counts, smoothing)
    for row, column in np.ndindex(shape):
        count = counts[row, column]
        chance = counts[row].sum() / total * smoothed[column] / smoothed.sum()
        expected = max(0.0, np.log(count / total / chance)) if count else 0.0
        assert got[row, column] == pytest.approx(expected, abs=1e-12)


def test_ppmi_does_not_depend_on_the_size_of_the_counts_nor_change_them():
    counts = np.random.default_rng(1).poisson(1.0, (6, 7)).astype(float)
    before = counts.copy()
    np.testing.assert_allclose(em.ppmi(counts), em.ppmi(counts * 1000), atol=1e-12)
    assert np.array_equal(counts, before)
    single = em.ppmi(counts.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, em.ppmi(counts), atol=1e-5)


def test_ppmi_of_nothing_is_zero():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not em.ppmi(np.zeros((2, 3))).any()


@pytest.mark.parametrize(
    ("counts", "smoothing"), [([[-1.0]], 1), ([[np.nan]], 1), ([1.0], 1), ([[1.0]], 0), ([[1.0]], -1)]
)
def test_ppmi_refuses_what_has_no_logarithm(counts, smoothing):
    with pytest.raises(ValueError, match="got counts of shape|got smoothing"):
        em.ppmi(np.array(counts), smoothing)


@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12)])
def test_svd_embed_is_the_best_approximation(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    _, values, right = np.linalg.svd(matrix, full_matrices=False)
    for dim in (1, 3, min(shape)):
        got = em.svd_embed(matrix, dim)
        assert got.shape == (shape[0], dim)
        np.testing.assert_allclose(got.T @ got, np.diag(values[:dim]), atol=1e-9)
        best = got @ (
            np.sqrt(values[:dim])[:, None] * right[:dim] * np.sign(np.diag(right[:dim] @ matrix.T @ got))[:, None]
        )
        assert np.linalg.norm(matrix - best) == pytest.approx(np.sqrt(np.sum(values[dim:] ** 2)), abs=1e-9)


def test_random_projection_finds_what_the_exact_decomposition_finds():
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(1600, 60)))[0] for _ in range(2))
    values = 0.9 ** np.arange(60)
    got = em.svd_embed((left * values) @ right.T, 20)
    np.testing.assert_allclose(np.abs(got), np.abs(left[:, :20] * np.sqrt(values[:20])), atol=1e-6)


@pytest.mark.parametrize("dim", [0, 4])
def test_svd_embed_refuses_dimensions_that_do_not_exist(dim):
    with pytest.raises(ValueError, match=f"got dim {dim} for shape"):
        em.svd_embed(np.ones((3, 5)), dim)


# Losses and gradients


@pytest.mark.parametrize("context", [[0], [1, 4, 6], [2, 2, 5], [3, 3, 3]])
def test_cbow_gradients_are_autograds_and_the_slopes(context):
    rng = np.random.default_rng(len(context))
    inputs, outputs = rng.normal(size=(7, 3)), rng.normal(size=(7, 3))
    loss, grad_input, grad_output = em.cbow_loss_and_grad(np.array(context), 3, inputs, outputs)
    table, weight = (torch.tensor(array, requires_grad=True) for array in (inputs, outputs))
    reference = torch.nn.functional.cross_entropy(weight @ table[context].mean(dim=0), torch.tensor(3))
    reference.backward()
    assert loss == pytest.approx(reference.item(), abs=1e-12)
    np.testing.assert_allclose(grad_input, table.grad, atol=1e-12)
    np.testing.assert_allclose(grad_output, weight.grad, atol=1e-12)
    for array, gradient in ((inputs, grad_input), (outputs, grad_output)):
        measured = slopes(lambda: em.cbow_loss_and_grad(np.array(context), 3, inputs, outputs)[0], array)
        np.testing.assert_allclose(gradient, measured, atol=1e-7)


def test_cbow_survives_scores_of_a_thousand():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, *gradients = em.cbow_loss_and_grad(np.array([0]), 1, np.full((2, 1), 1000.0), np.array([[1.0], [-1.0]]))
    assert loss == pytest.approx(2000)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(("context", "target"), [([], 0), ([7], 0), ([-1], 0), ([0], 7), ([0], -1)])
def test_cbow_refuses_words_that_do_not_exist(context, target):
    with pytest.raises(ValueError, match="got context ids"):
        em.cbow_loss_and_grad(np.array(context), target, np.ones((7, 2)), np.ones((7, 2)))


@pytest.mark.parametrize("num_negatives", [0, 1, 5])
def test_skip_gram_gradients_are_autograds_and_the_slopes(num_negatives):
    rng = np.random.default_rng(num_negatives)
    parts = [rng.normal(size=4), rng.normal(size=4), rng.normal(size=(num_negatives, 4))]
    loss, *gradients = em.sgns_loss_and_grad(*parts)
    center, context, negatives = tensors = [torch.tensor(part, requires_grad=True) for part in parts]
    log_sigmoid = torch.nn.functional.logsigmoid
    reference = -log_sigmoid(context @ center) - log_sigmoid(-(negatives @ center)).sum()
    reference.backward()
    assert loss == pytest.approx(reference.item(), abs=1e-12)
    for part, gradient, tensor in zip(parts, gradients, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad, atol=1e-12)
        np.testing.assert_allclose(gradient, slopes(lambda: em.sgns_loss_and_grad(*parts)[0], part), atol=1e-7)


@pytest.mark.parametrize("score", [-1e4, 1e4])
def test_skip_gram_survives_large_scores(score):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, *gradients = em.sgns_loss_and_grad(np.array([score]), np.array([1.0]), np.array([[1.0]]))
    assert loss == pytest.approx(1e4)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_skip_gram_refuses_shapes_that_do_not_belong_together():
    with pytest.raises(ValueError, match=r"got shapes \(2,\), \(3,\) and \(1, 2\)"):
        em.sgns_loss_and_grad(np.ones(2), np.ones(3), np.ones((1, 2)))


@pytest.mark.parametrize(("maximum", "power"), [(100.0, 0.75), (3.0, 0.5), (1.0, 1.0)])
def test_glove_loss_equals_a_loop(maximum, power):
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, (6, 6)) * rng.choice([1, 50], (6, 6))
    word, context, word_bias, context_bias = (rng.normal(size=shape) for shape in [(6, 3), (6, 3), 6, 6])
    expected = 0.0
    for i, j in np.argwhere(counts > 0):
        error = word[i] @ context[j] + word_bias[i] + context_bias[j] - np.log(counts[i, j])
        expected += min(1.0, (counts[i, j] / maximum) ** power) * error**2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = em.glove_loss(counts, word, context, word_bias, context_bias, maximum, power)
    assert got == pytest.approx(expected)
    assert isinstance(got, float)


def test_glove_loss_refuses_negative_counts():
    with pytest.raises(ValueError, match="got a count that is negative or not finite"):
        em.glove_loss(np.array([[-1.0]]), np.ones((1, 1)), np.ones((1, 1)), np.ones(1), np.ones(1))


# Trainers


def test_a_skip_gram_step_is_the_sum_of_single_pairs():
    generator = torch.Generator().manual_seed(0)
    center, context, negative = (
        torch.randn(em.LINES, rows, 6, generator=generator) for rows in (em.LINE, em.LINE + 4, em.SHARED)
    )
    mask = em.window_masks(2)[1]
    moves = em.skip_gram_step(center, context, negative, mask, 0.1, 5)
    expected = [np.zeros(tensor.shape) for tensor in (center, context, negative)]
    line = 3
    for place in range(em.LINE):
        for other in np.flatnonzero(mask[place]):
            pair = [tensor[line].double().numpy() for tensor in (center, context, negative)]
            _, by_center, by_context, _ = em.sgns_loss_and_grad(pair[0][place], pair[1][other], np.zeros((0, 6)))
            _, push_center, _, by_negatives = em.sgns_loss_and_grad(pair[0][place], np.zeros(6), pair[2])
            shared = 5 / em.SHARED  # all negatives together weigh as much as five
            expected[0][line, place] -= 0.1 * (by_center + shared * push_center)
            expected[1][line, other] -= 0.1 * by_context
            expected[2][line] -= 0.1 * shared * by_negatives
    for move, right in zip(moves, expected, strict=True):
        np.testing.assert_allclose(move[line], right[line], atol=1e-4)


def test_a_cbow_step_is_autograds():
    generator = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(em.LINES, rows, 6, generator=generator, dtype=torch.float64).requires_grad_()
        for rows in (em.LINE, em.LINE + 4, em.SHARED)
    ]
    center, context, negative = tensors
    mask = em.window_masks(2)[1].double()
    hidden = (mask / mask.sum(dim=1, keepdim=True)) @ context
    log_sigmoid = torch.nn.functional.logsigmoid
    loss = -log_sigmoid((hidden * center).sum(dim=2)).sum()
    loss = loss - 5 / em.SHARED * log_sigmoid(-(hidden @ negative.transpose(1, 2))).sum()
    loss.backward()
    with torch.no_grad():
        moves = em.cbow_step(center, context, negative, mask, 0.1, 5)
    for move, tensor in zip(moves, tensors, strict=True):
        np.testing.assert_allclose(move, -0.1 * tensor.grad, atol=1e-10)


def test_blocks_hold_the_text_and_what_is_around_it():
    token_ids = np.arange(2500, dtype=np.int32)
    counts = np.ones(2500)
    found = list(em.blocks(token_ids, counts, 3, 2, seed=0))
    assert len(found) == 4  # rare words are all kept: two blocks of 1,024 in each epoch
    for block in found:
        centers = block.centers.view(em.LINES, em.LINE)
        contexts = block.contexts.view(em.LINES, em.LINE + 6)
        assert torch.equal(contexts[:, 3:-3], centers)
        assert torch.equal(contexts[1:, :6], contexts[:-1, -6:])
        assert block.mask.shape == (em.LINE, em.LINE + 6)
        assert 0 <= block.progress < 1


def test_subsampling_keeps_rare_words_and_thins_frequent_ones():
    counts = np.array([10_000, 100, 1])
    keep = em.keep_probabilities(counts, 1e-3)
    share = counts / counts.sum()
    np.testing.assert_allclose(keep, np.minimum(1, np.sqrt(1e-3 / share) + 1e-3 / share))
    assert keep[2] == 1 > keep[0]


def two_topics(length=60_000):
    """A text that speaks of words 0 to 99 for a while, then of 100 to 199, and so on in turns."""
    rng = np.random.default_rng(0)
    return np.repeat(rng.integers(2, size=length // 20), 20) * 100 + rng.integers(100, size=length // 20 * 20)


@pytest.mark.parametrize("nested", [(), (2, 4, 8)])
@pytest.mark.parametrize("architecture", ["skip-gram", "cbow"])
def test_words_of_one_topic_come_to_lie_together(architecture, nested):
    vectors = em.train_word2vec(two_topics(), 200, 8, architecture, epochs=8, nested=nested)
    assert vectors.shape == (200, 8)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    same = [row // 100 == word // 100 for word in range(200) for row in em.cosine_neighbours(vectors, word, 10)]
    assert np.mean(same) > 0.95


def test_the_same_seed_trains_the_same_vectors():
    first, again, other = (em.train_word2vec(two_topics(4000), 200, 4, seed=seed, epochs=1) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_text_shorter_than_a_block_still_trains():
    assert np.isfinite(em.train_word2vec(np.array([0, 1, 0, 2]), 4, 3, epochs=2)).all()


@pytest.mark.parametrize(
    ("token_ids", "options", "says"),
    [
        ([0, 1], {"architecture": "bag"}, "got architecture 'bag'"),
        ([0, 5], {}, "word numbers from 0 to 4"),
        ([0, -1], {}, "word numbers from 0 to 4"),
        ([], {}, "word numbers from 0 to 4"),
        ([0], {"dim": 0}, "got dim 0"),
        ([0], {"dim": 4, "nested": (8,)}, "nested at most dim"),
        ([0], {"epochs": 0}, "epochs 0"),
    ],
)
def test_word2vec_refuses_what_it_cannot_train(token_ids, options, says):
    with pytest.raises(ValueError, match=says):
        em.train_word2vec(np.array(token_ids, dtype=int), 5, **options)


def test_glove_training_lowers_the_loss_and_fits_a_table_of_its_own_kind():
    rng = np.random.default_rng(0)
    word = rng.normal(size=(40, 3))
    counts = np.exp(word @ word.T / 2 + 2)
    vectors, losses = em.train_glove(counts, 6, epochs=150, learning_rate=0.1)
    assert vectors.shape == (40, 6)
    assert losses[-1] < 0.02 * losses[0]
    assert em.neighbour_overlap(vectors, word, range(40), count=5) > 0.5


# Rotations, positions, cuts


def test_procrustes_undoes_a_rotation_and_equals_scipy():
    from scipy.linalg import orthogonal_procrustes

    rng = np.random.default_rng(0)
    source, turn = rng.normal(size=(30, 5)), np.linalg.qr(rng.normal(size=(5, 5)))[0]
    np.testing.assert_allclose(em.procrustes(source, source @ turn), turn, atol=1e-10)
    target = rng.normal(size=(30, 5))
    np.testing.assert_allclose(em.procrustes(source, target), orthogonal_procrustes(source, target)[0], atol=1e-10)
    with pytest.raises(ValueError, match="both must be"):
        em.procrustes(source, target[:, :4])


@pytest.mark.parametrize(("length", "dim"), [(1, 2), (7, 4), (50, 64), (5, 7), (3, 1), (0, 4)])
def test_positions_equal_the_formula(length, dim):
    got = em.sinusoidal_positions(length, dim)
    assert got.shape == (length, dim)
    for position, dimension in np.ndindex(length, dim):
        angle = position / 10000 ** (2 * (dimension // 2) / dim)
        assert got[position, dimension] == pytest.approx(np.sin(angle) if dimension % 2 == 0 else np.cos(angle))


def test_positions_depend_on_distance_alone():
    table = em.sinusoidal_positions(60, 32)
    products = table @ table.T
    for distance in (0, 1, 7, 40):
        np.testing.assert_allclose(np.diag(products, distance), products[0, distance], atol=1e-12)


def test_positions_refuse_sizes_below_zero():
    with pytest.raises(ValueError, match="got context_length -1 and embedding_dim 0"):
        em.sinusoidal_positions(-1, 0)


def test_cut_rows_have_length_one_or_stay_zero():
    vectors = np.array([[3, 4, 12], [0, 0, 7], [-5, 0, 1]])
    before = vectors.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = em.truncate_and_renormalise(vectors, 2)
    np.testing.assert_allclose(got, [[0.6, 0.8], [0, 0], [-1, 0]])
    assert np.array_equal(vectors, before)
    reference = torch.nn.functional.normalize(torch.tensor(vectors, dtype=torch.float64), dim=1)
    np.testing.assert_allclose(em.truncate_and_renormalise(vectors, 3), reference, atol=1e-12)


@pytest.mark.parametrize("dim", [0, 4, -1])
def test_a_cut_needs_dimensions_that_exist(dim):
    with pytest.raises(ValueError, match=f"got dim {dim} for vectors of shape"):
        em.truncate_and_renormalise(np.ones((2, 3)), dim)


# The log-bilinear model


def test_log_bilinear_gradients_are_autograds():
    generator = torch.Generator().manual_seed(0)
    parameters = [
        torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in [(9, 4), (12, 4), (9,)]
    ]
    context_ids = torch.randint(9, (20, 3), generator=generator)
    targets = torch.randint(9, (20,), generator=generator)
    with torch.no_grad():
        loss, *by_hand = em.log_bilinear_gradients(context_ids, targets, *parameters)
    logits = parameters[0][context_ids].view(20, -1) @ parameters[1] @ parameters[0].T + parameters[2]
    reference = torch.nn.functional.cross_entropy(logits, targets)
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), abs=1e-12)
    for parameter, gradient in zip(parameters, by_hand, strict=True):
        np.testing.assert_allclose(gradient, parameter.grad, atol=1e-12)


def test_log_bilinear_scores_equal_the_formula_token_by_token():
    rng = np.random.default_rng(0)
    vectors, mixing, biases = rng.normal(size=(256, 4)), rng.normal(size=(3, 4, 4)), rng.normal(size=256)
    model = em.LogBilinearModel(ByteTokenizer(), vectors, mixing, biases)
    ids = list(b"context and text")
    scores = model.token_log_probs("text", context="context and ")
    for place in range(4):
        end = len(ids) - 4 + place
        predicted = sum(vectors[ids[end - 1 - back]] @ mixing[back] for back in range(3))
        logits = torch.tensor(vectors @ predicted + biases)
        assert scores[place] == pytest.approx(float(torch.log_softmax(logits, 0)[ids[end]]), abs=1e-10)
    assert model.num_parameters == 256 * 4 + 3 * 16 + 256


def test_log_bilinear_scores_do_not_depend_on_how_a_long_text_is_cut_up():
    rng = np.random.default_rng(0)
    model = em.LogBilinearModel(ByteTokenizer(), rng.normal(size=(256, 4)), rng.normal(size=(5, 4, 4)), np.zeros(256))
    text = corpus.text("validation")[:5000]
    whole = model.token_log_probs(text)
    parts = [model.token_log_probs(text[s : s + 700], context=text[:s]) for s in range(0, len(text), 700)]
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-9)


def test_log_bilinear_learns():
    text = corpus.text("validation")[:60_000]
    tokenizer = Tokenizer.train(text, 400)
    model = em.LogBilinearModel.fit(text, tokenizer, dim=16, epochs=8)
    token_ids = tokenizer.encode(text)
    share = np.bincount(token_ids) / len(token_ids)
    entropy = -np.sum(share[share > 0] * np.log(share[share > 0]))
    assert -model.token_log_probs(text).mean() < entropy - 0.5
    with pytest.raises(ValueError, match="the text must be longer than its context"):
        em.LogBilinearModel.fit("a", tokenizer)


def test_mixture_is_the_weighted_mean_of_probabilities():
    tokenizer = ByteTokenizer()
    models = [NGramModel.fit("the union of the states", order, tokenizer=tokenizer) for order in (1, 3)]
    mixture = em.MixtureModel(models, [0.25, 0.75])
    parts = [np.exp(model.token_log_probs("union", "the ")) for model in models]
    np.testing.assert_allclose(np.exp(mixture.token_log_probs("union", "the ")), 0.25 * parts[0] + 0.75 * parts[1])
    assert mixture.num_parameters == models[0].num_parameters + models[1].num_parameters + 2


def test_mixture_finds_the_best_weights():
    tokenizer = ByteTokenizer()
    models = [NGramModel.fit("the union of the states " * 9, order, tokenizer=tokenizer) for order in (1, 2, 4)]
    held_out = "the state of the union is strong"
    mixture = em.MixtureModel.fit(models, held_out, num_rounds=300)
    best = ruler.bits_per_byte(mixture, held_out)
    for first in np.arange(0.05, 1, 0.1):
        for second in np.arange(0.05, 1 - first, 0.1):
            other = em.MixtureModel(models, [first, second, 1 - first - second])
            assert best <= ruler.bits_per_byte(other, held_out) + 1e-6


def test_mixture_refuses_what_cannot_be_mixed():
    tokenizer = ByteTokenizer()
    model = NGramModel.fit("ab", 1, tokenizer=tokenizer)
    stranger = NGramModel.fit("abc", 1, tokenizer=Tokenizer.train("the the the", 258))
    with pytest.raises(ValueError, match="different tokens"):
        em.MixtureModel([model, stranger], [0.5, 0.5])
    for weights in ([0.5, 0.6], [1.0, 0.0], [1.0]):
        with pytest.raises(ValueError, match="weights"):
            em.MixtureModel([model, model], weights)


# The committed table


def test_the_table_of_dimensions_is_complete_and_says_how_it_was_made():
    from importlib import resources

    lines = (resources.files("bow2gpt") / "dimensions.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Made by `python benchmarks/dimensions.py`; nothing in it is typed by hand."
    rows = list(csv.DictReader(lines[1:]))
    for method in ("skip-gram", "PPMI and SVD"):
        dims = {int(row["dim"]) for row in rows if row["method"] == method}
        assert {8, 16, 32, 64, 128} <= dims
    assert all(0 <= float(row["odd_one_out"]) <= 1 and -1 <= float(row["agreement"]) <= 1 for row in rows)
