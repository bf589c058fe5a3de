"""Attention agrees with its oracles: torch's fused functions and modules, and formulas written out."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bow2gpt import ruler, spelling
from bow2gpt.chapters import attention
from bow2gpt.chapters.attention import Block, FeedForward, MultiHeadAttention, PostNorm, PreNorm, RMSNorm, Rope
from bow2gpt.chapters.language_features import ByteTokenizer


def drawn(*shape, seed=0, dtype=torch.float64, slopes=False):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(slopes)


def close(got, expected, tolerance=1e-12):
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


PLAIN = {
    "plain": attention.scaled_dot_product_attention,
    "online, 1": lambda *given, **named: attention.online_softmax_attention(*given, block_size=1, **named),
    "online, 3": lambda *given, **named: attention.online_softmax_attention(*given, block_size=3, **named),
    "online, 64": attention.online_softmax_attention,
}

SHAPES = [  # leading dimensions, queries, keys, head_dim, value_dim
    ((), 3, 5, 4, 4),
    ((2,), 5, 5, 4, 6),
    ((2, 3), 7, 7, 8, 8),
    ((2, 1, 3), 1, 9, 2, 1),
]
MASKS = ["none", "causal", "row", "column", "full", "padding", "floats", "one", "blind"]


def make_mask(kind, leading, queries, keys):
    generator = torch.Generator().manual_seed(1)
    if kind == "causal":
        return torch.ones(queries, keys).tril(keys - queries).bool()
    if kind == "row":
        return torch.rand(keys, generator=generator) < 0.7
    if kind == "column":
        return torch.rand(queries, 1, generator=generator) < 0.7
    if kind == "full":
        return torch.rand(*leading, queries, keys, generator=generator) < 0.6
    if kind == "padding":
        return torch.rand(*leading[:1], *(1 for _ in leading[1:]), 1, keys, generator=generator) < 0.7
    if kind == "floats":
        return torch.randn(queries, keys, generator=generator, dtype=torch.float64)
    if kind == "one":
        return torch.tensor(True)
    if kind == "blind":
        return torch.zeros(queries, keys, dtype=torch.bool)
    return None


# Scaled dot-product attention, plain and in blocks


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("mask", MASKS)
def test_attention_equals_torch_in_values_and_slopes(name, shape, mask):
    leading, num_queries, num_keys, head_dim, value_dim = shape
    shapes = [(num_queries, head_dim), (num_keys, head_dim), (num_keys, value_dim)]
    ours = [drawn(*leading, *shape, seed=seed, slopes=True) for seed, shape in enumerate(shapes)]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    mask = make_mask(mask, leading, num_queries, num_keys)
    full = None if mask is None else mask.expand(*leading, num_queries, num_keys)
    got, expected = PLAIN[name](*ours, mask), F.scaled_dot_product_attention(*theirs, attn_mask=full)
    close(got, expected)
    weight = drawn(*expected.shape, seed=9)
    (got * weight).sum().backward()
    (expected * weight).sum().backward()
    for our, their in zip(ours, theirs, strict=True):
        close(our.grad, their.grad)


@pytest.mark.parametrize("name", PLAIN)
def test_query_that_may_look_at_nothing_gets_zeros_and_no_slope(name):
    queries, keys, values = (drawn(2, 4, 3, seed=seed, slopes=True) for seed in range(3))
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[1] = False
    for given in (mask, torch.zeros(4, 4, dtype=torch.float64).masked_fill(~mask, -torch.inf)):
        got = PLAIN[name](queries, keys, values, given)
        assert not got[:, 1].any()
        (slope,) = torch.autograd.grad(got.square().sum(), queries)
        assert not slope[:, 1].any()
        assert slope.isfinite().all()
    weights = attention.attention_weights(queries, keys, mask)
    assert not weights[:, 1].any()
    close(weights.sum(dim=-1)[:, [0, 2, 3]], torch.ones(2, 3, dtype=torch.float64))


@pytest.mark.parametrize("name", PLAIN)
def test_slope_of_a_float_mask_equals_torch(name):
    tensors = [drawn(2, 4, 3, seed=seed) for seed in range(3)]
    ours, theirs = (drawn(1, 4, 4, seed=5, slopes=True) for _ in range(2))
    PLAIN[name](*tensors, ours).square().sum().backward()
    F.scaled_dot_product_attention(*tensors, attn_mask=theirs).square().sum().backward()
    close(ours.grad, theirs.grad)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)], ids=str
)
def test_attention_keeps_the_type(name, dtype, tolerance):
    tensors = [drawn(2, 300, 8, seed=seed, dtype=dtype) for seed in range(3)]
    mask = attention.causal_mask(300)
    got = PLAIN[name](*tensors, mask)
    assert got.dtype == dtype
    expected = attention.scaled_dot_product_attention(*(tensor.double() for tensor in tensors), mask)
    close(got.double(), expected, tolerance)
    close(PLAIN[name](*tensors, torch.zeros(300, dtype=torch.float64)).double(), PLAIN[name](*tensors).double())


@pytest.mark.parametrize("name", PLAIN)
def test_attention_broadcasts_leading_dimensions(name):
    queries, keys, values = drawn(2, 3, 4, 5), drawn(3, 6, 5, seed=1), drawn(2, 1, 6, 2, seed=2)
    got = PLAIN[name](queries, keys, values)
    assert got.shape == (2, 3, 4, 2)
    for i, j in itertools.product(range(2), range(3)):
        close(got[i, j], PLAIN[name](queries[i, j], keys[j], values[i, 0]))
    mask = torch.rand(7, 1, 1, 4, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    got = PLAIN[name](queries, keys, values, mask)
    assert got.shape == (7, 2, 3, 4, 2)
    close(got[5], PLAIN[name](queries, keys, values, mask[5]))


@pytest.mark.parametrize("name", PLAIN)
def test_attention_takes_strided_and_empty_tensors(name):
    queries, keys, values = drawn(5, 2, 4).transpose(0, 1), drawn(2, 4, 5, seed=1).mT, drawn(2, 5, 8, seed=2)[..., ::2]
    expected = PLAIN[name](*(tensor.contiguous() for tensor in (queries, keys, values)))
    close(PLAIN[name](queries, keys, values), expected)
    assert PLAIN[name](queries[:, :0], keys, values).shape == (2, 0, 4)
    assert PLAIN[name](queries[:0], keys[:0], values[:0]).shape == (0, 5, 4)
    nothing = PLAIN[name](queries, keys[:, :0], values[:, :0])
    assert nothing.shape == (2, 5, 4)
    assert not nothing.any()


@pytest.mark.parametrize("name", PLAIN)
def test_attention_never_overflows_and_leaves_its_arguments(name):
    tensors = [1e4 * drawn(2, 6, 4, seed=seed) for seed in range(3)]
    kept = [tensor.clone() for tensor in tensors]
    mask = attention.causal_mask(6)
    assert PLAIN[name](*tensors, mask).isfinite().all()
    assert all(torch.equal(*pair) for pair in zip(tensors, kept, strict=True))
    assert torch.equal(mask, attention.causal_mask(6))


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0])
def test_attention_scales_as_told(name, scale):
    tensors = [drawn(3, 4, 5, seed=seed) for seed in range(3)]
    close(PLAIN[name](*tensors, scale=scale), F.scaled_dot_product_attention(*tensors, scale=scale))


@pytest.mark.parametrize("name", PLAIN)
def test_attention_refuses_what_does_not_fit(name):
    attend = PLAIN[name]
    with pytest.raises(ValueError, match="same head_dim"):
        attend(drawn(3, 4), drawn(5, 3), drawn(5, 3))
    with pytest.raises(ValueError, match="same head_dim"):
        attend(drawn(3, 0), drawn(5, 0), drawn(5, 3))
    for shapes in [((2, 3, 4), (3, 5, 4), (3, 5, 4)), ((2, 3, 4), (1, 5, 4), (3, 5, 4))]:
        with pytest.raises(ValueError, match="all dimensions but the last two"):
            attend(*(drawn(*shape) for shape in shapes))
    with pytest.raises(ValueError, match="one value for each key"):
        attend(drawn(3, 4), drawn(5, 4), drawn(4, 3))
    with pytest.raises(ValueError, match=r"mask of torch.int64; make it boolean"):
        attend(drawn(3, 4), drawn(3, 4), drawn(3, 4), torch.ones(3, 3, dtype=torch.int64))
    for shape in [(3, 4), (6,), (4, 5), (2, 3, 7), (3, 65)]:
        with pytest.raises(ValueError, match="must broadcast"):
            attend(drawn(3, 4), drawn(5, 4), drawn(5, 4), torch.ones(shape, dtype=torch.bool))
    with pytest.raises(ValueError, match="must broadcast"):
        attend(drawn(1, 4), drawn(5, 4), drawn(5, 4), torch.ones(3, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="type of floats"):
        attend(*(torch.ones(2, 3, dtype=torch.int64) for _ in range(3)))
    with pytest.raises(ValueError, match="block_size 0"):
        attention.online_softmax_attention(drawn(3, 4), drawn(3, 4), drawn(3, 4), block_size=0)


def test_online_attention_never_holds_all_scores():
    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, torch.Tensor) and not tensor._is_view():
                    self.largest = max(self.largest, tensor.untyped_storage().nbytes() // tensor.element_size())
            return result

    tensors = [drawn(512, 4, seed=seed) for seed in range(3)]
    with Watch() as plain:
        attention.scaled_dot_product_attention(*tensors)
    with Watch() as online:
        attention.online_softmax_attention(*tensors, block_size=16)
    assert plain.largest == 512 * 512
    assert online.largest == 512 * 16


def test_soft_lookup_with_sure_queries_is_a_dictionary():
    keys = torch.eye(4)
    values = drawn(4, 3, dtype=torch.float32)
    close(attention.scaled_dot_product_attention(100 * keys[[2, 0]], keys, values), values[[2, 0]], 1e-5)


# Masks


@pytest.mark.parametrize(
    ("num_queries", "num_keys", "window"), [(1, 1, None), (4, 4, None), (2, 5, None), (5, 5, 2), (3, 7, 4), (0, 3, 1)]
)
def test_causal_mask_is_its_definition(num_queries, num_keys, window):
    mask = attention.causal_mask(num_queries, num_keys, window)
    assert mask.dtype == torch.bool
    assert mask.shape == (num_queries, num_keys)
    for i, j in itertools.product(range(num_queries), range(num_keys)):
        distance = i + num_keys - num_queries - j
        assert mask[i, j] == (0 <= distance < (window or math.inf))


def test_causal_mask_of_one_number_is_square_and_keeps_the_future_hidden():
    assert torch.equal(attention.causal_mask(6), torch.ones(6, 6).tril().bool())
    queries, keys, values = (drawn(6, 4, seed=seed) for seed in range(3))
    close(
        attention.scaled_dot_product_attention(queries, keys, values, attention.causal_mask(6)),
        F.scaled_dot_product_attention(queries, keys, values, is_causal=True),
    )


def test_causal_mask_refuses():
    for given, says in {(-1,): "got -1 queries", (5, 4): "5 queries and 4 keys", (4, 4, 0): "window of 0"}.items():
        with pytest.raises(ValueError, match=says):
            attention.causal_mask(*given)


# Heads


def random_projections(embedding_dim, memory_dim, channels, out):
    shapes = [(channels, embedding_dim), (channels, memory_dim), (channels, memory_dim), (out, channels)]
    return [drawn(*shape, seed=10 + seed) for seed, shape in enumerate(shapes)]


@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention_equals_torch(num_heads, masked):
    projections = random_projections(8, 8, 8, 8)
    library = torch.nn.MultiheadAttention(8, num_heads, bias=False, batch_first=True, dtype=torch.float64)
    library.in_proj_weight.data = torch.cat(projections[:3])
    library.out_proj.weight.data = projections[3]
    inputs = drawn(3, 5, 8)
    mask = attention.causal_mask(5) if masked else None
    expected, _ = library(inputs, inputs, inputs, attn_mask=None if mask is None else ~mask)
    close(attention.multi_head_attention(inputs, *projections, num_heads, mask), expected)


def test_cross_attention_equals_one_head_at_a_time():
    query, key, value, output = random_projections(6, 10, 12, 7)
    inputs, memory = drawn(2, 4, 6), drawn(2, 9, 10, seed=1)
    mask = torch.rand(2, 1, 1, 9, generator=torch.Generator().manual_seed(0)) < 0.6
    heads = []
    for head in range(3):
        rows = slice(4 * head, 4 * head + 4)
        given = inputs @ query[rows].T, memory @ key[rows].T, memory @ value[rows].T
        heads.append(attention.scaled_dot_product_attention(*given, mask[:, 0]))
    got = attention.cross_attention(inputs, memory, query, key, value, output, 3, mask)
    close(got, torch.cat(heads, dim=-1) @ output.T)
    close(got[0], attention.cross_attention(inputs[0], memory[0], query, key, value, output, 3, mask[0]))


def test_attention_without_positions_is_a_bag():
    projections, inputs = random_projections(8, 8, 8, 8), drawn(2, 6, 8)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    straight = attention.multi_head_attention(inputs, *projections, 2)
    close(attention.multi_head_attention(inputs[:, order], *projections, 2), straight[:, order])
    turned = attention.cross_attention(inputs, inputs[:, order], *projections, 2)
    close(turned, straight)


def test_splitting_and_merging_heads_are_inverse():
    inputs = drawn(2, 3, 5, 12)
    heads = attention.split_heads(inputs, 4)
    assert heads.shape == (2, 3, 3, 5, 4)
    close(heads[:, :, 1], inputs[..., 4:8])
    close(attention.merge_heads(heads), inputs)
    assert attention.split_heads(drawn(0, 5, 8), 4).shape == (0, 2, 5, 4)


def test_heads_refuse_what_does_not_fit():
    projections, inputs = random_projections(8, 8, 8, 8), drawn(2, 6, 8)
    for num_heads in (0, 3):
        with pytest.raises(ValueError, match=f"got {num_heads} heads"):
            attention.multi_head_attention(inputs, *projections, num_heads)
        with pytest.raises(ValueError, match=f"got {num_heads} heads"):
            MultiHeadAttention(8, num_heads)
    query, key, value, output = random_projections(6, 10, 12, 7)
    with pytest.raises(ValueError, match="got key_weight of shape"):
        attention.cross_attention(drawn(4, 6), drawn(5, 10), query, key.T, value, output, 2)
    with pytest.raises(ValueError, match="got output_weight of shape"):
        attention.cross_attention(drawn(4, 6), drawn(5, 10), query, key, value, output.T, 2)
    with pytest.raises(ValueError, match="got query_weight of shape"):
        attention.cross_attention(drawn(4, 5), drawn(5, 10), query, key, value, output, 2)
    with pytest.raises(ValueError, match="that it divides"):
        attention.split_heads(inputs, 3)


# Positions


@pytest.mark.parametrize("head_dim", [2, 4, 10])
def test_rope_is_complex_multiplication(head_dim):
    inputs, positions = drawn(2, 3, 7, head_dim), torch.tensor([0, 5, 2, 100, 1, 1, 9])
    numbers = torch.view_as_complex(inputs.unflatten(-1, (head_dim // 2, 2)))
    frequencies = 10000.0 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    expected = numbers * torch.exp(1j * positions[:, None] * frequencies)
    close(attention.apply_rope(inputs, positions), torch.view_as_real(expected).flatten(-2))
    close(attention.rope_frequencies(head_dim, dtype=torch.float64), frequencies)


def test_rope_scores_depend_on_distance_only():
    queries, keys = drawn(1, 8), drawn(1, 8, seed=1)
    scores = {}
    for i, j in itertools.product(range(0, 40, 7), range(0, 40, 7)):
        turned = attention.apply_rope(queries, torch.tensor([i])), attention.apply_rope(keys, torch.tensor([j]))
        scores.setdefault(i - j, []).append(float(turned[0] @ turned[1].T))
    assert all(np.ptp(same) < 1e-12 for same in scores.values())
    assert np.ptp([same[0] for same in scores.values()]) > 0.1


def test_rope_keeps_lengths_and_turns_back():
    inputs, positions = drawn(2, 9, 6), torch.arange(9) * 3.5
    turned = attention.apply_rope(inputs, positions)
    close(turned.norm(dim=-1), inputs.norm(dim=-1))
    close(attention.apply_rope(turned, -positions), inputs)
    close(turned[:, 0], inputs[:, 0])


def test_rope_takes_positions_of_any_fitting_shape_and_its_own_frequencies():
    inputs = drawn(2, 3, 5, 4)
    close(attention.apply_rope(inputs), attention.apply_rope(inputs, torch.arange(5)))
    own = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    got = attention.apply_rope(inputs, own[:, None, :])
    for row in range(2):
        close(got[row], attention.apply_rope(inputs[row], own[row]))
    still = attention.apply_rope(inputs, torch.arange(5), torch.zeros(2, dtype=torch.float64))
    close(still, inputs)
    assert attention.apply_rope(inputs[:, :, :0]).shape == (2, 3, 0, 4)
    assert attention.apply_rope(inputs.to(torch.bfloat16), torch.tensor(1000)).dtype == torch.bfloat16
    exact = attention.apply_rope(inputs, torch.tensor(1001))
    close(attention.apply_rope(inputs.to(torch.bfloat16), torch.tensor(1001)).double(), exact, 0.03)


def test_rope_refuses():
    with pytest.raises(ValueError, match="head_dim 5"):
        attention.rope_frequencies(5)
    with pytest.raises(ValueError, match="base 0"):
        attention.rope_frequencies(4, base=0)
    with pytest.raises(ValueError, match="even"):
        attention.apply_rope(drawn(3, 5))
    with pytest.raises(ValueError, match="got positions of shape"):
        attention.apply_rope(drawn(3, 4), torch.arange(4))
    with pytest.raises(ValueError, match="got frequencies of shape"):
        attention.apply_rope(drawn(3, 4), torch.arange(3), torch.ones(4))


# Norm and block


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 0, 4), (2, 3, 4)])
@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_rms_norm_equals_torch(shape, epsilon):
    inputs, gain = 5 + 3 * drawn(*shape), drawn(4, seed=1)
    close(attention.rms_norm(inputs, gain, epsilon), F.rms_norm(inputs, (4,), gain, epsilon))
    close(attention.rms_norm(inputs, epsilon=epsilon), F.rms_norm(inputs, (4,), None, epsilon))
    module = RMSNorm(4, epsilon).double()
    module.gain.data = gain
    close(module(inputs), attention.rms_norm(inputs, gain, epsilon))


def test_rms_norm_of_zeros_is_zeros_and_of_16_bits_precise():
    assert not attention.rms_norm(torch.zeros(2, 3)).any()
    large = torch.full((2, 3), 300.0, dtype=torch.float16)  # squared, beyond what 16 bits hold
    assert attention.rms_norm(large).tolist() == [[1, 1, 1]] * 2
    with pytest.raises(ValueError, match="got a gain of shape"):
        attention.rms_norm(torch.ones(2, 3), torch.ones(2))


def modern_block(embedding_dim=8, num_heads=2, hidden_dim=20, **named):
    attend = MultiHeadAttention(embedding_dim, num_heads, bias=False, **named)
    mlp = FeedForward(embedding_dim, hidden_dim, F.relu, bias=False)
    return Block(attend, mlp, lambda: RMSNorm(embedding_dim)).double()


def test_block_equals_transformer_block():
    torch.manual_seed(0)
    block = modern_block()
    for part in (block.attention, block.mlp):
        part.norm.gain.data = drawn(8, seed=3).abs()
    inner = block.attention.part
    weights = {
        "attention_gain": block.attention.norm.gain,
        **{name: getattr(inner, name).weight for name in ("query", "key", "value", "output")},
        "mlp_gain": block.mlp.norm.gain,
        "expand": block.mlp.part.expand.weight,
        "contract": block.mlp.part.contract.weight,
    }
    inputs, mask = drawn(3, 5, 8), attention.causal_mask(5)
    close(block(inputs, mask), attention.transformer_block(inputs, weights, 2, mask))
    del weights["expand"]
    with pytest.raises(ValueError, match="lack expand"):
        attention.transformer_block(inputs, weights, 2, mask)


@pytest.mark.parametrize("norm_first", [True, False])
def test_encoder_block_equals_torchs_layer(norm_first):
    library = torch.nn.TransformerEncoderLayer(
        8, 2, 20, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first, dtype=torch.float64
    )
    ours = Block(
        MultiHeadAttention(8, 2),
        FeedForward(8, 20),
        lambda: torch.nn.LayerNorm(8),
        residual=PreNorm if norm_first else PostNorm,
    ).double()
    copy_attention(ours.attention.part, library.self_attn)
    copy_mlp(ours.mlp.part, library)
    inputs = drawn(3, 5, 8)
    visible = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()
    expected = library(inputs, src_key_padding_mask=~visible)
    close(ours(inputs, visible[:, None, None, :])[visible], expected[visible])


def test_decoder_block_equals_torchs_layer():
    library = torch.nn.TransformerDecoderLayer(
        8, 2, 20, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    ours = Block(
        MultiHeadAttention(8, 2), FeedForward(8, 20), lambda: torch.nn.LayerNorm(8), cross=MultiHeadAttention(8, 2)
    ).double()
    copy_attention(ours.attention.part, library.self_attn)
    copy_attention(ours.cross.part, library.multihead_attn)
    copy_mlp(ours.mlp.part, library)
    inputs, memory, mask = drawn(3, 5, 8), drawn(3, 7, 8, seed=1), attention.causal_mask(5)
    close(ours(inputs, mask, memory=memory), library(inputs, memory, tgt_mask=~mask))


def copy_attention(ours, library):
    for name, weight, bias in zip(
        ("query", "key", "value"), library.in_proj_weight.chunk(3), library.in_proj_bias.chunk(3), strict=True
    ):
        getattr(ours, name).weight.data, getattr(ours, name).bias.data = weight, bias
    ours.output.load_state_dict(library.out_proj.state_dict())


def copy_mlp(ours, library):
    ours.expand.load_state_dict(library.linear1.state_dict())
    ours.contract.load_state_dict(library.linear2.state_dict())


def test_parts_can_be_exchanged():
    torch.manual_seed(0)
    block, inputs, mask = modern_block(prepare=Rope(4)), drawn(2, 6, 8), attention.causal_mask(6)
    expected = block(inputs, mask)
    for attend in (attention.scaled_dot_product_attention, attention.online_softmax_attention):
        block.attention.part.attend = attend
        close(block(inputs, mask), expected)
    shifted = block(inputs, mask, positions=torch.arange(6) + 17)
    close(shifted, expected)
    spread = block(inputs, mask, positions=torch.arange(6) * 2)
    assert not torch.allclose(spread, expected)


def test_recorded_attention_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    block, inputs, mask = modern_block(prepare=Rope(4)), drawn(2, 6, 8), attention.causal_mask(6)
    expected = block(inputs, mask)
    with attention.recorded_attention(block) as seen:
        close(block(inputs, mask), expected)
        block(inputs[:1])
    first, second = seen["attention.part"]
    assert first.shape == (2, 2, 6, 6)
    assert second.shape == (1, 2, 6, 6)
    assert not first[:, :, ~mask].any()
    close(first.sum(dim=-1), torch.ones(2, 2, 6, dtype=torch.float64))
    assert block.attention.part.attend is attention.fused_attention
    with pytest.raises(ValueError, match="expected"), attention.recorded_attention(block):
        raise ValueError("expected")
    assert block.attention.part.attend is attention.fused_attention


# The Transformer of 2017


def small_transformer(**named):
    return attention.Transformer(embedding_dim=16, num_heads=2, num_layers=2, **named).double().eval()


def words_and_sounds():
    letters, phonemes = (
        spelling.encode_words(["cat", "through", "a"]),
        spelling.encode_pronunciations([["K", "AE", "T"], ["TH", "R", "UW"], ["AH"]]),
    )
    return torch.tensor(letters), torch.tensor(phonemes)


@pytest.mark.parametrize("residual", [PreNorm, PostNorm])
def test_transformer_does_not_see_padding_or_future(residual):
    model = small_transformer(residual=residual)
    letters, phonemes = words_and_sounds()
    logits = model(letters, phonemes)
    assert logits.shape == (*phonemes.shape, len(spelling.PHONEMES))
    close(model(letters[:1, :4], phonemes[:1]), logits[:1])
    close(model(letters, phonemes[:, :3]), logits[:, :3])
    changed = phonemes.clone()
    changed[:, 3:] = 7
    close(model(letters, changed)[:, :3], logits[:, :3])
    assert not torch.allclose(model(letters.flip(0), phonemes), logits)


def test_transformer_goes_on_where_it_stopped():
    model = small_transformer()
    letters, phonemes = words_and_sounds()
    memory, expected = model.encode(letters), model(letters, phonemes)
    state, found = None, []
    for part in phonemes.split([1, 2, 1, 1], dim=1):
        logits, state = model.decode(part, memory, state)
        found.append(logits)
    close(torch.cat(found, dim=1), expected)


def test_transformer_depends_on_order_seed_and_nothing_else():
    letters, phonemes = words_and_sounds()
    model = small_transformer()
    before = torch.random.get_rng_state()
    same, other = small_transformer(), small_transformer(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(model(letters, phonemes), same(letters, phonemes))
    assert not torch.allclose(model(letters, phonemes), other(letters, phonemes))
    turned = letters.clone()
    turned[0, :2] = letters[0, :2].flip(0)
    assert not torch.allclose(model(turned, phonemes)[0], model(letters, phonemes)[0])
    assert model.num_parameters == sum(parameter.numel() for parameter in model.parameters())


def test_transformer_learns_to_copy():
    generator = torch.Generator().manual_seed(0)
    model = attention.Transformer(
        embedding_dim=32, num_heads=4, num_layers=1, source_size=12, target_size=12, hidden_dim=64
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        words = torch.randint(3, 12, (64, 5), generator=generator)
        start = torch.full((64, 1), spelling.START)
        loss = F.cross_entropy(model(words, torch.cat([start, words[:, :-1]], dim=1)).flatten(0, 1), words.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


def test_transformer_refuses_what_is_too_long():
    model = small_transformer(max_length=4)
    letters, phonemes = words_and_sounds()
    with pytest.raises(ValueError, match="at most 4 places"):
        model(letters, phonemes)


# The small language model


def small_language_model(context_length=5, num_layers=2):
    model = attention.AttentionLanguageModel(ByteTokenizer(), context_length, 16, 2, num_layers)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    return model.double().eval()


def test_language_model_feels_what_is_in_reach_and_nothing_before():
    model = small_language_model()
    assert model.reach == 9
    text = "the union of the states"
    plain = model.token_log_probs(text)
    for place in range(1, len(text) - 1):
        changed = model.token_log_probs(text[:place] + "#" + text[place + 1 :])
        moved = np.flatnonzero(np.abs(plain - changed) > 1e-12)
        assert moved.min() == place
        assert moved.max() == min(place + model.reach, len(text) - 1)


def test_language_model_scores_in_windows_as_in_one_go():
    model = small_language_model()
    text = "We, the people. " * 90  # longer than two windows
    ids = np.concatenate([[256], model.tokenizer.encode(text)])
    with torch.inference_mode():
        logits = model(torch.tensor(ids[:-1].astype(np.int64))[None])[0].log_softmax(dim=-1)
    expected = logits[torch.arange(len(ids) - 1), torch.tensor(ids[1:].astype(np.int64))]
    np.testing.assert_allclose(model.token_log_probs(text), expected.numpy(), rtol=1e-10)
    np.testing.assert_allclose(model.token_log_probs(text[700:], text[:700]), expected.numpy()[700:], rtol=1e-10)


def test_language_model_does_not_care_where_in_a_text_it_stands():
    model, phrase = small_language_model(), "of the people, by the people"
    early, late = (model.token_log_probs(phrase, context) for context in ("in this " * 2, "in this " * 40))
    np.testing.assert_allclose(early, late, rtol=1e-10)


def test_language_model_begins_as_counts_and_learns():
    tokenizer, text = ByteTokenizer(), "the people of the union " * 40
    losses = []
    model = attention.AttentionLanguageModel(tokenizer, 8, 16, 2, 1)
    attention.train_attention_model(
        model, tokenizer.encode(text), 150, 8, 24, learning_rate=2e-2, report=lambda step, loss: losses.append(loss)
    )
    counts = np.bincount(tokenizer.encode(text), minlength=256) + 1.0
    share = counts / counts.sum()
    entropy = -np.sum(np.bincount(tokenizer.encode(text), minlength=256) / len(text) * np.log(share))
    assert losses[0] == pytest.approx(entropy, rel=0.1)
    assert ruler.bits_per_byte(model, text) < 1.0


def test_language_model_refuses():
    with pytest.raises(ValueError, match="context_length 0"):
        attention.AttentionLanguageModel(ByteTokenizer(), 0)
    with pytest.raises(ValueError, match="got 1 tokens"):
        attention.train_attention_model(small_language_model(), np.array([3]), 1)
