"""Attention's rivals and the small encoder of chapter 06 do what their formulas say."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bow2gpt import readings
from bow2gpt.chapters import attention as at


def drawn(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def linear_by_matrix(queries, keys, values):
    weights = ((F.elu(queries) + 1) @ (F.elu(keys) + 1).mT).tril()
    return weights / weights.sum(dim=-1, keepdim=True) @ values


@pytest.mark.parametrize("block_size", [1, 7, 64, 1000])
@pytest.mark.parametrize("shape", [(1, 4), (65, 4), (2, 3, 130, 4)])
def test_linear_attention_is_the_weighted_mean_whatever_the_block(shape, block_size):
    queries, keys, values = drawn(3, *shape)
    found = at.linear_attention(queries, keys, values[..., :3], block_size=block_size)
    torch.testing.assert_close(found, linear_by_matrix(queries, keys, values[..., :3]))


def test_linear_attention_sees_no_later_token_and_keeps_its_arguments():
    queries, keys, values = drawn(3, 2, 90, 4)
    before = at.linear_attention(queries, keys, values)
    copies = [part.clone() for part in (queries, keys, values)]
    later = [part.clone() for part in (queries, keys, values)]
    for part in later:
        part[:, 50:] += 1
    torch.testing.assert_close(at.linear_attention(*later)[:, :50], before[:, :50])
    for part, copy in zip((queries, keys, values), copies, strict=True):
        assert torch.equal(part, copy)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_rivals_keep_the_type_and_take_empty_and_strided_inputs(dtype):
    part = drawn(2, 12, 5, dtype=dtype)
    assert at.linear_attention(part, part, part).dtype == at.long_convolution(part, part).dtype == dtype
    assert at.linear_attention(part[:, :0], part[:, :0], part[:, :0]).shape == (2, 0, 5)
    assert at.long_convolution(part[:, :0], part).shape == (2, 0, 5)
    assert at.long_convolution(part[:0], part[0]).shape == (0, 12, 5)
    turned = drawn(2, 5, 12, dtype=dtype).mT
    torch.testing.assert_close(at.linear_attention(*3 * [turned]), at.linear_attention(*3 * [turned.contiguous()]))
    torch.testing.assert_close(at.long_convolution(turned, turned), at.long_convolution(*2 * [turned.contiguous()]))


def test_a_far_negative_query_gives_no_nan():
    queries = torch.full((3, 4), -1000.0)
    assert at.linear_attention(queries, queries, torch.ones(3, 2)).isfinite().all()


@pytest.mark.parametrize(("time", "taps"), [(1, 1), (7, 7), (20, 3), (5, 30)])
def test_long_convolution_is_torchs_convolution(time, taps):
    inputs, filters = drawn(2, time, 4), drawn(taps, 4, seed=1)
    padded = F.pad(inputs.mT, (taps - 1, 0))  # (batch, channels, time)
    expected = F.conv1d(padded, filters.flip(0).T[:, None], groups=4).mT
    torch.testing.assert_close(at.long_convolution(inputs, filters), expected)


def test_the_slopes_of_the_rivals_are_right():
    parts = [drawn(2, 6, 3, seed=seed).requires_grad_() for seed in range(3)]
    assert torch.autograd.gradcheck(lambda *p: at.linear_attention(*p, block_size=4), parts)
    assert torch.autograd.gradcheck(at.long_convolution, parts[:2])


def test_what_does_not_fit_the_rivals_is_refused():
    with pytest.raises(ValueError, match="expected .*time, head_dim"):
        at.linear_attention(drawn(5, 4), drawn(6, 4), drawn(6, 4))
    with pytest.raises(ValueError, match="at least 1"):
        at.linear_attention(*drawn(3, 5, 4), block_size=0)
    with pytest.raises(ValueError, match="the same channels"):
        at.long_convolution(drawn(5, 4), drawn(5, 3))


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_the_exponent_of_a_power_law_is_found(power):
    lengths = [64, 256, 1024, 4096]
    slope, error = at.growth_exponent(lengths, [3 * length**power for length in lengths])
    assert slope == pytest.approx(power)
    assert error == pytest.approx(0, abs=1e-6)


def test_the_error_of_the_exponent_is_that_of_a_regression():
    x, y = np.log([1, 2, 4, 8, 16]), np.log([1, 5, 11, 80, 200])
    (slope, _), covariance = np.polyfit(x, y, 1, cov="unscaled")
    residuals = y - np.polyval(np.polyfit(x, y, 1), x)
    found = at.growth_exponent(np.exp(x), np.exp(y))
    assert found == pytest.approx((slope, np.sqrt(covariance[0, 0] * residuals @ residuals / 3)))
    for lengths, costs in (
        ([1, 2], [1, 2]),
        ([1, 2, 0], [1, 2, 3]),
        ([1, 2, 3], [1, 2]),
        ([1, 2, 3], [1, -2, 3]),
        ([2, 2, 2], [1, 2, 3]),
    ):
        with pytest.raises(ValueError, match="three or more"):
            at.growth_exponent(lengths, costs)


def test_the_mixers_keep_the_shape_and_cost_something():
    for name, mixer in at.sequence_mixers(24, width=16, num_heads=2).items():
        assert mixer(torch.randn(1, 24, 48)).shape == (1, 24, 16)
        for backward in (False, True):
            seconds, held = at.mixing_cost(name, 24, width=16, backward=backward, repeats=1)
            assert seconds > 0
            assert held >= 24 * 16 * 4


def test_materialised_attention_holds_the_square_and_the_rivals_do_not():
    held = {name: [at.mixing_cost(name, n, repeats=1)[1] for n in (128, 256, 512)] for name in at.sequence_mixers(1)}
    assert at.growth_exponent([128, 256, 512], held["attention"])[0] == pytest.approx(2, abs=0.05)
    for name in set(held) - {"attention"}:
        assert at.growth_exponent([128, 256, 512], held[name])[0] == pytest.approx(1, abs=0.1)


def test_entropy_and_distance_of_simple_heads():
    uniform, same, last = torch.full((4, 4), 0.25), torch.eye(4), torch.eye(4)[[0, 0, 1, 2]]
    entropy, distance = at.head_statistics(torch.stack([uniform, same, last]))
    assert entropy.tolist() == pytest.approx([2, 0, 0])
    assert distance.tolist() == pytest.approx([1.25, 0, 0.75])
    with pytest.raises(ValueError, match="self-attention"):
        at.head_statistics(torch.ones(3, 4))


VOCABULARY = at.word_list([["a", "a", "b", "b", "c"]], 6, always=[["z"]])


def test_the_word_list_has_what_is_needed_and_then_the_frequent():
    assert VOCABULARY == ["", at.UNKNOWN, at.MASK, "z", "a", "b"]


def test_hidden_words_are_mostly_masks_and_never_padding():
    token_ids = torch.randint(3, 50, (400, 50), generator=torch.Generator().manual_seed(0))
    token_ids[:, 40:] = 0
    before = token_ids.clone()
    hidden, chosen = at.hide_words(token_ids, 50, torch.Generator().manual_seed(1), share=0.2)
    assert torch.equal(token_ids, before)
    assert not chosen[:, 40:].any()
    assert torch.equal(hidden[~chosen], token_ids[~chosen])
    assert chosen[:, :40].float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert (hidden[chosen] == 2).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert (hidden[chosen] == token_ids[chosen]).float().mean().item() == pytest.approx(0.1, abs=0.02)


def test_the_encoder_reads_both_ways_and_ignores_padding():
    model = at.MaskedWordModel(VOCABULARY, embedding_dim=16, num_heads=2)
    short, long = model.encode([["a", "b"], ["a", "b", "z", "q"]])
    assert short.tolist() == [4, 5, 0, 0]
    assert long.tolist() == [4, 5, 3, 1]
    both = model(torch.stack([short, long]))
    torch.testing.assert_close(both[0, :2], model(short[None, :2])[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(both[1, 0], both[0, 0])  # the first word knows of the last
    weights = at.sentence_attention(model, torch.stack([short, long]))
    assert weights.shape == (2, 2, 2, 4, 4)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 2, 2, 4))
    assert (weights[0, ..., 2:] == 0).all()


def test_training_lowers_the_loss_and_the_same_seed_repeats_it():
    made = readings.grammar_sentences(300)
    losses = []
    for _ in range(2):
        model = at.MaskedWordModel(at.word_list(made, 300), embedding_dim=16, num_heads=2)
        losses.append(at.train_masked_words(model, [made, made[:50]], num_steps=60, batch_size=64, progress=False))
    assert losses[0] == losses[1]
    assert np.mean(losses[0][-10:]) < np.mean(losses[0][:10]) - 0.5
