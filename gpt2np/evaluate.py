"""Measure how well a model predicts a text:  python -m gpt2np.evaluate --model MODEL FILE"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.evaluate")

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from .adapt.replacing import merge_if_possible
from .checkpoints import loading
from .command import MAX_THREADS, Parser, not_empty, run_command, whole
from .hints import Array
from .interrupts import leave
from .memory import cores, keep_freed_memory
from .model_names import load_with_tokenizer, put_adapter
from .terminal import wrapped
from .text.protocol import AnyTokenizer
from .training.batches import PART, map_tokens, read_texts, write_tokens
from .training.errors import TrainingError
from .training.evaluation import bits_per_byte, evaluate, perplexity
from .training.parallel import DataParallel

FOREIGN = 0.8                   # tokens for a byte, from which on a text is one that the vocabulary was not made for


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(measure, arguments)


class Measured(NamedTuple):
    """What was found out about a text, or about several."""

    tokens: int         # that were scored
    bytes: int          # that they stand for
    loss: float         # of a token


def measure(arguments: Sequence[str] | None) -> None:
    """Print loss, perplexity and bits per byte."""
    options = parse(arguments)
    for path in options.files:
        if not Path(path).is_fifo():                    # whoever writes into a pipe ends when it is closed
            open(path, "rb").close()                    # what cannot be read is said before the work begins
    model, tokenizer = load_with_tokenizer(options.model)
    if options.adapter is not None:
        put_adapter(model, options.adapter)
        merge_if_possible(model)
    window = options.window or model.n_ctx
    if window > model.n_ctx:
        raise TrainingError(f"--window: expected at most the model's n_ctx, {model.n_ctx}, got {window}")
    stride = options.stride or max(1, window // 2)
    keep_freed_memory()
    found = []
    with DataParallel(model, options.threads or cores()) as parallel:
        for path in options.files:
            found.append(measure_text(path, parallel, tokenizer, window, stride, several=len(options.files) > 1))
            windows = (window, stride) if found[-1].tokens > window else None
            report(f"{options.model} on {path}", found[-1], windows)
    if len(found) > 1:
        tokens = sum(one.tokens for one in found)
        total = Measured(tokens, sum(one.bytes for one in found), sum(one.loss * one.tokens for one in found) / tokens)
        report(f"{options.model} on all {len(found)} files, each token alike", total)


def measure_text(path: str, parallel: DataParallel, tokenizer: AnyTokenizer, window: int, stride: int,
                 several: bool) -> Measured:
    """One text: its tokens are in a file while it is measured, for a list of them would need many times its memory."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        write_tokens(Path(folder, "tokens"), read_texts([path], lambda words: print(wrapped(f"note: {words}")), True),
                     tokenizer)
        tokens = map_tokens(Path(folder, "tokens"), tokenizer)
        with tqdm(desc="measuring", unit=" windows", delay=1, leave=False, disable=None) as bar:
            try:
                loss = evaluate(parallel, tokens, window, stride, partial(show, bar))
            except TrainingError as error:
                raise TrainingError(f"{path}: {error}") if several else error from None
        n_bytes = bytes_of(tokens[1:], tokenizer)
        return Measured(len(tokens) - 1, n_bytes, loss)


def show(bar: tqdm, done: int, of: int) -> None:
    """How far an evaluation is."""
    bar.total = of
    bar.update(done - bar.n)


def bytes_of(tokens: Array, tokenizer: AnyTokenizer) -> int:
    """How many bytes of text tokens stand for; <|endoftext|> is no text, and stands for none."""
    lengths = np.array([len(tokenizer.decode_bytes([i])) for i in range(tokenizer.n_vocab)])
    if tokenizer.end_of_text is not None:
        lengths[tokenizer.end_of_text] = 0
    return sum(int(lengths[tokens[i:i + PART]].sum()) for i in range(0, len(tokens), PART))


def report(of_what: str, found: Measured, windows: tuple[int, int] | None = None) -> None:
    """What was found out, in lines; of a text that is longer than a window, with the window and the stride."""
    print(wrapped(f"{of_what}: {found.tokens:,} tokens, {found.bytes:,} bytes of text, after the first token, which is "
                  f"not scored"))
    if windows:
        window, stride = windows
        print(wrapped(f"window {window:,}, stride {stride:,}: each token is scored once; beyond the first window, it "
                      f"is predicted from the {window - stride + 1:,} before it at least"))
    bits = bits_per_byte(found.loss, found.tokens, found.bytes)
    print(f"loss per token {found.loss:10.4f} nats\n"
          f"perplexity     {perplexity(found.loss):10.4f}\n"
          f"bits per byte  {bits:10.4f}")
    if found.bytes and bits > 8:
        foreign = (f": the text is foreign to the vocabulary, which needs {found.tokens / found.bytes:.2f} tokens for "
                   "a byte of it") if found.tokens > FOREIGN * found.bytes else ""
        print(wrapped(f"note: who guesses every byte blindly needs 8 bits for it{foreign}"))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = Parser("evaluate", usage="%(prog)s FILE... --model MODEL [OPTIONS]",
                    description="Measure how well a model predicts a text, or each of several and all together. In "
                                "brackets: what holds where nothing is said.",
                    known_as={"-m": "--model", "--context": "--window", "--max-length": "--window",
                              "": "the model goes behind --model"},
                    examples=("python -m gpt2np.evaluate play.txt --model demo",
                              "python -m gpt2np.evaluate play.txt --model run/best --stride 32"))
    parser.add_argument("files", nargs="+", type=not_empty, metavar="FILE",
                        help="text in UTF-8; <|endoftext|> in it ends a document")
    parser.add_argument("--model", required=True, type=not_empty,
                        help=f"one of {', '.join(loading.NAMES)}; or the path of a model's folder")
    parser.add_argument("--adapter", type=not_empty, metavar="DIR",
                        help="what was trained beside the model: the folder of train --adapt, or of peft's")
    parser.add_argument("--window", type=whole(1), metavar="N", help="tokens that the model sees at a time (its n_ctx)")
    parser.add_argument("--stride", type=whole(1), metavar="N",
                        help="tokens from one window to the next (half a window); fewer give more context, and take "
                             "longer")
    parser.add_argument("--threads", type=whole(1, MAX_THREADS), metavar="N",
                        help="how many windows are worked out at once (all cores)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    leave(main())
