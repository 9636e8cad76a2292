"""Measure how well a model predicts a text:  python -m gpt2np.evaluate --model MODEL FILE"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from .checkpoints import loading
from .memory import keep_freed_memory
from .text.vocabulary import END_OF_TEXT
from .training.batches import read_texts
from .training.command import cores, run_command
from .training.errors import TrainingError
from .training.evaluation import bits_per_byte, evaluate, perplexity
from .training.parallel import DataParallel


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command("gpt2np.evaluate", measure, arguments)


def measure(arguments: Sequence[str] | None) -> int:
    """Print loss, perplexity and bits per byte."""
    options = parse(arguments)
    text, = read_texts([options.file])
    model, tokenizer = loading.load(options.model)
    window = options.window or model.config.n_ctx
    if window > model.config.n_ctx:
        raise TrainingError(f"--window: expected at most the model's n_ctx, {model.config.n_ctx}, got {window}")
    stride = options.stride or max(1, window // 2)
    ids = tokenizer.encode(text, allowed_special=(END_OF_TEXT,))
    keep_freed_memory()
    with DataParallel(model, options.threads or cores()) as parallel:
        loss = evaluate(parallel, np.array(ids), window, stride)
    n_bytes = len(text.encode()) - len(tokenizer.decode_bytes(ids[:1]))
    print(f"{options.model} on {options.file}: {len(ids) - 1:,} tokens, {n_bytes:,} bytes, after the first token, "
          f"which is not scored\n"
          f"window {window:,}, stride {stride:,}: each token is scored once; beyond the first window, it has at least "
          f"{window - stride:,} tokens of context\n"
          f"loss per token {loss:10.4f} nats\n"
          f"perplexity     {perplexity(loss):10.4f}\n"
          f"bits per byte  {bits_per_byte(loss, len(ids) - 1, n_bytes):10.4f}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = argparse.ArgumentParser(prog="python -m gpt2np.evaluate",
                                     description="Measure how well a model predicts a text.")
    parser.add_argument("file", metavar="FILE", help="text in UTF-8; <|endoftext|> in it ends a document")
    parser.add_argument("--model", required=True, help="demo, 124M, ..., or the path of a model's folder")
    parser.add_argument("--window", type=int, metavar="N", help="tokens that the model sees at a time (its n_ctx)")
    parser.add_argument("--stride", type=int, metavar="N",
                        help="tokens from one window to the next (half a window); fewer give more context, and take "
                             "longer")
    parser.add_argument("--threads", type=int, metavar="N", help="how many windows are worked out at once (all cores)")
    options = parser.parse_args(arguments)
    for name in ("window", "stride", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"argument --{name}: expected 1 or more, got {value}")
    return options


if __name__ == "__main__":
    sys.exit(main())
