# Generated from chapters/05_sequences.py by `bow2gpt build`: edit there.
"""Sequences: what the chapter builds."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from bow2gpt import spelling
from bow2gpt.chapters.counting_models import sample_with_temperature
from bow2gpt.chapters.language_features import AnyTokenizer
from bow2gpt.machine import half_precision_pays


def rnn_step(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    weight_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    bias: torch.Tensor,
) -> torch.Tensor:
    """Read one input: new state = tanh(W_x x + W_h h + b) (Elman, 1990).

    Args:
        inputs: what is read now, shape (batch, input_dim); the batch may be any number of dimensions, or none.
        hidden: the state so far, shape (batch, hidden_dim).
        weight_input: shape (hidden_dim, input_dim).
        weight_hidden: shape (hidden_dim, hidden_dim).
        bias: shape (hidden_dim,); torch's RNNCell has two, which are added.

    Returns:
        The new state, shape (batch, hidden_dim).

    Raises:
        ValueError: if a shape does not fit.
    """
    _check_step(1, inputs, [hidden], weight_input, weight_hidden, [bias])
    return torch.tanh(inputs @ weight_input.T + hidden @ weight_hidden.T + bias)


def _check_step(
    gates: int,
    inputs: torch.Tensor,
    states: Sequence[torch.Tensor],
    weight_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    biases: Sequence[torch.Tensor],
) -> None:
    """Refuse inputs, states and weights that do not belong together; the weights hold `gates` matrices, stacked."""
    if inputs.ndim < 1:
        raise ValueError("got a single number as inputs; expected shape (batch, input_dim): use inputs.reshape(1, 1)")
    if weight_hidden.ndim != 2 or weight_hidden.shape[0] != gates * weight_hidden.shape[1]:
        shape = f"({gates} * hidden_dim, hidden_dim)" if gates > 1 else "(hidden_dim, hidden_dim)"
        raise ValueError(f"got weight_hidden of shape {tuple(weight_hidden.shape)}; expected {shape}")
    rows, hidden_dim = weight_hidden.shape
    expected = {"weight_input": (weight_input, (rows, inputs.shape[-1]))}
    expected |= {f"bias {number + 1}": (bias, (rows,)) for number, bias in enumerate(biases)}
    expected |= {
        f"state {number + 1}": (state, (*inputs.shape[:-1], hidden_dim)) for number, state in enumerate(states)
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"got {name} of shape {tuple(tensor.shape)}; expected {shape} for inputs of shape "
                f"{tuple(inputs.shape)} and {hidden_dim} hidden cells: is a matrix transposed, or a batch missing?"
            )


def clip_grad_norm(gradients: Sequence[torch.Tensor], max_norm: float) -> tuple[float, list[torch.Tensor]]:
    """Shorten a gradient that is too long, without turning it (Pascanu, Mikolov and Bengio, 2013).

    All gradients count as one long vector, which is multiplied by max_norm / (norm + 1e-6) if that is below 1.

    Args:
        gradients: tensors of any shapes; they stay as they are.
        max_norm: the greatest length allowed.

    Returns:
        The length before, and new tensors of the same shapes.

    Raises:
        ValueError: if max_norm is not above 0, or a gradient is infinite or NaN.
    """
    if not max_norm > 0:
        raise ValueError(f"got max_norm {max_norm}; it must be above 0: a gradient of length 0 teaches nothing")
    norm = math.sqrt(sum(gradient.double().square().sum().item() for gradient in gradients))
    if not math.isfinite(norm):
        raise ValueError("a gradient is infinite or NaN, and no length can be clipped: lower the learning rate")
    factor = min(1.0, max_norm / (norm + 1e-6))
    return norm, [gradient * factor for gradient in gradients]


def optimisation_step(
    model: torch.nn.Module, loss: torch.Tensor, optimiser: torch.optim.Optimizer, max_norm: float
) -> float:
    """Walk backward from a loss, clip the gradient, and let the optimiser step; returns the length before clipping."""
    optimiser.zero_grad()
    loss.backward()
    learned = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm, clipped = clip_grad_norm([parameter.grad for parameter in learned], max_norm)
    for parameter, gradient in zip(learned, clipped, strict=True):
        parameter.grad = gradient
    optimiser.step()
    return norm


def lstm_step(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    cell: torch.Tensor,
    weight_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    bias: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read one input into a memory with gates (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000).

    Args:
        inputs: shape (batch, input_dim).
        hidden: what the cell shows, shape (batch, hidden_dim).
        cell: what it remembers, shape (batch, hidden_dim).
        weight_input: shape (4 * hidden_dim, input_dim); rows in torch's order: input gate, forget gate,
            candidate, output gate.
        weight_hidden: shape (4 * hidden_dim, hidden_dim).
        bias: shape (4 * hidden_dim,).

    Returns:
        The new hidden and the new cell, each of shape (batch, hidden_dim).

    Raises:
        ValueError: if a shape does not fit.
    """
    _check_step(4, inputs, [hidden, cell], weight_input, weight_hidden, [bias])
    sums = inputs @ weight_input.T + hidden @ weight_hidden.T + bias  # (batch, 4 * hidden_dim)
    write, keep, candidate, show = sums.chunk(4, dim=-1)  # (batch, hidden_dim) each
    cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(candidate)
    return torch.sigmoid(show) * torch.tanh(cell), cell


def gru_step(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    weight_input: torch.Tensor,
    weight_hidden: torch.Tensor,
    bias_input: torch.Tensor,
    bias_hidden: torch.Tensor,
) -> torch.Tensor:
    """Read one input into a memory with two gates and no separate cell (Cho et al., 2014).

    Args:
        inputs: shape (batch, input_dim).
        hidden: shape (batch, hidden_dim).
        weight_input: shape (3 * hidden_dim, input_dim); rows in torch's order: reset gate, update gate, candidate.
        weight_hidden: shape (3 * hidden_dim, hidden_dim).
        bias_input: shape (3 * hidden_dim,).
        bias_hidden: shape (3 * hidden_dim,); the candidate's part is inside the reset gate, so it must be kept apart.

    Returns:
        The new state, shape (batch, hidden_dim).

    Raises:
        ValueError: if a shape does not fit.
    """
    _check_step(3, inputs, [hidden], weight_input, weight_hidden, [bias_input, bias_hidden])
    reset_x, keep_x, candidate_x = (inputs @ weight_input.T + bias_input).chunk(3, dim=-1)
    reset_h, keep_h, candidate_h = (hidden @ weight_hidden.T + bias_hidden).chunk(3, dim=-1)
    keep = torch.sigmoid(keep_x + keep_h)
    candidate = torch.tanh(candidate_x + torch.sigmoid(reset_x + reset_h) * candidate_h)
    return (1 - keep) * candidate + keep * hidden


def bptt_chunks(
    token_ids: np.ndarray | torch.Tensor | Sequence[int], batch_size: int, chunk_length: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Cut a stream of tokens into pieces for truncated back-propagation through time (Werbos, 1990).

    The stream is laid in `batch_size` rows of equal length, each going on where the row above ends. A chunk is some
    columns of all rows; the next chunk holds the columns after it, so that a state can be carried over from a row to
    the same row. The tokens at the end that fill no column are left out.

    Args:
        token_ids: whole numbers, shape (tokens,).
        batch_size: rows.
        chunk_length: columns of a chunk; the last chunk may have fewer.

    Returns:
        Iterator over inputs and targets, both of shape (batch_size, chunk_length); a target is the token
            after its input.

    Raises:
        ValueError: if a size is below 1, or there are too few tokens for one column and its targets.
    """
    token_ids = torch.as_tensor(token_ids)
    if token_ids.ndim != 1 or (len(token_ids) and (token_ids.is_floating_point() or token_ids.is_complex())):
        raise ValueError(f"got token_ids {token_ids.dtype} {tuple(token_ids.shape)}; expected whole numbers (tokens,)")
    if batch_size < 1 or chunk_length < 1:
        raise ValueError(f"got batch_size {batch_size} and chunk_length {chunk_length}; both must be at least 1")
    columns = (len(token_ids) - 1) // batch_size
    if columns < 1:
        raise ValueError(
            f"got {len(token_ids)} tokens for {batch_size} rows; at least {batch_size + 1} are needed: use fewer rows"
        )
    token_ids = token_ids[: batch_size * columns + 1].long()
    inputs, targets = token_ids[:-1].reshape(batch_size, columns), token_ids[1:].reshape(batch_size, columns)
    starts = range(0, columns, chunk_length)
    return ((inputs[:, t : t + chunk_length], targets[:, t : t + chunk_length]) for t in starts)


#: What an RNN learns: weight_input, weight_hidden and bias, as `rnn_step` takes them.
RNNWeights = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def bidirectional_encode(
    inputs: torch.Tensor, lengths: torch.Tensor, forward_weights: RNNWeights, backward_weights: RNNWeights
) -> torch.Tensor:
    """Read sequences from both ends, and lay what was known at each place side by side (Schuster and Paliwal, 1997).

    Args:
        inputs: shape (batch, time, input_dim), filled up on the right.
        lengths: how much of each row counts, shape (batch,), from 0 to time.
        forward_weights: of the reader from left to right, as for `rnn_step`.
        backward_weights: of the reader from right to left; it begins at the last input that counts, not in the filling.

    Returns:
        Shape (batch, time, forward hidden_dim + backward hidden_dim); zeros where a row has ended.

    Raises:
        ValueError: if a shape does not fit, or a length is impossible.
    """
    lengths = torch.as_tensor(lengths, device=inputs.device)
    if inputs.ndim != 3 or tuple(lengths.shape) != (inputs.shape[0],):
        raise ValueError(
            f"got inputs of shape {tuple(inputs.shape)} and lengths of {tuple(lengths.shape)}; "
            "expected (batch, time, input_dim) and (batch,)"
        )
    batch, time, _ = inputs.shape
    if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= time:
        raise ValueError(
            f"got lengths from {int(lengths.min())} to {int(lengths.max())}; rows of {time} allow 0 to {time}"
        )
    counts = torch.arange(time, device=inputs.device) < lengths[:, None]  # (batch, time)
    readings = []
    for weights, places in [(forward_weights, range(time)), (backward_weights, reversed(range(time)))]:
        hidden, states = inputs.new_zeros(batch, weights[1].shape[-1]), [None] * time
        for place in places:
            read = rnn_step(inputs[:, place], hidden, *weights)
            states[place] = read * counts[:, place, None]
            hidden = torch.where(counts[:, place, None], read, hidden)
        readings.append(torch.stack(states, dim=1) if time else inputs.new_zeros(batch, 0, hidden.shape[-1]))
    return torch.cat(readings, dim=-1)  # (batch, time, both hidden_dims)


#: The hidden and the cell of an LSTM, each of shape (layers, batch, hidden_dim).
LSTMState = tuple[torch.Tensor, torch.Tensor]


class LSTMLanguageModel(torch.nn.Module):
    """An LSTM that reads a text token by token and says what comes next (Mikolov et al., 2010, with the LSTM's cell).

    The output layer uses the embedding's rows once more (Press and Wolf, 2017).

    But: after every `block_length` tokens it forgets all and reads the last `warm_up` again, so that the blocks of a
    long text can be scored side by side.

    Attributes:
        tokenizer: cuts a text into token ids.
        embedding: a row for each token, and a last one for "nothing known of what came before"; shape
            (vocabulary + 1, embedding_dim).
    """

    block_length, warm_up = 256, 64

    def __init__(
        self,
        tokenizer: AnyTokenizer,
        embedding_dim: int = 192,
        hidden_dim: int = 384,
        num_layers: int = 1,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(embedding_dim, hidden_dim, num_layers) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"got sizes {embedding_dim}, {hidden_dim}, {num_layers} and dropout {dropout}; "
                "expected 1 or more, and 0 to below 1"
            )
        self.tokenizer, self.dropout = tokenizer, dropout
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = torch.nn.Parameter(0.1 * torch.randn(tokenizer.vocabulary_size + 1, embedding_dim))
            self.lstm = torch.nn.LSTM(embedding_dim, hidden_dim, num_layers, batch_first=True)
            self.projection = torch.nn.Linear(hidden_dim, embedding_dim, bias=False)
            self.output_bias = torch.nn.Parameter(torch.zeros(tokenizer.vocabulary_size))
        self._last_read = None

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, token_ids: torch.Tensor, state: LSTMState | None = None) -> tuple[torch.Tensor, LSTMState]:
        """Logits of shape (batch, time, vocabulary) after each token of (batch, time), and the state to go on from."""
        embedded = F.embedding(token_ids, self.embedding)  # (batch, time, embedding_dim)
        hidden, state = self.lstm(F.dropout(embedded, self.dropout, self.training), state)  # (batch, time, hidden_dim)
        shown = self.projection(F.dropout(hidden, self.dropout, self.training))  # (batch, time, embedding_dim)
        return F.linear(shown, self.embedding[:-1], self.output_bias), state

    def token_log_probs(self, text: str, context: str = "") -> np.ndarray:
        """Natural log of each token's probability given those before it: shape (tokens of the text,)."""
        before, tokens = self.tokenizer.encode(context), self.tokenizer.encode(text)
        return self.log_probs_from(np.concatenate([before, tokens]).astype(np.int64), len(before))

    def log_probs_from(self, token_ids: np.ndarray, first: int = 0) -> np.ndarray:
        """Natural log-probability of each token from number `first` on, given those before: shape (tokens - first,)."""
        if first >= len(token_ids):
            return np.zeros(0)
        last = len(token_ids) - 1
        blocks = np.arange(first // self.block_length, last // self.block_length + 1)
        starts = (blocks * self.block_length - self.warm_up).clip(min=0)
        places = starts[:, None] + np.arange(self.warm_up + self.block_length)  # (blocks, steps), of the token to guess
        wanted = (places // self.block_length == blocks[:, None]) & (places >= first) & (places <= last)
        steps = np.flatnonzero(wanted.any(axis=0))[-1] + 1  # a short text needs few
        places, wanted = places[:, :steps], wanted[:, :steps]
        inputs, targets = token_ids[(places - 1).clip(0, last)], token_ids[places.clip(max=last)]
        inputs[:, 0] = self.tokenizer.vocabulary_size
        rows = [
            self.score_rows(inputs[row : row + 128], targets[row : row + 128]) for row in range(0, len(blocks), 128)
        ]
        return np.concatenate(rows)[wanted]

    def score_rows(self, inputs: np.ndarray, targets: np.ndarray, steps: int = 32) -> np.ndarray:
        """Log-probability of each target after its input and all before it in its row, a few columns at a time."""
        scores, state = [], None
        with torch.inference_mode():
            for t in range(0, inputs.shape[1], steps):
                logits, state = self(torch.tensor(inputs[:, t : t + steps]), state)  # (rows, steps, vocabulary)
                chosen = logits.gather(2, torch.tensor(targets[:, t : t + steps, None]))[..., 0]
                scores.append((chosen - logits.logsumexp(dim=2)).double().numpy())
        return np.concatenate(scores, axis=1)

    def next_token_log_probs(self, context: str = "") -> np.ndarray:
        """Natural log of each token's probability to come next: shape (vocabulary,)."""
        return self.next_after(self.tokenizer.encode(context))

    def next_after(self, token_ids: np.ndarray) -> np.ndarray:
        """The same, after token ids. If these go on where the last call stopped, only what is new is read."""
        block = len(token_ids) // self.block_length
        start = max(block * self.block_length - self.warm_up, 0)
        to_read = np.concatenate([[self.tokenizer.vocabulary_size], token_ids[start:]]).astype(np.int64)
        # The weights' versions tell whether they have changed since.
        weights = [(parameter.data_ptr(), parameter._version, parameter.dtype) for parameter in self.parameters()]
        known, state = 0, None
        if self._last_read is not None and self._last_read[0] == weights:
            _, earlier, earlier_state, answer = self._last_read
            if np.array_equal(earlier, to_read):
                return answer.copy()
            if np.array_equal(earlier, to_read[: len(earlier)]):
                known, state = len(earlier), earlier_state
        with torch.inference_mode():
            logits, state = self(torch.tensor(to_read[None, known:]), state)
            answer = logits[0, -1].log_softmax(dim=0).double().numpy()
        self._last_read = weights, to_read, state, answer
        return answer.copy()

    def generate(self, num_tokens: int, context: str = "", *, temperature: float = 1.0, seed: int = 0) -> str:
        """Draw tokens one after the other; the same seed gives the same text."""
        rng, ids = np.random.default_rng(seed), self.tokenizer.encode(context).tolist()
        start = len(ids)
        for _ in range(num_tokens):
            log_probs = self.next_after(np.array(ids, dtype=np.int64))
            ids.append(sample_with_temperature(log_probs, temperature, rng))
        return self.tokenizer.decode(ids[start:])


def learning_rate_share(step: int, num_steps: int, warm_up: int = 50) -> float:
    """Share of the highest learning rate: rises for some steps, then falls in a straight line to zero at the end."""
    return min(1.0, (step + 1) / warm_up, (num_steps - step) / num_steps)


def train_recurrent(
    model: LSTMLanguageModel,
    token_ids: np.ndarray,
    num_steps: int,
    batch_size: int = 32,
    chunk_length: int = 32,
    learning_rate: float = 8e-3,
    weight_decay: float = 0.01,
    max_norm: float = 1.0,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> LSTMLanguageModel:
    """Train a recurrent language model on a stream of tokens by truncated back-propagation through time.

    Args:
        model: what to train; its `forward` takes tokens and a state and returns logits and a state.
        token_ids: shape (tokens,).
        num_steps: how many chunks.
        batch_size: rows of a chunk.
        chunk_length: columns of a chunk: how far slopes are carried back.
        learning_rate: of AdamW, at its highest.
        weight_decay: of the matrices.
        max_norm: the longest gradient that is not clipped.
        seed: decides where rows start and when a row forgets.
        report: receives the step and its loss in nats per token.

    Returns:
        The model, in double precision, ready to score.

    Raises:
        ValueError: if there are too few tokens for a chunk.
    """
    rng, nothing_known = np.random.default_rng(seed), model.tokenizer.vocabulary_size
    frequencies = np.bincount(token_ids, minlength=nothing_known) + 1.0
    model.float().train()
    with torch.no_grad():
        model.output_bias.copy_(torch.tensor(np.log(frequencies / frequencies.sum())))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_share(step, num_steps))
    torch.manual_seed(seed)  # of dropout
    state, chunks = None, iter(())
    for step in range(num_steps):
        chunk = next(chunks, None)
        if chunk is None:  # a pass is over; the next one starts somewhere else, so that rows and chunks differ
            chunks, state = (
                bptt_chunks(np.roll(token_ids, -rng.integers(len(token_ids))), batch_size, chunk_length),
                None,
            )
            chunk = next(chunks)
        inputs, targets = chunk
        forgetting = torch.tensor(rng.random(batch_size) < (1.0 if state is None else 1 / 16))
        inputs = inputs.clone()
        inputs[forgetting, 0] = nothing_known
        if state is not None:
            state = tuple(part.detach() * ~forgetting[:, None] for part in state)  # values pass on, slopes do not
        with torch.autocast("cpu", torch.bfloat16, enabled=half_precision_pays()):
            logits, state = model(inputs, state)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        optimisation_step(model, loss, optimiser, max_norm)
        schedule.step()
        if report is not None:
            report(step, loss.item())
    return model.double().eval()


def greedy_decode(model: torch.nn.Module, letters: torch.Tensor, max_length: int = 40) -> torch.Tensor:
    """Write phonemes one after the other, always the most probable, each read back in before the next is chosen.

    Args:
        model: with `encode(letters)` and `decode(phonemes, memory, state)`, which returns logits and a state.
        letters: ids of shape (batch, letters), filled up with PAD.
        max_length: how many phonemes at most, END included.

    Returns:
        Ids of shape (batch, time), without START; END where a word came to an end, and PAD after it.

    Raises:
        ValueError: if max_length is below 1.
    """
    if max_length < 1:
        raise ValueError(f"got max_length {max_length}; it must be at least 1")
    written, state = [], None
    last = torch.full((len(letters), 1), spelling.START, device=letters.device)
    ended = torch.zeros_like(last, dtype=torch.bool)
    with torch.no_grad():
        memory = model.encode(letters)
        while len(written) < max_length and not ended.all():
            logits, state = model.decode(last, memory, state)
            last = logits[:, -1:].argmax(dim=-1).masked_fill(ended, spelling.PAD)  # (batch, 1)
            ended = ended | (last == spelling.END)
            written.append(last)
    return torch.cat(written, dim=1) if written else last[:, :0]


def additive_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    weight_query: torch.Tensor,
    weight_key: torch.Tensor,
    vector: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Look at some vectors, at each as much as it answers the query (Bahdanau, Cho and Bengio, 2015).

    The score of key j is vector . tanh(W_q query + W_k key_j); softmax makes weights of the scores; the context is the
    weighted mean of the keys.

    Args:
        query: shape (batch, query_dim); the batch may be any number of dimensions, or none.
        keys: shape (batch, time, key_dim); its batch may be broadcast to the query's.
        weight_query: shape (attention_dim, query_dim).
        weight_key: shape (attention_dim, key_dim).
        vector: shape (attention_dim,).
        mask: True where the query may look, of any shape that broadcasts to (batch, time); everywhere without one.

    Returns:
        The context, shape (batch, key_dim), and the weights, shape (batch, time). Weights are 0 where the query may not
        look, and all are 0 if it may look nowhere.

    Raises:
        ValueError: if a shape does not fit, or the mask is not boolean.
    """
    if query.ndim < 1 or keys.ndim < 2 or vector.ndim != 1:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (query, keys, vector))
        raise ValueError(f"got query, keys and vector of shapes {shapes}; expected (..., d), (..., time, d) and (d,)")
    expected = {
        "weight_query": (weight_query, (len(vector), query.shape[-1])),
        "weight_key": (weight_key, (len(vector), keys.shape[-1])),
    }
    for name, (weight, shape) in expected.items():
        if tuple(weight.shape) != shape:
            raise ValueError(
                f"got {name} of shape {tuple(weight.shape)}; expected {shape}, (attention_dim, its input's size)"
            )
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"got a mask of {mask.dtype}; expected booleans, True where the query may look")
    asked, offered = query @ weight_query.T, keys @ weight_key.T  # (batch, attention_dim), (batch, time, attention_dim)
    scores = torch.tanh(asked.unsqueeze(-2) + offered) @ vector  # (batch, time)
    if mask is not None:
        # Not minus infinity: where all is forbidden, softmax would divide zero by zero.
        scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1)
    if mask is not None:
        weights = weights * mask
    return torch.einsum("...t,...td->...d", weights, keys), weights


class Memory(NamedTuple):
    """What an encoder hands to a decoder.

    Attributes:
        annotations: what both readers knew at each letter, shape (batch, letters, hidden_dim).
        summary: what each knew at its end, side by side: the one vector; shape (batch, hidden_dim).
        mask: True where there is a letter, shape (batch, letters).
    """

    annotations: torch.Tensor
    summary: torch.Tensor
    mask: torch.Tensor


class Seq2Seq(torch.nn.Module):
    """Letters in, phonemes out: an LSTM reads in both directions, another one writes (Sutskever, Vinyals and Le, 2014).

    Beside its state the writer sees a context. Without attention that is the same summary at each step (Cho et al.,
    2014); with it, a weighted mean of the readers' states, weighted anew for each phoneme (Bahdanau et al., 2015).

    But: the writer looks after its step, not before it (Luong, Pham and Manning, 2015), so that training can take a
    whole word at once.

    Attributes:
        attention: whether the writer may look back at every letter.
    """

    def __init__(
        self,
        embedding_dim: int = 64,
        hidden_dim: int = 192,
        attention: bool = True,
        attention_dim: int = 64,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if embedding_dim < 1 or hidden_dim < 2 or hidden_dim % 2 or attention_dim < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"got embedding_dim {embedding_dim}, hidden_dim {hidden_dim}, attention_dim {attention_dim} and "
                f"dropout {dropout}; expected sizes of at least 1, an even hidden_dim (half for each reader) and a "
                "dropout from 0 to below 1"
            )
        self.attention = attention
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.letters = torch.nn.Embedding(len(spelling.LETTERS), embedding_dim)
            self.phonemes = torch.nn.Embedding(len(spelling.PHONEMES), embedding_dim)
            self.forward_reader = torch.nn.LSTM(embedding_dim, hidden_dim // 2, batch_first=True)
            self.backward_reader = torch.nn.LSTM(embedding_dim, hidden_dim // 2, batch_first=True)
            self.bridge = torch.nn.Linear(hidden_dim, 2 * hidden_dim)
            self.writer = torch.nn.LSTM(embedding_dim, hidden_dim, batch_first=True)
            if attention:
                self.weight_query = torch.nn.Parameter(torch.randn(attention_dim, hidden_dim) / hidden_dim**0.5)
                self.weight_key = torch.nn.Parameter(torch.randn(attention_dim, hidden_dim) / hidden_dim**0.5)
                self.vector = torch.nn.Parameter(torch.randn(attention_dim) / attention_dim**0.5)
            self.combine = torch.nn.Linear(2 * hidden_dim, hidden_dim)
            self.output = torch.nn.Linear(hidden_dim, len(spelling.PHONEMES))
            self.dropout = torch.nn.Dropout(dropout)

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def encode(self, letters: torch.Tensor) -> Memory:
        """Read words: ids of shape (batch, letters), filled up with PAD on the right."""
        mask = letters != spelling.PAD
        lengths = mask.sum(dim=1, keepdim=True)  # (batch, 1)
        embedded = self.dropout(self.letters(letters))  # (batch, letters, embedding_dim)
        rightward, _ = self.forward_reader(embedded)  # (batch, letters, hidden_dim / 2)
        # Each word is turned round within its own length, and what was read is turned back.
        places = torch.arange(letters.shape[1], device=letters.device)
        turned = torch.where(mask, lengths - 1 - places, places)[..., None]  # (batch, letters, 1)
        leftward, _ = self.backward_reader(embedded.take_along_dim(turned, dim=1))
        last = (lengths - 1).clamp(min=0)[..., None]  # (batch, 1, 1)
        ends = [reading.take_along_dim(last, dim=1)[:, 0] for reading in (rightward, leftward)]
        annotations = torch.cat([rightward, leftward.take_along_dim(turned, dim=1)], dim=2)
        return Memory(annotations * mask[..., None], torch.cat(ends, dim=1), mask)

    def decode(
        self, phonemes: torch.Tensor, memory: Memory, state: LSTMState | None = None
    ) -> tuple[torch.Tensor, LSTMState]:
        """Logits (batch, time, phonemes) of what comes after each phoneme of (batch, time), and the state to go on."""
        written, state = self._write(phonemes, memory, state)  # (batch, time, hidden_dim)
        context, _ = self._look(written, memory)  # (batch, time, hidden_dim)
        combined = torch.tanh(self.combine(torch.cat([written, context], dim=2)))
        return self.output(self.dropout(combined)), state

    def forward(self, letters: torch.Tensor, phonemes: torch.Tensor) -> torch.Tensor:
        """Logits (batch, time, phonemes) of what comes after each phoneme, when the letters are known."""
        return self.decode(phonemes, self.encode(letters))[0]

    def attention_weights(self, letters: torch.Tensor, phonemes: torch.Tensor) -> torch.Tensor:
        """Where the writer looks after each phoneme of (batch, time): shape (batch, time, letters)."""
        if not self.attention:
            raise ValueError("this model has no attention; build it with attention=True")
        memory = self.encode(letters)
        return self._look(self._write(phonemes, memory, None)[0], memory)[1]

    def _write(self, phonemes: torch.Tensor, memory: Memory, state: LSTMState | None) -> tuple[torch.Tensor, LSTMState]:
        if state is None:
            hidden, cell = self.bridge(memory.summary).chunk(2, dim=1)  # (batch, hidden_dim) each
            state = torch.tanh(hidden)[None].contiguous(), cell[None].contiguous()  # one layer
        return self.writer(self.dropout(self.phonemes(phonemes)), state)

    def _look(self, written: torch.Tensor, memory: Memory) -> tuple[torch.Tensor, torch.Tensor | None]:
        if not self.attention:
            return memory.summary[:, None].expand_as(written), None
        return additive_attention(
            written,
            memory.annotations[:, None],  # (batch, 1, letters, hidden_dim): the same for each phoneme
            self.weight_query,
            self.weight_key,
            self.vector,
            memory.mask[:, None],
        )


def _batches_of_alike(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers in batches, without end: random, but sorted by length within fifty batches: little is filled up."""
    while True:
        order = rng.permutation(len(lengths))
        batches = []
        for start in range(0, len(order), 50 * batch_size):
            pool = order[start : start + 50 * batch_size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
        for number in rng.permutation(len(batches)):
            yield batches[number]


def train_seq2seq(
    model: torch.nn.Module,
    pairs: tuple[np.ndarray, np.ndarray],
    *,
    num_steps: int,
    batch_size: int = 256,
    learning_rate: float = 4e-3,
    weight_decay: float = 0.01,
    max_norm: float = 1.0,
    seed: int = 0,
    progress: bool = True,
    report: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Teach a model to write phonemes for letters, with the right phonemes so far before its eyes (*teacher forcing*).

    Args:
        model: called as model(letters, phonemes so far), returns logits (batch, time, phonemes).
        pairs: letters (rows, letters) and phonemes (rows, time) with START and END, as `spelling.pairs` gives them.
        num_steps: how many batches.
        batch_size: words of a batch; words of like length come together.
        learning_rate: of AdamW, at its highest; it falls to 0 at the end.
        weight_decay: of AdamW.
        max_norm: the longest gradient that is not clipped.
        seed: decides the order of the words, and dropout.
        progress: whether to show a bar.
        report: receives the step and its loss.

    Returns:
        The loss of each step, in nats per phoneme; the model is left in evaluation mode.

    Raises:
        ValueError: if there are no pairs, or not as many words as pronunciations.
    """
    letters, phonemes = (np.asarray(side) for side in pairs)
    if len(letters) != len(phonemes) or len(letters) == 0:
        raise ValueError(
            f"got {len(letters)} words and {len(phonemes)} pronunciations; expected one for each, and at least one"
        )
    device = next(model.parameters()).device
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_share(step, num_steps))
    torch.manual_seed(seed)  # of dropout
    lengths = (letters != spelling.PAD).sum(axis=1) + (phonemes != spelling.PAD).sum(axis=1) / 100
    batches, losses = _batches_of_alike(lengths, batch_size, np.random.default_rng(seed)), []
    model.train()
    for step in tqdm(range(num_steps), desc="training", mininterval=2, disable=not progress):
        rows = next(batches)
        read, write = (_without_filling(side[rows]).to(device) for side in (letters, phonemes))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cpu" and half_precision_pays()):
            logits = model(read, write[:, :-1])  # (batch, time, phonemes)
        loss = F.cross_entropy(logits.float().flatten(0, 1), write[:, 1:].flatten(), ignore_index=spelling.PAD)
        optimisation_step(model, loss, optimiser, max_norm)
        schedule.step()
        losses.append(loss.item())
        if report is not None:
            report(step, losses[-1])
    model.eval()
    return losses


def _without_filling(ids: np.ndarray) -> torch.Tensor:
    """Drop columns in which every row is PAD, up to a width that four divides: torch keeps a plan for every shape."""
    longest = int((ids != spelling.PAD).sum(axis=1).max(initial=1))
    return torch.from_numpy(ids[:, : 4 * math.ceil(longest / 4)])


def pronounce(model: torch.nn.Module, words: Sequence[str], batch_size: int = 512) -> list[tuple[str, ...]]:
    """What a model writes for each word, in the words' order: tuples of phonemes."""
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(words)), key=lambda place: len(words[place]))  # words of like length together
    found: dict[int, tuple[str, ...]] = {}
    for start in range(0, len(words), batch_size):
        places = order[start : start + batch_size]
        letters = torch.from_numpy(spelling.encode_words([words[place] for place in places])).to(device)
        found |= zip(places, map(spelling.decode_pronunciation, greedy_decode(model, letters).tolist()), strict=True)
    return [found[place] for place in range(len(words))]


def spell_error_rates(
    model: torch.nn.Module, entries: Sequence[spelling.Entry], batch_size: int = 512
) -> spelling.ErrorRates:
    """Let a model pronounce words, and compare with the dictionary."""
    return spelling.error_rates(pronounce(model, [entry.word for entry in entries], batch_size), entries)
