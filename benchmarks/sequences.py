"""Chapter 05 beside torch, and the long run that the chapter has no time for.

`python benchmarks/sequences.py` times the book's steps and loops beside torch's; `python benchmarks/sequences.py long
300` trains the chapter's language model for so many seconds on two cores and prints what it is worth then, alone and
mixed with counting.
"""

import argparse
import time
from collections.abc import Callable

import torch

from bow2gpt import corpus, ruler
from bow2gpt.chapters import sequences
from bow2gpt.chapters.counting_models import NGramModel
from bow2gpt.chapters.embeddings import MixtureModel
from bow2gpt.chapters.language_features import Tokenizer


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of some running times, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def compare(what: str, ours: float, theirs: float) -> None:
    """Print both times and how many times faster ours is."""
    print(
        f"{what:52} ours {1e3 * ours:9.3f} ms   torch {1e3 * theirs:9.3f} ms   ratio {theirs / ours:6.2f}", flush=True
    )


def steps() -> None:
    """One step of each cell, forward and backward, on one core."""
    torch.set_num_threads(1)
    for batch, size in [(1, 64), (32, 256), (256, 512)]:
        inputs, hidden, cell = (torch.randn(batch, size) for _ in range(3))
        where = f"batch {batch}, {size} cells"
        time_step(f"RNN step, {where}", sequences.rnn_step, torch.nn.RNNCell(size, size), inputs, hidden)
        time_step(f"LSTM step, {where}", sequences.lstm_step, torch.nn.LSTMCell(size, size), inputs, hidden, cell)
        time_step(f"GRU step, {where}", sequences.gru_step, torch.nn.GRUCell(size, size), inputs, hidden)


def time_step(what: str, step: Callable, library: torch.nn.Module, inputs: torch.Tensor, *states: torch.Tensor) -> None:
    """Compare one step of a cell with torch's."""

    def walk_back(answer: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        (answer[0] if isinstance(answer, tuple) else answer).sum().backward()

    def ours() -> None:
        biases = (library.bias_ih, library.bias_hh)
        biases = biases if step is sequences.gru_step else (sum(biases),)
        walk_back(step(inputs, *states, library.weight_ih, library.weight_hh, *biases))

    theirs = seconds(lambda: walk_back(library(inputs, states if len(states) > 1 else states[0])))
    compare(what, seconds(ours), theirs)


def loops() -> None:
    """A loop of `lstm_step` over 32 tokens, forward and backward, against torch.nn.LSTM, on one core."""
    torch.set_num_threads(1)
    for batch, size in [(1, 256), (32, 256), (32, 512)]:
        time_loop(torch.nn.LSTM(size, size, batch_first=True), torch.randn(batch, 32, size))


def time_loop(layer: torch.nn.LSTM, inputs: torch.Tensor) -> None:
    """Compare a loop over time with torch's layer."""
    batch, time_steps, size = inputs.shape

    def ours() -> None:
        hidden = cell = inputs.new_zeros(batch, size)
        weights = layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0 + layer.bias_hh_l0
        states = []
        for place in range(time_steps):
            hidden, cell = sequences.lstm_step(inputs[:, place], hidden, cell, *weights)
            states.append(hidden)
        torch.stack(states, dim=1).sum().backward()

    theirs = seconds(lambda: layer(inputs)[0].sum().backward())
    compare(f"LSTM over {time_steps} tokens, batch {batch}, {size} cells", seconds(ours), theirs)


def clipping() -> None:
    """Clipping two million slopes in ten tensors, on one core."""
    torch.set_num_threads(1)
    tensors = [torch.randn(200_000, requires_grad=True) for _ in range(10)]
    for tensor in tensors:
        tensor.grad = torch.randn(200_000)
    slopes = [tensor.grad for tensor in tensors]
    compare(
        "clip_grad_norm, two million slopes",
        seconds(lambda: sequences.clip_grad_norm(slopes, 1.0)),
        seconds(lambda: torch.nn.utils.clip_grad_norm_(tensors, 1e9)),
    )


def long(budget: float, options: dict) -> None:
    """Train the chapter's language model for so many seconds, and measure it."""
    torch.set_num_threads(2)
    torch.set_flush_denormal(True)
    train, validation, test = (corpus.text(split) for split in corpus.SPLITS)
    tokenizer = Tokenizer.train(train, 2048)
    token_ids = tokenizer.encode(train)

    def worked() -> float:
        # Processor time over two threads, so that a run which was paused or disturbed counts what it worked.
        return time.process_time() / 2

    trial = sequences.LSTMLanguageModel(tokenizer, **options)
    sequences.train_recurrent(trial, token_ids, num_steps=5)
    start = worked()
    sequences.train_recurrent(trial, token_ids, num_steps=30)
    num_steps = round(budget / (worked() - start) * 30)
    start = worked()

    def report(step: int, loss: float) -> None:
        if step % 500 == 0:
            print(f"step {step} of {num_steps}: {loss:.3f} nats per token, {worked() - start:.0f} s", flush=True)

    model = sequences.train_recurrent(
        sequences.LSTMLanguageModel(tokenizer, **options), token_ids, num_steps, report=report
    )
    trained = worked() - start
    counts = NGramModel.fit(train, 5, tokenizer=tokenizer)
    mixture = MixtureModel.fit([model, counts], validation)
    start = time.perf_counter()
    model.generate(200, context="\n\n")
    row = {
        "options": options,
        "parameters": f"{model.num_parameters:,}",
        "steps": num_steps,
        "passes": f"{num_steps * 32 * 32 / len(token_ids):.1f}",
        "seconds": f"{trained:.0f}",
        "tokens per second, training": f"{num_steps * 32 * 32 / trained:,.0f}",
        "tokens per second, writing": f"{200 / (time.perf_counter() - start):,.0f}",
        "validation": f"{ruler.bits_per_byte(model, validation):.3f}",
        "test": f"{ruler.bits_per_byte(model, test):.3f}",
        "mixed with counts, test": f"{ruler.bits_per_byte(mixture, test):.3f}",
        "share of the network": f"{mixture.weights[0]:.2f}",
    }
    print(", ".join(f"{name} {value}" for name, value in row.items()))


PARTS = {"steps": steps, "loops": loops, "clipping": clipping}


def main() -> None:
    """Run the comparisons named on the command line, or all; or one long run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=[*PARTS, "long"], help="all comparisons without one")
    parser.add_argument("seconds", nargs="?", type=float, default=300, help="of the long run")
    parser.add_argument("--hidden", type=int, default=384, help="hidden cells of the long run")
    parser.add_argument("--dropout", type=float, default=0.0, help="of the long run")
    chosen = parser.parse_args()
    if chosen.part == "long":
        long(chosen.seconds, {"hidden_dim": chosen.hidden, "dropout": chosen.dropout})
        return
    for name in [chosen.part] if chosen.part else PARTS:
        print(f"\n{name}: {PARTS[name].__doc__}", flush=True)
        PARTS[name]()


if __name__ == "__main__":
    main()
