"""Make a model smaller, and see what it costs:  python -m gpt2np.quantize --model MODEL FILE [--out DIR]

A row for each scheme of adapt/narrow.py: how many bytes the model needs in memory, how well it predicts the text, how
far its probabilities are from those of the model as it was, and how fast it writes.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.quantize")

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .adapt.narrow import SCHEMES, plant_outlier, quantize, scheme_of
from .checkpoints import loading
from .checkpoints.errors import CheckpointError
from .checkpoints.parameters import size_of
from .command import Parser, not_empty, run_command
from .decoding import GREEDY, generate
from .decoding.layout import lay_out_for_decoding
from .hints import Array
from .interrupts import leave
from .layers.cross_entropy import IGNORED
from .layers.softmax import log_softmax_forward
from .layers.tiles import rows
from .memory import keep_freed_memory
from .model_names import load_with_tokenizer
from .models.gpt2 import GPT2
from .terminal import table, wrapped
from .text.utf8 import expect_readable
from .training.batches import map_tokens, read_texts, write_tokens
from .training.evaluation import expect_two, perplexity, scored_windows, windows

AS_IT_IS = "float32"
PLANTED = (AS_IT_IS, "int8", "int8-tensor", "int8-activations")     # the schemes that a planted outlier is shown with
ROWS = 64                       # of logits at a time, in float64
WRITTEN, ROUNDS = 24, 5         # tokens of each text that is timed, and how often


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(measure_and_save, arguments)


class Row(NamedTuple):
    """What was found out about a scheme.

    label     its name, with what was done to the model before
    bytes     of all arrays of the model
    loss      in nats, of each token of the text
    kl        the mean of sum p log(p / q) over the tokens, p being of the model as it was, in nats
    speed     tokens a second, one text
    ratio     of the speed to that of the model as it was, by turns: the median
    """

    label: str
    bytes: int
    loss: float
    kl: float
    speed: float
    ratio: float


def measure_and_save(arguments: Sequence[str] | None) -> None:
    """Print the table, and write the model, whichever is asked for."""
    options = parse(arguments)
    if options.out:
        loading.expect_new(options.out)
    expect_readable(filter(None, [options.file]))
    model, tokenizer = load_with_tokenizer(options.model)
    if scheme_of(model):
        raise CheckpointError(options.model, f"its matrices are in {scheme_of(model)} already: name the model that it "
                              "was made from")
    keep_freed_memory()
    if options.file:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder, "tokens")
            write_tokens(path, read_texts([options.file], lambda words: print(wrapped(f"note: {words}")), True),
                         tokenizer)
            tokens = map_tokens(path, tokenizer)
            with threadpool_limits(options.threads, "blas"):
                show_table(options, measured(model, tokens))
    if options.out:
        quantize(model, options.scheme)
        loading.write_model(options.out, "narrow", model, tokenizer)
        print(wrapped(f"{options.model} in {options.scheme} is in {options.out}: {size_of(model) / 1e6:,.1f} MB"))


def measured(model: GPT2, tokens: Array) -> list[Row]:
    """A row for each scheme: of the model, and of one that computes the same and has an outlier in it."""
    expect_two(tokens)
    reference = model.replica()
    lay_out_for_decoding(reference)
    found = []
    asked = [(scheme, False) for scheme in (AS_IT_IS, *SCHEMES)] + [(scheme, True) for scheme in PLANTED]
    for scheme, planted in tqdm(asked, desc="measuring", unit=" schemes", delay=1, leave=False, disable=None):
        other = model.replica()                         # it shares every array that is not changed
        if planted:
            plant_outlier(other)
        if scheme != AS_IT_IS:
            quantize(other, scheme)
        lay_out_for_decoding(other)
        loss, kl = compared(other, reference, tokens)
        speed, ratio = speeds(other, reference, tokens)
        found.append(Row(scheme + ", outlier" * planted, size_of(other), loss, kl, speed, ratio))
    return found


def compared(model: GPT2, reference: GPT2, tokens: Array) -> tuple[float, float]:
    """The mean loss of the tokens but for the first, and the mean KL divergence from what the reference holds."""
    window, loss, kl = model.n_ctx, 0.0, 0.0
    for place in windows(len(tokens), window, max(1, window // 2)):
        x, y = scored_windows(tokens, [place])
        counts = y.ravel() != IGNORED
        p, q = (rows(one.forward(x, keep_cache=False)[0])[counts] for one in (reference, model))
        targets = y.ravel()[counts]
        for first in range(0, len(targets), ROWS):
            log_p, log_q = (log_softmax_forward(z[first:first + ROWS].astype(np.float64))[0] for z in (p, q))
            kl += float((np.exp(log_p) * (log_p - log_q)).sum())
            loss -= float(np.take_along_axis(log_q, targets[first:first + ROWS, None], axis=1).sum())
    return loss / (len(tokens) - 1), kl / (len(tokens) - 1)


def speeds(model: GPT2, reference: GPT2, tokens: Array) -> tuple[float, float]:
    """Tokens a second, the best of some rounds, and the median of the ratios to the reference's in the same round."""
    prompt, n = tokens[:1].tolist(), min(WRITTEN, model.n_ctx)
    taken, ratios = [], []
    for _ in range(ROUNDS):
        seconds = []
        for one in (reference, model):
            begin = time.perf_counter()
            for _ in generate(one, prompt, n, GREEDY):
                pass
            seconds.append(time.perf_counter() - begin)
        taken.append(seconds[1])
        ratios.append(seconds[0] / seconds[1])
    return n / min(taken), statistics.median(ratios)


def show_table(options: argparse.Namespace, found: Sequence[Row]) -> None:
    """A row for each scheme."""
    print(wrapped(f"{options.model} on {options.file}"))
    lines = []
    for row in found:
        speed = f"{row.speed:.0f} {row.ratio:.2f}x"
        numbers = f"{row.bytes / 1e6:8.1f}{perplexity(row.loss):11.5g}{row.kl:9.2g}{speed:>12}"
        lines.append((row.label, numbers))
    print(table(f"{'MB':>8}{'perplexity':>11}{'KL':>9}{'tokens/s':>12}", lines))
    print(wrapped("KL: in nats for each token, from the model as it is. x: as fast as float32, by turns. outlier: one "
                  "column of what goes into each block's matrices was made 64 times as large, and its weights 64 times "
                  "as small, which changes nothing in float32; large models grow such columns by themselves"))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = Parser("quantize", usage="%(prog)s FILE --model MODEL [OPTIONS]",
                    description="Measure what fewer bits for each weight cost, and write a GPT-2 with them. Tables and "
                                "norms stay in float32. In brackets: what holds where nothing is said.",
                    known_as={"-m": "--model", "--dtype": "--scheme", "-o": "--out",
                              "--bits": "expected --scheme int8, or one of 16 bits, bfloat16 or float16",
                              "--output": "--out", "": "the model goes behind --model"},
                    examples=("python -m gpt2np.quantize play.txt --model demo",
                              "python -m gpt2np.quantize --model demo --out small",
                              "python -m gpt2np.quantize --model demo --out half --scheme bfloat16"))
    parser.add_argument("file", nargs="?", type=not_empty, metavar="FILE",
                        help="text in UTF-8, for a table of all schemes")
    parser.add_argument("--model", required=True, type=not_empty,
                        help=f"one of {', '.join(loading.GPT2_NAMES)}; or the path of a model's folder")
    parser.add_argument("--out", type=not_empty, metavar="DIR",
                        help="write the model into this new folder, which the other commands take as a model")
    parser.add_argument("--scheme", choices=tuple(SCHEMES), help="of --out (int8)")
    parser.add_threads("how many cores multiply matrices (all)")
    options = parser.parse_args(arguments)
    if not (options.file or options.out):
        parser.error("expected FILE, for a table, or --out, for a model, or both")
    if options.scheme and not options.out:
        parser.error("--scheme: expected --out with it; the table has all of them")
    options.scheme = options.scheme or "int8"
    return options


if __name__ == "__main__":
    leave(main())
