"""Sequences agree with their oracles: torch's cells, layers and clipping, and formulas written out."""

import csv
import math
from importlib import resources

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bow2gpt import spelling
from bow2gpt.chapters import sequences
from bow2gpt.chapters.language_features import ByteTokenizer


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def random(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# One step


KINDS = {
    "rnn": (sequences.rnn_step, torch.nn.RNNCell, 1, False),
    "lstm": (sequences.lstm_step, torch.nn.LSTMCell, 2, False),
    "gru": (sequences.gru_step, torch.nn.GRUCell, 1, True),
}


def biases_of(cell, two):
    return (cell.bias_ih, cell.bias_hh) if two else (cell.bias_ih + cell.bias_hh,)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("batch", "input_dim", "hidden_dim"), [(1, 1, 1), (4, 3, 5), (7, 5, 2), (0, 3, 2)])
def test_step_equals_torch_in_values_and_slopes(name, batch, input_dim, hidden_dim, generator):
    step, library, num_states, two = KINDS[name]
    torch.manual_seed(1)
    cell = library(input_dim, hidden_dim).double()
    inputs = random(generator, batch, input_dim).requires_grad_()
    states = [random(generator, batch, hidden_dim).requires_grad_() for _ in range(num_states)]
    answers = [step(inputs, *states, cell.weight_ih, cell.weight_hh, *biases_of(cell, two))]
    answers.append(cell(inputs, tuple(states) if num_states > 1 else states[0]))
    slopes = []
    for number, answer in enumerate(answers):
        answers[number] = torch.stack(answer) if isinstance(answer, tuple) else answer
        factors = torch.arange(answers[number].numel(), dtype=torch.float64).reshape(answers[number].shape)
        slopes.append(torch.autograd.grad((answers[number] * factors).sum(), [inputs, *states, *cell.parameters()]))
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", KINDS)
def test_step_takes_any_batch_and_leaves_its_arguments_alone(name, generator):
    step, library, num_states, two = KINDS[name]
    cell = library(3, 5).double()
    weights = cell.weight_ih, cell.weight_hh, *biases_of(cell, two)
    inputs, states = random(generator, 2, 4, 3), [random(generator, 2, 4, 5) for _ in range(num_states)]
    kept = [tensor.clone() for tensor in (inputs, *states)]
    together = step(inputs, *states, *weights)
    alone = step(inputs[1, 2], *(state[1, 2] for state in states), *weights)
    if num_states == 1:
        together, alone = [together], [alone]
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many[1, 2], one)
    assert all(torch.equal(old, new) for old, new in zip(kept, (inputs, *states), strict=True))


def test_step_takes_transposed_tensors(generator):
    weight_input, weight_hidden = random(generator, 3, 5).T, random(generator, 5, 5).T
    inputs, hidden, bias = random(generator, 3, 4).T, random(generator, 5, 4).T, random(generator, 5)
    expected = torch.tanh(F.linear(inputs, weight_input) + F.linear(hidden, weight_hidden) + bias)
    torch.testing.assert_close(sequences.rnn_step(inputs, hidden, weight_input, weight_hidden, bias), expected)


def test_lstm_gates_do_what_they_are_called():
    """Rows in the order input, forget, candidate, output: shut and open each one with its bias."""
    zeros, ones = torch.zeros(1, 1), torch.ones(1, 1)
    far = 100.0
    cases = {
        (-far, far, 0.0, far): 1.0,
        (far, -far, far, far): 1.0,
        (far, far, far, far): 2.0,
        (-far, -far, 5.0, far): 0.0,
    }
    for bias, expected in cases.items():
        hidden, cell = sequences.lstm_step(zeros, zeros, ones, torch.zeros(4, 1), torch.zeros(4, 1), torch.tensor(bias))
        assert cell.item() == pytest.approx(expected, abs=1e-6)
        assert hidden.item() == pytest.approx(math.tanh(expected), abs=1e-6)
    hidden, cell = sequences.lstm_step(
        zeros, zeros, ones, torch.zeros(4, 1), torch.zeros(4, 1), torch.tensor((-far, far, 0.0, -far))
    )
    assert (hidden.item(), cell.item()) == pytest.approx((0.0, 1.0))


def test_steps_refuse_what_does_not_fit():
    inputs, hidden = torch.zeros(2, 3), torch.zeros(2, 4)
    with pytest.raises(ValueError, match=r"got weight_input of shape \(3, 4\); expected \(4, 3\)"):
        sequences.rnn_step(inputs, hidden, torch.zeros(3, 4), torch.zeros(4, 4), torch.zeros(4))
    with pytest.raises(ValueError, match=r"got weight_hidden of shape \(4, 5\)"):
        sequences.rnn_step(inputs, hidden, torch.zeros(4, 3), torch.zeros(4, 5), torch.zeros(4))
    with pytest.raises(ValueError, match=r"got state 1 of shape \(4,\); expected \(2, 4\)"):
        sequences.rnn_step(inputs, hidden[0], torch.zeros(4, 3), torch.zeros(4, 4), torch.zeros(4))
    with pytest.raises(ValueError, match=r"expected \(4 \* hidden_dim, hidden_dim\)"):
        sequences.lstm_step(inputs, hidden, hidden, torch.zeros(12, 3), torch.zeros(12, 4), torch.zeros(12))
    with pytest.raises(ValueError, match="got state 2"):
        sequences.lstm_step(inputs, hidden, hidden[:, :1], torch.zeros(16, 3), torch.zeros(16, 4), torch.zeros(16))
    with pytest.raises(ValueError, match="got bias 2"):
        sequences.gru_step(inputs, hidden, torch.zeros(12, 3), torch.zeros(12, 4), torch.zeros(12), torch.zeros(4))
    with pytest.raises(ValueError, match="a single number"):
        sequences.rnn_step(torch.tensor(1.0), torch.zeros(1), torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1))


# Clipping


@pytest.mark.parametrize("max_norm", [1e-3, 0.5, 1.0, 7.0, 1e6])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_clip_grad_norm_equals_torch(max_norm, kind, generator):
    shapes = [(4, 3), (7,), (), (0, 2), (2, 3, 4)]
    parameters = [torch.zeros(shape, dtype=kind, requires_grad=True) for shape in shapes]
    for parameter in parameters:
        parameter.grad = (3 * random(generator, *parameter.shape)).to(kind)
    gradients = [parameter.grad.clone() for parameter in parameters]
    kept = [gradient.clone() for gradient in gradients]
    norm, clipped = sequences.clip_grad_norm(gradients, max_norm)
    expected = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    assert isinstance(norm, float)
    assert norm == pytest.approx(expected.item(), rel=1e-6)
    for ours, parameter, old, gradient in zip(clipped, parameters, kept, gradients, strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-6, atol=1e-12)
        assert ours.dtype == kind
        assert torch.equal(gradient, old), "a gradient was changed in place"
    assert sequences.clip_grad_norm(clipped, max_norm)[0] <= max_norm * (1 + 1e-5)


def test_clip_grad_norm_at_the_edges():
    assert sequences.clip_grad_norm([], 1.0) == (0.0, [])
    norm, [clipped] = sequences.clip_grad_norm([torch.zeros(3)], 1.0)
    assert norm == 0.0
    assert clipped.tolist() == [0, 0, 0]
    norm, [clipped] = sequences.clip_grad_norm([torch.full((4,), 1e30)], 1.0)  # its square is no float32
    assert norm == pytest.approx(2e30)
    assert clipped.tolist() == pytest.approx([0.5] * 4)
    for max_norm in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match="must be above 0"):
            sequences.clip_grad_norm([torch.ones(2)], max_norm)
    for value in (math.inf, math.nan):
        with pytest.raises(ValueError, match="infinite or NaN"):
            sequences.clip_grad_norm([torch.ones(2), torch.tensor([value])], 1.0)


def test_optimisation_step_clips_what_the_optimiser_sees():
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    model = torch.nn.Module()
    model.weight = weight
    model.idle = torch.nn.Parameter(torch.ones(2))
    norm = sequences.optimisation_step(model, weight.square().sum(), torch.optim.SGD([weight], lr=1.0), max_norm=1.0)
    assert norm == pytest.approx(10)
    assert weight.tolist() == pytest.approx([3 - 0.6, 4 - 0.8], rel=1e-5)


# Chunks


@pytest.mark.parametrize(
    ("tokens", "batch_size", "chunk_length"), [(2, 1, 1), (50, 3, 7), (50, 7, 100), (49, 4, 4), (13, 12, 5)]
)
def test_bptt_chunks_hold_each_token_once_in_order(tokens, batch_size, chunk_length):
    token_ids = np.random.default_rng(0).permutation(tokens)
    chunks = list(sequences.bptt_chunks(token_ids, batch_size, chunk_length))
    columns = (tokens - 1) // batch_size
    for number, (inputs, targets) in enumerate(chunks):
        expected = min(chunk_length, columns - number * chunk_length)
        assert inputs.shape == targets.shape == (batch_size, expected)
        assert inputs.dtype == targets.dtype == torch.int64
    inputs, targets = (torch.cat(side, dim=1).flatten().numpy() for side in zip(*chunks, strict=True))
    assert inputs.tolist() == token_ids[: batch_size * columns].tolist()
    assert targets.tolist() == token_ids[1 : batch_size * columns + 1].tolist()


def test_bptt_chunks_take_arrays_tensors_lists_and_strides():
    expected = [(i.tolist(), t.tolist()) for i, t in sequences.bptt_chunks(list(range(0, 20, 2)), 2, 3)]
    for tokens in (
        torch.arange(0, 20, 2),
        np.arange(0, 20, 2, dtype=np.uint16),
        np.arange(20)[::2],
        torch.arange(20)[::2],
    ):
        assert [(i.tolist(), t.tolist()) for i, t in sequences.bptt_chunks(tokens, 2, 3)] == expected


def test_bptt_chunks_refuse_at_once():
    with pytest.raises(ValueError, match="at least 4 are needed"):
        sequences.bptt_chunks([1, 2, 3], 3, 1)
    with pytest.raises(ValueError, match="at least 2 are needed"):
        sequences.bptt_chunks(np.zeros(0, dtype=int), 1, 1)
    with pytest.raises(ValueError, match="both must be at least 1"):
        sequences.bptt_chunks([1, 2, 3], 1, 0)
    with pytest.raises(ValueError, match="both must be at least 1"):
        sequences.bptt_chunks([1, 2, 3], 0, 1)
    with pytest.raises(ValueError, match="expected whole numbers"):
        sequences.bptt_chunks([[1, 2, 3]], 1, 1)
    with pytest.raises(ValueError, match="expected whole numbers"):
        sequences.bptt_chunks([1.0, 2.0, 3.0], 1, 1)


# Both ways


def both_ways(library):
    parameters = list(library.parameters())
    return [(a, b, c + d) for a, b, c, d in (parameters[:4], parameters[4:])]


def test_bidirectional_encode_equals_torch(generator):
    torch.manual_seed(0)
    library = torch.nn.RNN(3, 4, batch_first=True, bidirectional=True).double()
    inputs, lengths = random(generator, 5, 7, 3).requires_grad_(), torch.tensor([7, 1, 3, 6, 2])
    packed = torch.nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    theirs, _ = torch.nn.utils.rnn.pad_packed_sequence(library(packed)[0], batch_first=True, total_length=7)
    ours = sequences.bidirectional_encode(inputs, lengths, *both_ways(library))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    factors = random(generator, 5, 7, 8)
    slopes = [torch.autograd.grad((side * factors).sum(), [inputs, *library.parameters()]) for side in (ours, theirs)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_padding_changes_nothing(generator):
    library = torch.nn.RNN(3, 4, batch_first=True, bidirectional=True).double()
    inputs, lengths = random(generator, 2, 6, 3), torch.tensor([4, 0])
    expected = sequences.bidirectional_encode(inputs, lengths, *both_ways(library))
    noisy = inputs.clone()
    noisy[0, 4:], noisy[1] = 9, -9
    assert torch.equal(sequences.bidirectional_encode(noisy, lengths, *both_ways(library)), expected)
    assert not expected[0, 4:].any()
    assert not expected[1].any()
    alone = sequences.bidirectional_encode(inputs[:1, :4], torch.tensor([4]), *both_ways(library))
    torch.testing.assert_close(expected[:1, :4], alone)


def test_bidirectional_encode_of_other_sizes_and_of_nothing(generator):
    def weights(hidden_dim):
        return (
            random(generator, hidden_dim, 3),
            random(generator, hidden_dim, hidden_dim),
            random(generator, hidden_dim),
        )

    for batch, time in [(2, 5), (0, 5), (2, 0)]:
        lengths = torch.full((batch,), time)
        got = sequences.bidirectional_encode(random(generator, batch, time, 3), lengths, weights(2), weights(5))
        assert got.shape == (batch, time, 7)
    inputs = random(generator, 2, 5, 3)
    for lengths in ([5, 6], [-1, 2]):
        with pytest.raises(ValueError, match="rows of 5 allow 0 to 5"):
            sequences.bidirectional_encode(inputs, torch.tensor(lengths), weights(2), weights(2))
    with pytest.raises(ValueError, match="expected \\(batch, time, input_dim\\) and \\(batch,\\)"):
        sequences.bidirectional_encode(inputs, torch.tensor([5]), weights(2), weights(2))


# Attention


def attention_weights(generator, query_dim=4, key_dim=3, attention_dim=5):
    return (
        random(generator, attention_dim, query_dim),
        random(generator, attention_dim, key_dim),
        random(generator, attention_dim),
    )


def test_additive_attention_is_the_formula(generator):
    weight_query, weight_key, vector = attention_weights(generator)
    query, keys = random(generator, 6, 4), random(generator, 6, 7, 3)
    context, weights = sequences.additive_attention(query, keys, weight_query, weight_key, vector)
    for row in range(6):
        scores = [vector @ torch.tanh(weight_query @ query[row] + weight_key @ key) for key in keys[row]]
        expected = torch.softmax(torch.stack(scores), dim=0)
        torch.testing.assert_close(weights[row], expected)
        torch.testing.assert_close(context[row], sum(a * key for a, key in zip(expected, keys[row], strict=True)))


@pytest.mark.parametrize("shape", [(7,), (6, 7), (1, 7), (6, 1), (1, 1), ()])
def test_additive_attention_never_looks_behind_a_mask(shape, generator):
    parameters = attention_weights(generator)
    query, keys = random(generator, 6, 4), random(generator, 6, 7, 3)
    mask = torch.rand(shape, generator=generator) < 0.5
    context, weights = sequences.additive_attention(query, keys, *parameters, mask)
    allowed = mask.broadcast_to(6, 7)
    assert weights.shape == (6, 7)
    assert not weights[~allowed].any()
    for row in range(6):
        if allowed[row].any():
            chosen = keys[row][allowed[row]]
            expected, some = sequences.additive_attention(query[row], chosen, *parameters)
            torch.testing.assert_close(context[row], expected)
            torch.testing.assert_close(weights[row][allowed[row]], some)
        else:
            assert not context[row].any()


def test_additive_attention_that_may_look_nowhere_has_no_nan(generator):
    parameters = [parameter.requires_grad_() for parameter in attention_weights(generator)]
    query, keys = random(generator, 2, 4).requires_grad_(), random(generator, 2, 3, 3).requires_grad_()
    mask = torch.tensor([[False] * 3, [True, False, True]])
    context, weights = sequences.additive_attention(query, keys, *parameters, mask)
    assert context[0].tolist() == weights[0].tolist() == [0, 0, 0]
    assert weights[1].sum().item() == pytest.approx(1)
    (context.sum() + weights.square().sum()).backward()
    assert all(tensor.grad.isfinite().all() for tensor in (query, keys, *parameters))


def test_additive_attention_broadcasts_keys_over_queries(generator):
    parameters = attention_weights(generator)
    queries, keys, mask = random(generator, 2, 5, 4), random(generator, 2, 7, 3), torch.rand(2, 7) < 0.8
    mask[:, 0] = True
    context, weights = sequences.additive_attention(queries, keys[:, None], *parameters, mask[:, None])
    assert (context.shape, weights.shape) == ((2, 5, 3), (2, 5, 7))
    for place in range(5):
        one, some = sequences.additive_attention(queries[:, place], keys, *parameters, mask)
        torch.testing.assert_close(context[:, place], one)
        torch.testing.assert_close(weights[:, place], some)
    context, weights = sequences.additive_attention(queries[0, 0], keys[0, :0], *parameters)
    assert (context.tolist(), weights.shape) == ([0, 0, 0], (0,))


def test_additive_attention_refuses():
    query, keys = torch.zeros(4), torch.zeros(7, 3)
    with pytest.raises(ValueError, match=r"got weight_query of shape \(4, 5\)"):
        sequences.additive_attention(query, keys, torch.zeros(4, 5), torch.zeros(5, 3), torch.zeros(5))
    with pytest.raises(ValueError, match="got weight_key"):
        sequences.additive_attention(query, keys, torch.zeros(5, 4), torch.zeros(5, 4), torch.zeros(5))
    with pytest.raises(ValueError, match="expected booleans"):
        sequences.additive_attention(query, keys, torch.zeros(5, 4), torch.zeros(5, 3), torch.zeros(5), torch.ones(7))


# Sequence to sequence


class Parrot(torch.nn.Module):
    """Says the letters' numbers one after the other, then END; remembers how often it was asked to encode."""

    def __init__(self):
        super().__init__()
        self.encoded, self.read = 0, []
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def encode(self, letters):
        self.encoded += 1
        return letters

    def decode(self, phonemes, memory, state=None):
        assert phonemes.shape == (len(memory), 1)
        self.read.append(phonemes[:, 0].tolist())
        place = state or 0
        said = memory[:, place] if place < memory.shape[1] else torch.full((len(memory),), spelling.END)
        return F.one_hot(said, len(spelling.PHONEMES))[:, None].float() + self.weight, place + 1


def test_greedy_decode_says_what_the_model_finds_most_probable():
    model = Parrot()
    got = sequences.greedy_decode(model, torch.tensor([[5, 6, 7, 2], [9, 2, 0, 0], [2, 0, 0, 0]]))
    assert got.tolist() == [[5, 6, 7, 2], [9, 2, 0, 0], [2, 0, 0, 0]]
    assert model.encoded == 1
    assert model.read[0] == [spelling.START] * 3
    assert [row[0] for row in model.read[1:]] == [5, 6, 7]
    assert not got.requires_grad


def test_greedy_decode_stops_when_all_have_ended_or_at_the_longest():
    model = Parrot()
    assert sequences.greedy_decode(model, torch.tensor([[5, 2, 8], [2, 9, 8]])).tolist() == [[5, 2], [2, 0]]
    assert sequences.greedy_decode(model, torch.tensor([[5, 6, 7, 2]]), max_length=2).tolist() == [[5, 6]]
    assert sequences.greedy_decode(model, torch.zeros(0, 3, dtype=torch.long)).shape == (0, 0)
    with pytest.raises(ValueError, match="got max_length 0"):
        sequences.greedy_decode(model, torch.tensor([[5, 2]]), max_length=0)


def words_and_sounds():
    rows = [("cat", "K AE T"), ("knight", "N AY T"), ("a", "AH"), ("photograph", "F OW T AH G R AE F")]
    letters = torch.from_numpy(spelling.encode_words([word for word, _ in rows]))
    return letters, torch.from_numpy(spelling.encode_pronunciations([sounds.split() for _, sounds in rows]))


@pytest.mark.parametrize("attention", [False, True])
def test_seq2seq_says_the_same_step_by_step_as_at_once(attention):
    model = sequences.Seq2Seq(8, 12, attention, seed=3).double().eval()
    letters, phonemes = words_and_sounds()
    whole = model(letters, phonemes)
    assert whole.shape == (4, phonemes.shape[1], len(spelling.PHONEMES))
    memory, state, parts = model.encode(letters), None, []
    for place in range(phonemes.shape[1]):
        logits, state = model.decode(phonemes[:, place : place + 1], memory, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)


@pytest.mark.parametrize("attention", [False, True])
def test_seq2seq_does_not_see_padding_or_the_future(attention):
    model = sequences.Seq2Seq(8, 12, attention, seed=3).double().eval()
    letters, phonemes = words_and_sounds()
    whole = model(letters, phonemes)
    alone = model(letters[:1, :4], phonemes[:1])
    torch.testing.assert_close(whole[:1], alone)
    changed = phonemes.clone()
    changed[:, 3:] = 7
    torch.testing.assert_close(model(letters, changed)[:, :3], whole[:, :3])
    other = letters.clone()
    other[0, 0] = 20
    moved = (model(other, phonemes) - whole).abs().amax(dim=(1, 2))
    assert moved[0] > 0
    assert not moved[1:].any()


def test_encoder_reads_both_ways_as_torch_does():
    model = sequences.Seq2Seq(8, 12, attention=True, seed=3).double().eval()
    letters, _ = words_and_sounds()
    memory, lengths = model.encode(letters), (letters != spelling.PAD).sum(dim=1)
    library = torch.nn.LSTM(8, 6, batch_first=True, bidirectional=True).double()
    own = [*model.forward_reader.parameters(), *model.backward_reader.parameters()]
    with torch.no_grad():
        for parameter, value in zip(library.parameters(), own, strict=True):
            parameter.copy_(value)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        model.letters(letters), lengths, batch_first=True, enforce_sorted=False
    )
    states, (last, _) = library(packed)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
    torch.testing.assert_close(memory.annotations, expected)
    torch.testing.assert_close(memory.summary, torch.cat([last[0], last[1]], dim=1))


def test_attention_weights_are_distributions_over_letters():
    model = sequences.Seq2Seq(8, 12, attention=True).eval()
    letters, phonemes = words_and_sounds()
    weights = model.attention_weights(letters, phonemes)
    assert weights.shape == (4, phonemes.shape[1], letters.shape[1])
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(4, phonemes.shape[1]))
    assert not weights[0, :, 4:].any()
    with pytest.raises(ValueError, match="no attention"):
        sequences.Seq2Seq(8, 12, attention=False).attention_weights(letters, phonemes)


def test_seq2seq_is_the_same_for_the_same_seed_and_disturbs_nobody():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = (sequences.Seq2Seq(8, 12, seed=seed) for seed in (1, 1, 2))
    assert torch.rand(1) == expected
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(one, another) for one, another in pairs)
    assert not torch.equal(first.vector, other.vector)
    assert first.num_parameters == sum(parameter.numel() for parameter in first.parameters())
    with pytest.raises(ValueError, match="an even hidden_dim"):
        sequences.Seq2Seq(8, 13)


@pytest.mark.parametrize("attention", [False, True])
def test_seq2seq_learns_a_few_words(attention):
    model = sequences.Seq2Seq(16, 32, attention)
    pairs = tuple(side.numpy() for side in words_and_sounds())
    kept = [side.copy() for side in pairs]
    losses = sequences.train_seq2seq(model, pairs, num_steps=150, batch_size=4, learning_rate=1e-2, progress=False)
    assert len(losses) == 150
    assert losses[0] == pytest.approx(math.log(len(spelling.PHONEMES)), rel=0.1)
    assert losses[-1] < 0.1
    assert not model.training
    assert all(np.array_equal(old, new) for old, new in zip(kept, pairs, strict=True))
    assert sequences.pronounce(model, ["knight", "a", "cat"], batch_size=2) == [
        ("N", "AY", "T"),
        ("AH",),
        ("K", "AE", "T"),
    ]
    entries = [
        spelling.Entry("cat", (("K", "AE", "T"),)),
        spelling.Entry("a", (("EY",), ("AH",))),
        spelling.Entry("knight", (("N", "IY", "T"),)),
    ]
    assert sequences.spell_error_rates(model, entries) == spelling.ErrorRates(1 / 7, 1 / 3, 3)


def test_training_ignores_padding_and_reports():
    letters, phonemes = (side.numpy() for side in words_and_sounds())
    wide = np.pad(letters, ((0, 0), (0, 5))), np.pad(phonemes, ((0, 0), (0, 6)))
    runs = []
    for pairs in ((letters, phonemes), wide):
        reported = []
        losses = sequences.train_seq2seq(
            sequences.Seq2Seq(8, 12),
            pairs,
            num_steps=3,
            progress=False,
            report=lambda *row, to=reported: to.append(row),
        )
        assert reported == list(enumerate(losses))
        runs.append(losses)
    assert runs[0] == runs[1]
    with pytest.raises(ValueError, match="got 4 words and 3 pronunciations"):
        sequences.train_seq2seq(sequences.Seq2Seq(8, 12), (letters, phonemes[:3]), num_steps=1, progress=False)
    with pytest.raises(ValueError, match="got 0 words"):
        sequences.train_seq2seq(sequences.Seq2Seq(8, 12), (letters[:0], phonemes[:0]), num_steps=1, progress=False)


def test_batches_hold_every_row_once_a_pass_and_words_of_like_length():
    lengths = np.random.default_rng(0).integers(1, 20, 1000)
    batches = sequences._batches_of_alike(lengths, 16, np.random.default_rng(1))
    one_pass = [next(batches) for _ in range(-(-1000 // 16) + 1)]
    seen, taken = np.concatenate(one_pass), 0
    while len(np.unique(seen[:taken])) < 1000 and taken < len(seen):
        taken += 1
    assert sorted(seen[:1000].tolist()) == list(range(1000))
    spread = np.mean([np.ptp(lengths[batch]) for batch in one_pass[:60]])
    assert spread < 2


# The language model


@pytest.fixture
def small():
    return (
        sequences.LSTMLanguageModel(ByteTokenizer(), embedding_dim=6, hidden_dim=7, num_layers=2, seed=1)
        .double()
        .eval()
    )


def step_by_step(model, token_ids):
    """Log-probabilities by the rule: forget after each block, read the last `warm_up` again, then go on."""
    scores = []
    for place, token in enumerate(token_ids):
        start = max(place // model.block_length * model.block_length - model.warm_up, 0)
        seen = torch.tensor([[model.tokenizer.vocabulary_size, *token_ids[start:place]]])
        scores.append(model(seen)[0][0, -1].log_softmax(dim=0)[token].item())
    return np.array(scores)


@pytest.mark.parametrize(("block_length", "warm_up"), [(256, 64), (8, 3), (1, 0), (5, 5), (3, 10)])
def test_blocks_side_by_side_cost_what_they_cost_step_by_step(small, block_length, warm_up):
    small.block_length, small.warm_up = block_length, warm_up
    token_ids = np.random.default_rng(0).integers(0, 256, 40)
    expected = step_by_step(small, token_ids)
    for first in (0, 1, 7, 8, 9, 39, 40):
        np.testing.assert_allclose(small.log_probs_from(token_ids, first), expected[first:], rtol=1e-9)
    for place in (0, 3, 8, 20):
        assert small.next_after(token_ids[:place])[token_ids[place]] == pytest.approx(expected[place], rel=1e-9)
    assert small.log_probs_from(token_ids[:0]).shape == (0,)


def test_long_texts_are_scored_in_several_batches(small):
    small.block_length, small.warm_up = 2, 1
    token_ids = np.random.default_rng(0).integers(0, 256, 600)  # 300 blocks, over two batches
    np.testing.assert_allclose(small.log_probs_from(token_ids), step_by_step(small, token_ids), rtol=1e-9)


def test_next_after_goes_on_or_starts_anew(small):
    token_ids = np.random.default_rng(0).integers(0, 256, 30)
    fresh = [small.next_after(token_ids[:place]) for place in (30, 4, 12, 12, 13)]
    for place, answer in zip((30, 4, 12, 12, 13), fresh, strict=True):
        small._last_read = None
        np.testing.assert_allclose(small.next_after(token_ids[:place]), answer, rtol=1e-10)
    before = small.next_after(token_ids)
    before_kept = before.copy()
    before += 1
    assert np.array_equal(small.next_after(token_ids), before_kept), "a caller changed what the model remembers"
    with torch.no_grad():
        small.output_bias[3] += 1
    assert not np.allclose(small.next_after(token_ids), before_kept), "the weights changed, and the answer did not"
    small.float()
    assert small.next_after(token_ids).dtype == np.float64


def test_training_learns_and_is_repeatable():
    token_ids = np.frombuffer(b"the cat and the dog " * 60, dtype=np.uint8).astype(np.int64)
    models = []
    for _ in range(2):
        losses = []
        model = sequences.LSTMLanguageModel(ByteTokenizer(), 16, 24, dropout=0.1)
        sequences.train_recurrent(
            model, token_ids, 80, 8, 10, 1e-2, report=lambda step, loss, to=losses: to.append(loss)
        )
        models.append(model)
    assert len(losses) == 80
    assert losses[0] > 2.2
    assert losses[-1] < 1.6
    assert next(model.parameters()).dtype == torch.float64
    assert not model.training
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="at least 33 are needed"):
        sequences.train_recurrent(model, token_ids[:20], 1)


def test_language_model_refuses_impossible_sizes():
    with pytest.raises(ValueError, match="got sizes 0"):
        sequences.LSTMLanguageModel(ByteTokenizer(), embedding_dim=0)
    with pytest.raises(ValueError, match="dropout 1"):
        sequences.LSTMLanguageModel(ByteTokenizer(), dropout=1)


def test_learning_rate_rises_then_falls_to_zero():
    shares = [sequences.learning_rate_share(step, 1000) for step in range(1000)]
    assert shares[0] == pytest.approx(0.02)
    assert shares[50] == pytest.approx(0.95)
    assert max(shares) <= 1
    assert all(a > b for a, b in zip(shares[50:], shares[51:], strict=False))
    assert shares[-1] == pytest.approx(0.001)


def test_the_committed_comparison_is_whole():
    folder = resources.files("bow2gpt")
    tables = []
    for name in ("spelling_results.csv", "spelling_by_length.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    results, by_length = tables
    rates = {row["model"]: float(row["word_error"]) for row in results}
    assert rates["LSTM with attention"] < rates["LSTM, one vector"]
    sizes = [int(row["parameters"]) for row in results]
    assert max(sizes) < 1.05 * min(sizes), "the models should be equally large"
    for row in results:
        groups = [group for group in by_length if group["model"] == row["model"]]
        words = [int(group["words"]) for group in groups]
        assert sum(words) == len(spelling.entries("test"))
        wrong = sum(float(group["word_error"]) * count for group, count in zip(groups, words, strict=True))
        assert wrong / sum(words) == pytest.approx(float(row["word_error"]), abs=1e-3)
