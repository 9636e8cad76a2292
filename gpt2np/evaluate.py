"""Measure how well a model predicts a text:  python -m gpt2np.evaluate --model MODEL FILE"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.evaluate")

import argparse
from collections.abc import Sequence

import numpy as np

from .checkpoints import loading
from .command import MAX_THREADS, Parser, not_empty, run_command, whole
from .interrupts import leave
from .memory import cores, keep_freed_memory
from .model_names import load_with_tokenizer
from .terminal import wrapped
from .text.vocabulary import END_OF_TEXT
from .training.batches import read_texts
from .training.errors import TrainingError
from .training.evaluation import bits_per_byte, evaluate, perplexity
from .training.parallel import DataParallel


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(measure, arguments)


def measure(arguments: Sequence[str] | None) -> None:
    """Print loss, perplexity and bits per byte."""
    options = parse(arguments)
    text, = read_texts([options.file])
    model, tokenizer = load_with_tokenizer(options.model)
    window = options.window or model.config.n_ctx
    if window > model.config.n_ctx:
        raise TrainingError(f"--window: expected at most the model's n_ctx, {model.config.n_ctx}, got {window}")
    stride = options.stride or max(1, window // 2)
    ids = tokenizer.encode(text, allowed_special=(END_OF_TEXT,))
    keep_freed_memory()
    with DataParallel(model, options.threads or cores()) as parallel:
        loss = evaluate(parallel, np.array(ids), window, stride)
    n_bytes = len(tokenizer.decode_bytes([i for i in ids[1:] if i != tokenizer.end_of_text]))
    print(wrapped(f"{options.model} on {options.file}: {len(ids) - 1:,} tokens, {n_bytes:,} bytes of text, after the "
                  f"first token, which is not scored"))
    print(wrapped(f"window {window:,}, stride {stride:,}: each token is scored once; beyond the first window, it is "
                  f"predicted from the {window - stride + 1:,} before it at least"))
    print(f"loss per token {loss:10.4f} nats\n"
          f"perplexity     {perplexity(loss):10.4f}\n"
          f"bits per byte  {bits_per_byte(loss, len(ids) - 1, n_bytes):10.4f}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = Parser("evaluate", usage="%(prog)s FILE --model MODEL [OPTIONS]",
                    description="Measure how well a model predicts a text. In brackets: what holds where nothing is "
                                "said.",
                    known_as={"-m": "--model", "--context": "--window", "--max-length": "--window",
                              "": "the model goes behind --model, and one file is measured at a time"},
                    examples=("python -m gpt2np.evaluate play.txt --model demo",
                              "python -m gpt2np.evaluate play.txt --model run/best --stride 32"))
    parser.add_argument("file", type=not_empty, metavar="FILE",
                        help="text in UTF-8; <|endoftext|> in it ends a document")
    parser.add_argument("--model", required=True, type=not_empty,
                        help=f"one of {', '.join(loading.NAMES)}; or the path of a model's folder")
    parser.add_argument("--window", type=whole(1), metavar="N", help="tokens that the model sees at a time (its n_ctx)")
    parser.add_argument("--stride", type=whole(1), metavar="N",
                        help="tokens from one window to the next (half a window); fewer give more context, and take "
                             "longer")
    parser.add_argument("--threads", type=whole(1, MAX_THREADS), metavar="N",
                        help="how many windows are worked out at once (all cores)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    leave(main())
