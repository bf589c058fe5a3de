"""The mini-GPT agrees with its oracles: transformers' GPT-2, torch's Muon, arithmetic and published runs."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bow2gpt import ruler
from bow2gpt.chapters import attention, mini_gpt
from bow2gpt.chapters.language_features import ByteTokenizer, Tokenizer
from bow2gpt.chapters.mini_gpt import GPT, GPTConfig
from bow2gpt.token_files import shuffled_batches

TINY = GPTConfig(50, context_length=8, num_layers=2, num_heads=2, embedding_dim=16)

CONFIGS = {
    "modern": TINY,
    "swiglu": GPTConfig(50, 8, 3, 2, 24, mlp="swiglu", bias=True),
    "everything": GPTConfig(50, 8, 1, 4, 32, bigrams=77, dropout=0.1, hidden_dim=20),
    "tied, layer norm without bias": GPTConfig(50, 8, 2, 2, 16, "learned", "layer", "gelu", tied=True),
    "GPT-2": mini_gpt.gpt2_config(50, 8, 2, 2, 16),
    "no QK-norm": GPTConfig(50, 8, 2, 1, 16, qk_norm=False, tied=True),
}


def drawn(*shape, seed=0, dtype=torch.float64, slopes=False):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(slopes)


def drawn_ids(*shape, size=50, seed=0):
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(seed))


def shaken(model, seed=0, scale=0.1):
    """A model whose weights are random everywhere, also where they begin as zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    return model.eval()


def close(got, expected, tolerance=1e-12):
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


# Batches


@pytest.mark.parametrize("kind", [np.uint16, np.int64, np.uint8])
def test_targets_are_the_inputs_one_token_later(kind):
    token_ids = (np.arange(200) % 251).astype(kind)
    inputs, targets = mini_gpt.get_batch(token_ids, 5, 7, np.random.default_rng(0))
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.shape == targets.shape == (5, 7)
    assert torch.equal(inputs + 1, targets)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(7))


def test_batch_is_decided_by_the_generator_and_shares_no_memory():
    token_ids = np.arange(100)
    first, second = (mini_gpt.get_batch(token_ids, 3, 4, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    first[0][:] = -1
    assert torch.equal(first[1], second[1])
    assert token_ids.tolist() == list(range(100))


def test_every_start_is_equally_likely_and_no_other():
    starts = mini_gpt.get_batch(np.arange(12), 40_000, 4, np.random.default_rng(0))[0][:, 0].numpy()
    counts = np.bincount(starts)
    assert len(counts) == 8, "the text has 8 windows of 4 tokens with a token after them"
    assert np.abs(counts - 5000).max() < 5 * math.sqrt(5000)


def test_batch_comes_from_a_mapped_file_and_the_shortest_text(tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(50, dtype=np.uint16))
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    inputs, targets = mini_gpt.get_batch(mapped, 2, 49, np.random.default_rng(0))
    assert inputs.tolist() == [list(range(49))] * 2
    assert targets[0, -1] == 49
    assert mini_gpt.get_batch([3, 4], 1, 1, np.random.default_rng(0))[1].tolist() == [[4]]


@pytest.mark.parametrize(
    ("token_ids", "batch_size", "context_length", "says"),
    [
        (np.arange(4), 1, 4, "a text of 4 tokens"),
        (np.arange(0), 1, 1, "a text of 0 tokens"),
        (np.arange(9), 0, 2, "batch_size 0"),
        (np.arange(9), 1, 0, "context_length 0"),
        (np.arange(9.0), 1, 2, "integer"),
        (np.zeros((3, 3), dtype=int), 1, 2, "integer"),
    ],
)
def test_batch_refuses(token_ids, batch_size, context_length, says):
    with pytest.raises(ValueError, match=says):
        mini_gpt.get_batch(token_ids, batch_size, context_length, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("length", "context", "size"), [(1000, 7, 4), (65, 8, 8), (30, 29, 4), (17, 8, 5), (200, 1, 3)]
)
def test_each_pass_shows_every_window_once_in_a_new_order(length, context, size):
    batch, again = (shuffled_batches(np.arange(length), context, size, seed=1) for _ in range(2))
    in_a_pass = max(1, max(1, (length - 1) // context - 1) // size)
    passes = []
    for number in range(3):
        starts = []
        for step in range(number * in_a_pass, (number + 1) * in_a_pass):
            inputs, targets = batch(step)
            assert inputs.shape == (size, context)
            assert torch.equal(inputs + 1, targets)
            starts += inputs[:, 0].tolist()
        if len(starts) > size:
            assert len(set(starts)) == len(starts)
            assert len({start % context for start in starts}) == 1, "windows of a pass overlap"
        passes.append(starts)
    assert len({tuple(starts) for starts in passes}) > 1 or length - 1 < 2 * context
    last = 3 * in_a_pass - 1
    assert torch.equal(again(last)[0], batch(last)[0]), "a batch depends on its step alone"
    with pytest.raises(ValueError, match="windows of 9"):
        shuffled_batches(np.arange(9), 9, 1)


# The model


def by_simple_names(model):
    """A model's weights as `gpt_forward` names them."""
    found = {"embedding": model.embedding.weight, "final_gain": model.norm.gain}
    if not model.config.tied:
        found["head"] = model.output.weight
    for number, block in enumerate(model.blocks):
        looks, thinks = block.attention, block.mlp
        parts = {"attention_gain": looks.norm.gain, "mlp_gain": thinks.norm.gain}
        parts |= {name: getattr(looks.part, name).weight for name in ("query", "key", "value", "output")}
        parts |= {name: getattr(thinks.part, name).weight for name in ("expand", "contract")}
        found |= {f"blocks.{number}.{name}": weight for name, weight in parts.items()}
    return found


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("num_layers", "num_heads"), [(1, 1), (2, 4), (3, 2)])
def test_function_and_module_agree_in_values_and_slopes(tied, num_layers, num_heads):
    model = GPT(GPTConfig(50, 8, num_layers, num_heads, 16, qk_norm=False, tied=tied)).double()
    shaken(model)
    ids, weights = drawn_ids(3, 8), by_simple_names(model)
    detached = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    got, expected = mini_gpt.gpt_forward(ids, detached, num_heads), model(ids)
    close(got, expected, 1e-6)  # the module keeps RoPE's frequencies in single precision
    got.sin().sum().backward()
    expected.sin().sum().backward()
    for name, weight in weights.items():
        close(detached[name].grad, weight.grad, 1e-6)


def test_function_takes_any_leading_dimensions_and_says_what_is_missing():
    weights = by_simple_names(shaken(GPT(GPTConfig(50, 8, 2, 2, 16, qk_norm=False)).double()))
    ids = drawn_ids(2, 3, 5)
    whole = mini_gpt.gpt_forward(ids, weights, 2)
    assert whole.shape == (2, 3, 5, 50)
    close(mini_gpt.gpt_forward(ids[1, 2], weights, 2), whole[1, 2])
    assert mini_gpt.gpt_forward(ids[..., :0], weights, 2).shape == (2, 3, 0, 50)
    del weights["blocks.1.key"]
    with pytest.raises(ValueError, match=r"lack blocks\.1\.key"):
        mini_gpt.gpt_forward(ids, weights, 2)


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_counted_without_making_them(name):
    assert mini_gpt.count_parameters(CONFIGS[name]) == GPT(CONFIGS[name]).num_parameters


def test_published_sizes_of_gpt2():
    sizes = {(12, 12, 768): 124_439_808, (24, 16, 1024): 354_823_168, (36, 20, 1280): 774_030_080}
    sizes |= {(48, 25, 1600): 1_557_611_200}
    for (layers, heads, channels), expected in sizes.items():
        config = mini_gpt.gpt2_config(num_layers=layers, num_heads=heads, embedding_dim=channels)
        assert mini_gpt.count_parameters(config) == expected


@pytest.mark.parametrize("name", CONFIGS)
def test_no_logit_sees_the_future(name):
    model, ids = shaken(GPT(CONFIGS[name]).double()), drawn_ids(2, 8)
    for place in range(1, 8):
        changed = ids.clone()
        changed[:, place:] = (ids[:, place:] + 1) % 50
        close(model(changed)[:, :place], model(ids)[:, :place])
        assert not torch.allclose(model(changed)[:, place], model(ids)[:, place])


def test_a_new_model_finds_all_tokens_equally_likely():
    close(GPT(TINY)(drawn_ids(2, 8)), torch.zeros(2, 8, 50))
    assert GPT(CONFIGS["GPT-2"])(drawn_ids(2, 8)).std() < 0.2


def test_seed_decides_the_weights_and_leaves_the_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, second, third = GPT(TINY, seed=3), GPT(TINY, seed=3), GPT(TINY, seed=4)
    assert torch.equal(torch.rand(3), expected)
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert not torch.equal(first.embedding.weight, third.embedding.weight)


@pytest.mark.parametrize("name", CONFIGS)
def test_checkpointed_activations_change_no_slope(name):
    from dataclasses import replace

    plain, saving = (shaken(GPT(replace(CONFIGS[name], dropout=0.0))).train() for _ in range(2))
    saving.checkpoint_activations()
    for model in (plain, saving):
        mini_gpt.mean_cross_entropy(model(drawn_ids(2, 8)), drawn_ids(2, 8, seed=1)).backward()
    for first, second in zip(plain.parameters(), saving.parameters(), strict=True):
        close(first.grad, second.grad)


def test_attention_weights_can_be_read_and_are_causal():
    model, ids = shaken(GPT(TINY)), drawn_ids(1, 8)
    with attention.recorded_attention(model) as seen:
        close(model(ids), shaken(GPT(TINY))(ids), 1e-5)
    assert len(seen) == 2
    for weights in seen.values():
        assert not weights[0].triu(1).any()


def test_bigrams_see_the_token_before_only():
    part = mini_gpt.HashedBigrams(1000, 4)
    torch.nn.init.normal_(part.weight)
    ids = torch.tensor([[3, 4, 5, 4, 5, 3]])
    got = part(ids)[0]
    assert not got[0].any()
    assert torch.equal(got[2], got[4])
    assert not torch.equal(got[1], got[3])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_layers": 0}, "num_layers 0"),
        ({"vocabulary_size": 0}, "vocabulary_size 0"),
        ({"num_heads": 3}, "3 heads for 16"),
        ({"num_heads": 16}, "heads of 1"),
        ({"positions": "sine"}, "rope, learned"),
        ({"mlp": "relu"}, "relu_squared"),
        ({"norm": "batch"}, "rms, layer"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"table_decay": -1.0}, "table_decay"),
        ({"hidden_dim": 0}, "hidden_dim 0"),
    ],
)
def test_configuration_refuses(changes, says):
    with pytest.raises(ValueError, match=says):
        GPTConfig(**{"vocabulary_size": 50, "num_heads": 2, "embedding_dim": 16} | changes)


def test_one_dial_sets_everything():
    shallow, deep = (GPTConfig.of_depth(depth, 1000) for depth in (2, 8))
    assert (deep.num_layers, deep.num_heads, deep.embedding_dim) == (8, 16, 1024)
    assert deep.learning_rate < shallow.learning_rate
    assert deep.num_steps > shallow.num_steps
    assert deep.num_steps == pytest.approx(20 * mini_gpt.num_weights(deep) / 4096, abs=1)
    changed = GPTConfig.of_depth(2, 1000, 64, num_steps=7, mlp="swiglu")
    assert (changed.num_steps, changed.mlp, changed.hidden_dim) == (7, "swiglu", 688)
    assert GPT.of_depth(1, 50, 8).config == GPTConfig.of_depth(1, 50, 8)
    with pytest.raises(ValueError, match="depth 0"):
        GPTConfig.of_depth(0, 50)


def test_model_refuses_what_does_not_fit():
    model = GPT(CONFIGS["GPT-2"])
    for wrong in (torch.zeros(2, 3), torch.zeros(3, dtype=torch.long), torch.full((1, 2), 50), torch.full((1, 2), -1)):
        with pytest.raises(ValueError, match="token ids"):
            model(wrong)
    with pytest.raises(ValueError, match="8 learned places"):
        model(drawn_ids(1, 9))
    with pytest.raises(ValueError, match="256 tokens"):
        GPT(TINY, ByteTokenizer())
    with pytest.raises(ValueError, match="no tokenizer"):
        model.token_log_probs("a")


# As a language model


def byte_model(**changes):
    sizes = {"context_length": 8, "num_layers": 1, "num_heads": 2, "embedding_dim": 16}
    return shaken(GPT(GPTConfig(256, **sizes | changes), ByteTokenizer()), scale=0.3)


@pytest.mark.parametrize("context_length", [1, 2, 7, 8])
def test_each_token_is_scored_in_the_window_of_its_place(context_length):
    model = byte_model(context_length=context_length, positions="learned")
    text, context = "a text that is longer than its windows, by far", "and what came before"
    ids = torch.tensor([10, *(context + text).encode()])
    half, expected = max(1, context_length // 2), []
    exact = byte_model(context_length=context_length, positions="learned").double()
    for place in range(len(context), len(context + text)):
        start = max(0, place // half * half + half - context_length)
        logits = exact(ids[None, start : place + 1])[0, -1]
        expected.append(logits.log_softmax(-1)[ids[place + 1]].item())
    np.testing.assert_allclose(model.token_log_probs(text, context), expected, rtol=1e-10)
    last = model.next_token_log_probs(context + text)
    start = max(0, len(context + text) // half * half + half - context_length)
    close(torch.tensor(last), exact(ids[None, start:])[0, -1].log_softmax(-1).detach(), 1e-10)


def test_scores_follow_the_weights_and_training_goes_on_in_single_precision():
    model = byte_model()
    before = ruler.bits_per_byte(model, "some text")
    optimisers = model.make_optimisers()
    for _ in range(3):
        model.train()
        loss = mini_gpt.mean_cross_entropy(model(drawn_ids(4, 8, size=256)), drawn_ids(4, 8, size=256, seed=1))
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        after = ruler.bits_per_byte(model, "some text")
        assert after != before
        before = after
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    with torch.no_grad():
        model.output.weight.zero_()
    assert ruler.bits_per_byte(model, "some text") == pytest.approx(8.0)


def test_dropout_does_not_touch_scores():
    model = byte_model(dropout=0.5).train()
    assert np.array_equal(model.token_log_probs("the union"), model.token_log_probs("the union"))


def test_what_is_streamed_is_what_is_generated():
    model = byte_model()
    for options in ({}, {"temperature": 0.5, "top_k": 200}, {"top_p": 0.9}, {"min_p": 0.1}):
        pieces = list(model.stream(60, "the", seed=2, **options))
        assert "".join(pieces) == model.generate(60, "the", seed=2, **options)
    assert list(model.stream(0)) == []


def test_a_text_begins_after_the_end_of_another():
    tokenizer = Tokenizer.train("the states of the union " * 9, 270, ["<|endoftext|>"])
    model = GPT(GPTConfig(tokenizer.vocabulary_size, 8, 1, 2, 16), tokenizer)
    assert model.start_token == tokenizer.special_tokens["<|endoftext|>"]
    assert byte_model().start_token == ord("\n")


# GPT-2's own weights


@pytest.fixture(scope="module")
def library_gpt2(tmp_path_factory):
    """A small random GPT-2 of the library, and the folder where it was saved."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"vocab_size": 97, "n_positions": 24, "n_embd": 48, "n_layer": 3, "n_head": 4}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()
    with torch.no_grad():  # biases and norms begin as zeros and ones, where a mistake would not show
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(folder)
    return model, folder


def test_gpt2_of_the_library_gives_the_same_logits_and_slopes(library_gpt2):
    theirs, folder = library_gpt2
    ours = GPT.from_pretrained(folder)
    assert ours.num_parameters == sum(parameter.numel() for parameter in theirs.parameters())
    ids = drawn_ids(2, 24, size=97)
    got, expected = ours(ids), theirs(ids).logits
    assert (got - expected).abs().max() < 1e-5
    for logits in (got, expected):
        mini_gpt.mean_cross_entropy(logits[:, :-1], ids[:, 1:]).backward()
    inner = theirs.transformer
    pairs = [(ours.embedding.weight, inner.wte.weight), (ours.added["positions"].weight, inner.wpe.weight)]
    pairs += [(ours.norm.weight, inner.ln_f.weight), (ours.norm.bias, inner.ln_f.bias)]
    for block, their in zip(ours.blocks, inner.h, strict=True):
        looks, thinks = block.attention.part, block.mlp.part
        fused = torch.cat([part.weight.grad for part in (looks.query, looks.key, looks.value)])
        close(fused, their.attn.c_attn.weight.grad.mT, 1e-5)
        pairs += [(block.attention.norm.weight, their.ln_1.weight), (block.mlp.norm.bias, their.ln_2.bias)]
        pairs += [(looks.output.bias, their.attn.c_proj.bias), (thinks.expand.bias, their.mlp.c_fc.bias)]
        close(thinks.expand.weight.grad, their.mlp.c_fc.weight.grad.mT, 1e-5)
        close(thinks.contract.weight.grad, their.mlp.c_proj.weight.grad.mT, 1e-5)
    for our, their in pairs:
        close(our.grad, their.grad, 1e-5)


def test_gpt2_is_read_from_files_as_they_were_published(library_gpt2, tmp_path):
    from safetensors.torch import load_file, save_file

    theirs, folder = library_gpt2
    published = {
        name.removeprefix("transformer."): each for name, each in load_file(folder / "model.safetensors").items()
    }
    published["h.0.attn.bias"] = torch.ones(1, 1, 24, 24).tril()  # the first files hold the mask, too
    file = tmp_path / "gpt2.safetensors"
    save_file(published, file)
    (tmp_path / "config.json").write_text(json.dumps({"n_head": 4}))
    ids = drawn_ids(1, 24, size=97)
    close(GPT.from_pretrained(file)(ids), theirs(ids).logits, 1e-5)
    del published["h.1.mlp.c_fc.bias"]
    save_file(published, file)
    with pytest.raises(ValueError, match=r"lacks h\.1\.mlp\.c_fc\.bias"):
        GPT.from_pretrained(file)
    save_file({"something.else": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match="no GPT-2"):
        GPT.from_pretrained(file)
    file.write_bytes(b"not a file of tensors")
    with pytest.raises(ValueError, match="safetensors"):
        GPT.from_pretrained(file)
    with pytest.raises(ValueError, match="cannot be read"):
        GPT.from_pretrained(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_saved_can_be_loaded(name, tmp_path):
    model = shaken(GPT(CONFIGS[name]))
    model.save(tmp_path / "run", dtype=torch.float32)
    again = GPT.load(tmp_path / "run")
    assert again.config == model.config
    assert not again.training
    assert torch.equal(again(drawn_ids(2, 8)), model(drawn_ids(2, 8)))
    model.save(tmp_path / "half")
    half = GPT.load(tmp_path / "half")
    size, saved = (mini_gpt.count_parameters(model.config), (tmp_path / "half" / "model.safetensors").stat().st_size)
    assert saved < 2 * size + 8000
    for first, second in zip(model.parameters(), half.parameters(), strict=True):
        assert torch.equal(first.bfloat16().float(), second)


def test_tokenizer_travels_with_the_model(tmp_path):
    tokenizer = Tokenizer.train("the states of the union " * 9, 270)
    for each in (tokenizer, ByteTokenizer()):
        model = shaken(GPT(GPTConfig(each.vocabulary_size, 8, 1, 2, 16), each))
        model.save(tmp_path, dtype=torch.float32)
        assert np.array_equal(GPT.load(tmp_path).token_log_probs("the union"), model.token_log_probs("the union"))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        GPT.load(tmp_path)


# Learning rates and optimisers


def test_schedule_rises_to_one_and_falls_to_the_floor():
    rates = [mini_gpt.lr_schedule(step, 100, 10, 0.1) for step in range(101)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55)
    assert rates[100] == 0.1
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert mini_gpt.lr_schedule(0, 5, 0) == 1.0
    assert mini_gpt.lr_schedule(5, 5, 5) == 0.0
    assert mini_gpt.lr_schedule(4, 5, 5) == 1.0
    assert mini_gpt.lr_schedule(17, 10, 2, 0.2) == 0.2


@pytest.mark.parametrize(
    "wrong", [(-1, 10, 2), (math.nan, 10, 2), (0, 0, 0), (0, 10, 11), (0, 10, -1), (0, 10, 2, 1.5)]
)
def test_schedule_refuses(wrong):
    with pytest.raises(ValueError, match="got"):
        mini_gpt.lr_schedule(*wrong)


def test_models_schedule_is_the_same_at_any_length():
    model = GPT(TINY)
    assert model.schedule(0.0) <= 0.1
    assert model.schedule(1.0) == 0.0
    assert max(model.schedule(share) for share in np.linspace(0, 1, 101)) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("shape", [(8, 8), (4, 12), (12, 4), (1, 5), (5, 1), (3, 2, 6)])
def test_newton_schulz_keeps_directions_and_evens_out_sizes(shape):
    matrix = drawn(*shape)
    got = mini_gpt.newton_schulz(matrix, num_steps=8)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    sizes = torch.linalg.svdvals(got)
    assert sizes.min() > 0.6
    assert sizes.max() < 1.25
    within = left.mT @ got @ right.mT
    assert (within - torch.diag_embed(torch.diagonal(within, dim1=-2, dim2=-1))).abs().max() < 1e-10


def test_newton_schulz_by_hand():
    got = mini_gpt.newton_schulz(torch.diag(torch.tensor([4.0, 3.0], dtype=torch.float64)), num_steps=1)
    expected = [3.4445 * s - 4.775 * s**3 + 2.0315 * s**5 for s in (0.8, 0.6)]
    close(got, torch.diag(torch.tensor(expected, dtype=torch.float64)), 1e-6)


def test_newton_schulz_at_the_edges():
    assert not mini_gpt.newton_schulz(torch.zeros(3, 4)).any()
    assert mini_gpt.newton_schulz(drawn(0, 3, 4)).shape == (0, 3, 4)
    assert mini_gpt.newton_schulz(drawn(4, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16
    strided = drawn(6, 4).mT
    close(mini_gpt.newton_schulz(strided), mini_gpt.newton_schulz(strided.contiguous()))
    for wrong in (torch.zeros(3), torch.zeros(3, 3, dtype=torch.long)):
        with pytest.raises(ValueError, match="rows, columns"):
            mini_gpt.newton_schulz(wrong)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon since 2.9")
@pytest.mark.parametrize("shape", [(8, 8), (4, 12), (12, 4)])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_muon_step_equals_torch_up_to_sixteen_bits(shape, momentum):
    ours, state = drawn(*shape, dtype=torch.float32), {}
    theirs = ours.clone().requires_grad_()
    optimiser = torch.optim.Muon(
        [theirs], lr=0.1, momentum=momentum, weight_decay=0.0, adjust_lr_fn="original", nesterov=True
    )
    for step in range(5):
        gradient = drawn(*shape, seed=step, dtype=torch.float32)
        before, kept = ours.clone(), gradient.clone()
        new = mini_gpt.muon_step(ours, gradient, state, 0.1, momentum)
        assert torch.equal(ours, before), "the parameter was changed in place"
        assert torch.equal(gradient, kept), "the gradient was changed"
        ours, theirs.grad = new, gradient.clone()
        optimiser.step()
        assert (ours - theirs).abs().max() < 0.06 * (step + 1) * 0.1 * max(1, shape[0] / shape[1]) ** 0.5


def test_muon_steps_equally_far_whatever_the_gradients_size():
    for shape in ((6, 6), (3, 9), (9, 3)):
        gradient = drawn(*shape)
        small, large = (mini_gpt.muon_step(torch.zeros(shape).double(), c * gradient, {}) for c in (1e-3, 1e3))
        close(small, large, 1e-3)
    with pytest.raises(ValueError, match="use AdamW"):
        mini_gpt.muon_step(torch.zeros(3), torch.zeros(3), {})
    with pytest.raises(ValueError, match="gradient"):
        mini_gpt.muon_step(torch.zeros(3, 2), torch.zeros(2, 3), {})
    with pytest.raises(ValueError, match="momentum 1"):
        mini_gpt.muon_step(torch.zeros(3, 2), torch.zeros(3, 2), {}, momentum=1.0)


def test_optimiser_does_what_the_step_does_to_each_matrix():
    shapes = [(4, 6), (6, 4), (4, 6), (5, 5)]
    parameters = [torch.nn.Parameter(drawn(*shape, seed=i)) for i, shape in enumerate(shapes)]
    expected, states = [each.detach().clone() for each in parameters], [{} for _ in shapes]
    optimiser = mini_gpt.Muon(parameters, lr=0.05, weight_decay=0.1)
    for step in range(4):
        for i, parameter in enumerate(parameters):
            parameter.grad = drawn(*parameter.shape, seed=10 * step + i)
            shrunk = expected[i] * (1 - 0.05 * 0.1)
            expected[i] = mini_gpt.muon_step(shrunk, parameter.grad, states[i], 0.05)
        optimiser.step()
        for parameter, right in zip(parameters, expected, strict=True):
            close(parameter.detach(), right)


def test_optimiser_skips_what_has_no_gradient_and_refuses_vectors():
    still = torch.nn.Parameter(drawn(3, 3))
    before = still.detach().clone()
    mini_gpt.Muon([still]).step()
    assert torch.equal(still, before)
    with pytest.raises(ValueError, match="Muon moves matrices"):
        mini_gpt.Muon([torch.nn.Parameter(torch.zeros(3))])
    with pytest.raises(ValueError, match="momentum"):
        mini_gpt.Muon([still], momentum=1.0)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_has_one_optimiser(name):
    model = GPT(CONFIGS[name])
    given = [p for optimiser in model.make_optimisers() for group in optimiser.param_groups for p in group["params"]]
    assert len({id(parameter) for parameter in given}) == len(given)
    assert {id(parameter) for parameter in given} == {id(parameter) for parameter in model.parameters()}


# Accumulation


@pytest.mark.parametrize("num_parts", [1, 2, 3, 7, 20])
def test_parts_add_up_to_the_gradient_of_the_whole(num_parts):
    inputs, targets = drawn_ids(7, 8), drawn_ids(7, 8, seed=1)
    targets[0, :5] = targets[3] = targets[6, 2] = mini_gpt.IGNORED
    whole, parts = (shaken(GPT(TINY).double()) for _ in range(2))
    expected = F.cross_entropy(whole(inputs).flatten(0, 1), targets.flatten())
    expected.backward()
    got = mini_gpt.accumulate_gradients(parts, inputs, targets, num_parts)
    assert got == pytest.approx(expected.item(), rel=1e-12)
    for first, second in zip(parts.parameters(), whole.parameters(), strict=True):
        close(first.grad, second.grad)


def test_accumulation_takes_other_losses_and_forgets_what_was_there():
    layer = torch.nn.Linear(3, 2).double()
    inputs, targets = drawn(5, 3), drawn(5, 2, seed=1)
    F.mse_loss(layer(inputs), targets).backward()
    once = layer.weight.grad.clone()
    mini_gpt.accumulate_gradients(layer, inputs, targets, 3, F.mse_loss)
    close(layer.weight.grad, once)


def test_accumulation_refuses():
    model, inputs = GPT(TINY), drawn_ids(3, 8)
    for wrong in ((inputs, inputs, 0), (inputs, inputs[:2], 1), (inputs[:0], inputs[:0], 1)):
        with pytest.raises(ValueError, match="as many targets"):
            mini_gpt.accumulate_gradients(model, *wrong)
    with pytest.raises(ValueError, match="every target is ignored"):
        mini_gpt.accumulate_gradients(model, inputs, torch.full_like(inputs, -100), 1)


# Sampling


def left(logits):
    return [index for index, value in enumerate(logits.tolist()) if value > -math.inf]


PROBABILITIES = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()


@pytest.mark.parametrize(
    ("k", "expected"), [(1, [1]), (2, [1, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])]
)
def test_top_k(k, expected):
    got = mini_gpt.top_k_filter(PROBABILITIES, k)
    assert left(got) == expected
    assert torch.equal(got[expected], PROBABILITIES[expected])


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.0, [1]), (0.4, [1]), (0.41, [1, 3]), (0.7, [1, 3]), (0.71, [1, 2, 3]), (0.9, [1, 2, 3]), (0.95, [0, 1, 2, 3])],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_top_p_leaves_the_smallest_set_that_reaches_p(p, expected, dtype):
    logits = PROBABILITIES.double().exp().log().to(dtype)
    got = mini_gpt.top_p_filter(logits, p)
    assert left(got) == expected
    assert torch.equal(got[expected], logits[expected])
    assert left(mini_gpt.top_p_filter(logits + 7, p)) == expected


@pytest.mark.parametrize(("p", "expected"), [(0.0, [0, 1, 2, 3]), (0.5, [1, 2, 3]), (0.76, [1]), (1.0, [1])])
def test_min_p(p, expected):
    got = mini_gpt.min_p_filter(PROBABILITIES, p)
    assert left(got) == expected
    assert torch.equal(got[expected], PROBABILITIES[expected])


FILTERS = [mini_gpt.top_k_filter, mini_gpt.top_p_filter, mini_gpt.min_p_filter]


@pytest.mark.parametrize("function", FILTERS)
def test_filters_work_on_stacks_and_leave_their_argument(function):
    logits = drawn(2, 3, 9)
    kept = logits.clone()
    amount = 3 if function is mini_gpt.top_k_filter else 0.6
    got = function(logits, amount)
    assert torch.equal(logits, kept)
    for i, j in itertools.product(range(2), range(3)):
        assert torch.equal(got[i, j], function(logits[i, j], amount))
    everything = function(logits, {mini_gpt.top_k_filter: 9, mini_gpt.top_p_filter: 1.0}.get(function, 0.0))
    assert torch.equal(everything, logits)
    everything[:] = 0
    assert torch.equal(logits, kept)
    assert function(torch.tensor([3.0]), amount if amount < 1 else 1).tolist() == [3.0]
    impossible = torch.tensor([0.0, -math.inf, 0.0])
    assert left(function(impossible, 3 if amount == 3 else 0.9)) == [0, 2]


def test_equals_are_taken_in_the_order_of_their_ids():
    assert left(mini_gpt.top_k_filter(torch.zeros(5), 2)) == [0, 1]
    assert left(mini_gpt.top_p_filter(torch.zeros(4), 0.5)) == [0, 1]
    assert left(mini_gpt.min_p_filter(torch.zeros(4), 1.0)) == [0, 1, 2, 3]


@pytest.mark.parametrize("function", FILTERS)
def test_filters_refuse(function):
    for wrong in (torch.tensor([math.nan, 0.0]), torch.tensor([-math.inf, -math.inf]), torch.tensor([math.inf, 0.0])):
        with pytest.raises(ValueError, match="no distribution"):
            function(wrong, 1)
    with pytest.raises(ValueError, match="vocabulary"):
        function(torch.zeros(0), 1)
    with pytest.raises(ValueError, match="got"):
        function(torch.zeros(3), -1)
    if function is not mini_gpt.top_k_filter:
        with pytest.raises(ValueError, match="0 to 1"):
            function(torch.zeros(3), 1.1)


def test_generate_streams_and_repeats_itself():
    asked = []

    def next_logits(ids):
        asked.append(ids.tolist())
        return drawn(20, seed=len(ids))

    tokens = mini_gpt.generate(next_logits, torch.tensor([3, 4]), 5, seed=1)
    first = next(tokens)
    assert asked == [[3, 4]], "a token should be there before the next one is asked for"
    rest = list(tokens)
    assert asked[-1] == [3, 4, first, *rest[:-1]]
    assert list(mini_gpt.generate(next_logits, torch.tensor([3, 4]), 5, seed=1)) == [first, *rest]
    assert all(isinstance(token, int) for token in rest)
    assert list(mini_gpt.generate(next_logits, torch.tensor([], dtype=torch.long), 0)) == []
    prompt = [3, 4]
    assert list(mini_gpt.generate(lambda ids: next_logits(torch.tensor(ids)), prompt, 5, seed=1)) == [first, *rest]
    assert prompt == [3, 4]


def test_generate_draws_from_the_filtered_distribution():
    def counts(**options):
        tokens = list(mini_gpt.generate(lambda ids: PROBABILITIES, torch.tensor([0]), 4000, **options))
        return np.bincount(tokens, minlength=4) / 4000

    np.testing.assert_allclose(counts(), [0.1, 0.4, 0.2, 0.3], atol=0.03)
    np.testing.assert_allclose(counts(top_k=2), [0, 4 / 7, 0, 3 / 7], atol=0.03)
    np.testing.assert_allclose(counts(top_p=0.8), [0, 4 / 9, 2 / 9, 3 / 9], atol=0.03)
    np.testing.assert_allclose(counts(min_p=0.6), [0, 4 / 7, 0, 3 / 7], atol=0.03)
    squares = np.array([1, 16, 4, 9]) / 30
    np.testing.assert_allclose(counts(temperature=0.5), squares, atol=0.03)
    assert counts(temperature=0.5, top_p=16 / 30)[1] == 1.0, "the temperature comes before the filters"
    assert counts(temperature=0)[1] == 1.0


@pytest.mark.parametrize(
    "options",
    [{"temperature": -1}, {"top_k": 0}, {"top_p": 1.1}, {"min_p": -0.1}, {"num_tokens": -1}, {"temperature": math.nan}],
)
def test_generate_refuses_at_once(options):
    with pytest.raises(ValueError, match="got"):
        mini_gpt.generate(lambda ids: PROBABILITIES, torch.tensor([0]), **{"num_tokens": 3} | options)


# What a run costs


def test_cost_by_hand():
    cost = mini_gpt.estimate_training_cost(1e9, 2e10, 1e14, utilisation=0.5, price_per_hour=3.0, num_devices=4)
    assert cost.flops == pytest.approx(1.2e20)
    assert cost.days == pytest.approx(6e5 / 86400)
    assert cost.hours == pytest.approx(6e5 / 3600)
    assert cost.device_hours == pytest.approx(4 * 6e5 / 3600)
    assert cost.money == pytest.approx(3 * 4 * 6e5 / 3600)
    again = mini_gpt.estimate_training_cost(1e9, 2e10, 1e14, 0.5, recompute=True)
    assert again.flops == pytest.approx(1.6e20)


A100 = 312e12

#: Name -> parameters, tokens, utilisation, whether activations were computed again; published device hours and FLOPs.
PUBLISHED = {
    "GPT-2 124M": (124.4e6, 10e9, 0.60, False, 8 * 1.5, None),
    "GPT-3": (174.6e9, 300e9, 0.4, False, None, 3.14e23),
    "LLaMA-7B": (6.7e9, 1e12, 6 * 65.2e9 * 380 / A100, False, 82_432, None),
    "BLOOM": (176.2e9, 366e9, 150e12 / A100, True, 1_082_990, None),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_runs_are_met_within_15_percent(name):
    parameters, tokens, utilisation, recompute, hours, flops = PUBLISHED[name]
    cost = mini_gpt.estimate_training_cost(parameters, tokens, A100, utilisation, recompute=recompute)
    if hours is not None:
        assert cost.device_hours == pytest.approx(hours, rel=0.15)
    if flops is not None:
        assert cost.flops == pytest.approx(flops, rel=0.15)


@pytest.mark.parametrize(
    "wrong", [{"num_parameters": 0}, {"utilisation": 0}, {"utilisation": 1.1}, {"num_devices": 0}, {"num_tokens": -1}]
)
def test_cost_refuses(wrong):
    with pytest.raises(ValueError, match="got"):
        mini_gpt.estimate_training_cost(**{"num_parameters": 1, "num_tokens": 1, "flops_per_second": 1} | wrong)


def test_memory_by_hand():
    memory = mini_gpt.training_memory(1000)
    assert (memory.weights, memory.gradients, memory.optimiser, memory.activations) == (2000, 2000, 12000, 0)
    shape = {"num_layers": 10, "embedding_dim": 8, "tokens_at_once": 100}
    plain, saving = (mini_gpt.training_memory(1000, **shape, checkpointing=each) for each in (False, True))
    assert plain.activations == 34 * 100 * 8 * 10
    assert saving.activations == 2 * 100 * 8 * 10 + 34 * 100 * 8
    assert plain.total == 16000 + plain.activations
    with pytest.raises(ValueError, match="num_parameters -1"):
        mini_gpt.training_memory(-1)


# Resuming


class Run:
    """A training run with everything that can be forgotten: weights, momentum, a generator, torch's chance."""

    def __init__(self):
        torch.manual_seed(0)
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.optimiser = torch.optim.SGD([self.weight], lr=0.1, momentum=0.9)
        self.rng, self.count = np.random.default_rng(0), 0

    def step(self):
        noise = torch.tensor(self.rng.normal(size=4), dtype=torch.float32) + 0.1 * torch.rand(4)
        loss = (self.weight - noise).square().sum() * (1 + self.count)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.count += 1
        return loss

    def save(self):
        from copy import deepcopy

        state = {"weight": self.weight.data, "optimiser": self.optimiser.state_dict(), "count": self.count}
        return deepcopy(state | {"rng": self.rng.bit_generator.state, "torch": torch.get_rng_state()})

    def load(self, saved):
        self.weight.data.copy_(saved["weight"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.count, self.rng.bit_generator.state = saved["count"], saved["rng"]
        torch.set_rng_state(saved["torch"])


@pytest.mark.parametrize("stop_after", [0, 1, 4, 7])
def test_an_exact_run_is_recognised(stop_after):
    assert mini_gpt.resume_is_exact(Run, Run.step, Run.save, Run.load, 7, stop_after)


@pytest.mark.parametrize("forgotten", ["weight", "optimiser", "count", "rng", "torch"])
def test_whatever_is_forgotten_is_noticed(forgotten):
    def load(run, saved):
        run.load(saved | {forgotten: Run().save()[forgotten]})

    assert not mini_gpt.resume_is_exact(Run, Run.step, Run.save, load, 7, 4)


def test_a_checkpoint_that_shares_memory_with_the_run_is_noticed():
    def save(run):
        return run.save() | {"weight": run.weight.data}

    assert not mini_gpt.resume_is_exact(Run, Run.step, save, Run.load, 7, 4)


def test_a_run_that_depends_on_global_chance_is_noticed_and_the_callers_is_left_alone():
    def load(run, saved):
        state = torch.get_rng_state()
        run.load(saved)
        torch.set_rng_state(state)

    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(2).tolist(), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    assert not mini_gpt.resume_is_exact(Run, Run.step, Run.save, load, 7, 4)
    assert (torch.rand(2).tolist(), np.random.rand()) == expected
    with pytest.raises(ValueError, match="stop_after 8"):
        mini_gpt.resume_is_exact(Run, Run.step, Run.save, Run.load, 7, 8)


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), True),
        (np.array([1.0]), np.array([1.0], dtype=np.float32), False),
        (torch.tensor([math.nan]), torch.tensor([math.nan]), True),
        (torch.zeros(2), torch.zeros(3), False),
        ({"a": [1, (2.0, math.nan)]}, {"a": [1, (2.0, math.nan)]}, True),
        ({"a": 1}, {"b": 1}, False),
        (1, 1.0, False),
        ([1], (1,), False),
        (b"ab", b"ab", True),
    ],
)
def test_values_are_compared_to_the_last_bit(first, second, equal):
    from bow2gpt.repeating import kept, same

    assert same(first, second) is equal
    assert same(first, kept(first))


def test_the_trainer_resumes_this_model_exactly(tmp_path):
    from bow2gpt.training import Settings, Trainer

    ids = np.random.default_rng(0).integers(0, 50, 500)

    def make(folder, num_steps=6):
        model = GPT(GPTConfig(50, 8, 1, 2, 16, dropout=0.1, num_steps=6))
        settings = Settings(num_steps=num_steps, device="cpu", precision="fp32", save_every=3)
        batches = shuffled_batches(ids, 8, 4)
        return Trainer(model, GPT.make_optimisers, batches, settings, schedule=model.schedule, folder=folder)

    whole = make(tmp_path / "whole")
    whole.train()
    broken = make(tmp_path / "broken")
    broken.callbacks = [lambda trainer: setattr(trainer, "_signal", 2 if trainer.step == 3 else 0)]
    broken.train()
    resumed = make(tmp_path / "broken")
    resumed.train(resume=True)
    for first, second in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(first, second)
