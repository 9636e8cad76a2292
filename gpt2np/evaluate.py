"""Measure how well a model predicts a text, or translates:  python -m gpt2np.evaluate --model MODEL FILE

A GPT-2 is measured on texts; a Transformer on pairs of texts, a source, a tab and its target in each line.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.evaluate")

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .adapt.replacing import merge_if_possible
from .checkpoints import loading
from .command import MAX_THREADS, Parser, not_empty, option, real, run_command, whole
from .decoding import BeamRules, best_translations, translate
from .hints import Array
from .interrupts import leave
from .layers.module import Module
from .memory import cores, keep_freed_memory
from .model_names import load_with_tokenizer
from .models.gpt2 import GPT2
from .models.transformer import Transformer
from .terminal import wrapped
from .text.bleu import SMOOTHINGS, TOKENISATIONS, corpus_bleu
from .text.protocol import AnyTokenizer, end_of
from .training.batches import PART, map_tokens, read_texts, write_tokens
from .training.errors import TrainingError
from .training.evaluation import bits_per_byte, evaluate, perplexity
from .training.pairs import PairBatches, read_pairs
from .training.parallel import DataParallel
from .training.translation import encoded, loss_and_accuracy, tokenisation_of

OF_PAIRS = ("num_beams", "length_penalty", "tokenise", "smooth")
MOST_POSITIONS = 4096           # of a batch of pairs
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
    """Print loss, perplexity and bits per byte; of a model that translates, loss, accuracy and BLEU."""
    options, parser = parse(arguments)
    for path in options.files:
        if not Path(path).is_fifo():                    # whoever writes into a pipe ends when it is closed
            open(path, "rb").close()                    # what cannot be read is said before the work begins
    model, tokenizer = load_with_tokenizer(options.model, kind=Module, adapter=options.adapter)
    merge_if_possible(model)
    if not isinstance(model, GPT2 | Transformer):
        raise TrainingError("--model: expected a model that goes on from a text, or one that translates, got a "
                            f"{type(model).__name__}: a BERT is measured while it is trained")
    others = [name for name in ("window", "stride") if getattr(options, name)] if isinstance(model, Transformer) else \
        [name for name in OF_PAIRS if getattr(options, name) is not None]
    if others:
        whose = "one that goes on from a text" if isinstance(model, Transformer) else "one that translates"
        parser.error(f"{option(others[0])}: expected with another model, {whose}")
    if isinstance(model, Transformer):
        keep_freed_memory()
        measure_pairs(options, model, tokenizer)
        return
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


def measure_pairs(options: argparse.Namespace, model: Transformer, tokenizer: AnyTokenizer) -> None:
    """Print loss and accuracy of the targets' tokens, and how good the translations of the sources are."""
    pairs = list(read_pairs(options.files))
    if not pairs:
        raise TrainingError("pairs: expected at least one, got none: give more lines")
    n_ctx, threads, num_beams = model.n_ctx, options.threads or cores(), options.num_beams or 1
    ids, cut = encoded(pairs, tokenizer, n_ctx, model.config.source_end)
    if cut:
        print(wrapped(f"note: {cut:,} of {len(pairs):,} pairs have a side of more than the {n_ctx:,} tokens that the "
                      "model sees: what is beyond is left out of loss and accuracy, and not translated"))
    batches = PairBatches(ids, max(MOST_POSITIONS, 2 * n_ctx), end_of(tokenizer), 0)
    with tqdm(desc="measuring", unit=" pairs", delay=1, leave=False, disable=None) as bar:
        n = len(batches) + len(pairs)
        with DataParallel(model, threads) as parallel:
            figures = loss_and_accuracy(parallel, batches, lambda done: show(bar, done, n))
        sources, references = zip(*pairs)
        begin = len(batches)
        with threadpool_limits(threads, "blas"):
            if num_beams == 1:
                texts = translate(model, tokenizer, sources, done=lambda done: show(bar, begin + done, n))
            else:
                rules = BeamRules(num_beams, 1.0 if options.length_penalty is None else options.length_penalty)
                texts = [beams[0].text if beams else "" for beams in best_translations(
                    model, tokenizer, sources, rules, done=lambda done: show(bar, begin + done, n))]
    bleu = corpus_bleu(texts, references, options.tokenise or tokenisation_of(references), options.smooth or "exp")
    right = sum(map(str.__eq__, texts, references))
    print(wrapped(f"{options.model} on {' and '.join(options.files)}: {len(pairs):,} pairs, "
                  f"{int(batches.lengths[:, 1].sum()):,} tokens of targets, the ends among them"))
    loss = figures["val_loss"]
    print(f"loss per token {loss:10.4f} nats\n"
          f"perplexity     {perplexity(loss):10.4f}\n"
          f"likeliest      {figures['val_accuracy']:10.1%} of the tokens, each given those before it\n"
          f"exact          {right / len(pairs):10.1%} of the translations, "
          f"{'the likeliest token each time' if num_beams == 1 else f'the best of {num_beams} beams'}")
    print(wrapped(str(bleu)))


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


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Parser]:
    """The arguments by their names, and the parser, for what only the model can tell."""
    parser = Parser("evaluate", usage="%(prog)s FILE... --model MODEL [OPTIONS]",
                    description="Measure how well a model predicts a text, or each of several and all together; or how "
                                "well a model that translates does so, of all pairs together. In brackets: what holds "
                                "where nothing is said.",
                    known_as={"-m": "--model", "--context": "--window", "--max-length": "--window",
                              "": "the model goes behind --model"},
                    examples=("python -m gpt2np.evaluate play.txt --model demo",
                              "python -m gpt2np.evaluate play.txt --model run/best --stride 32",
                              "python -m gpt2np.evaluate pairs.tsv --model translation --num-beams 4"))
    parser.add_argument("files", nargs="+", type=not_empty, metavar="FILE",
                        help="text in UTF-8; <|endoftext|> in it ends a document. Or lines of source, tab, target")
    parser.add_argument("--model", required=True, type=not_empty,
                        help=f"one of {', '.join(loading.NAMES)}; or the path of a model's folder")
    parser.add_argument("--adapter", type=not_empty, metavar="DIR",
                        help="what was trained beside the model: the folder of train --adapt, or of peft's")
    parser.add_argument("--window", type=whole(1), metavar="N", help="tokens that the model sees at a time (its n_ctx)")
    parser.add_argument("--stride", type=whole(1), metavar="N",
                        help="tokens from one window to the next (half a window); fewer give more context, and take "
                             "longer")
    parser.add_argument("--threads", type=whole(1, MAX_THREADS), metavar="N",
                        help="how many windows, or parts of a batch, are worked out at once (all cores)")
    pairs = parser.add_argument_group("of a model that translates")
    pairs.add_argument("--num-beams", type=whole(1), metavar="N",
                       help="for BLEU, the best of so many beams (1: the likeliest token each time)")
    pairs.add_argument("--length-penalty", type=real, metavar="X", help="of the beams: see translate (1.0)")
    pairs.add_argument("--tokenise", choices=TOKENISATIONS,
                       help="what BLEU takes for a token (zh where the targets are Chinese, 13a elsewhere)")
    pairs.add_argument("--smooth", choices=SMOOTHINGS, help="what BLEU does where no n-gram is right (exp)")
    options = parser.parse_args(arguments)
    if options.length_penalty is not None and not -10 <= options.length_penalty <= 10:
        parser.error(f"--length-penalty: expected a number from -10 to 10, got {options.length_penalty}")
    if options.length_penalty is not None and options.num_beams in (None, 1):
        parser.error("--length-penalty: expected only with --num-beams of 2 or more")
    return options, parser


if __name__ == "__main__":
    leave(main())
