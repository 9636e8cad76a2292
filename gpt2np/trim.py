"""Cut parts of a GPT-2 or BERT away, and see what it costs:  python -m gpt2np.trim FILE --model MODEL --layers 3,4

A row for the model as it is, and one after each cut: how many bytes it needs in memory, and how well a GPT-2 predicts
text, or a BERT what is hidden in it.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.trim")

import argparse
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .adapt.narrow import scheme_of
from .adapt.trimming import (
    Heads,
    body_of,
    check_heads_to_go,
    drop_blocks,
    heads_of,
    importances,
    keep_tokens,
    least,
    magnitudes,
    take_out_heads,
    zero_heads,
)
from .checkpoints import loading
from .checkpoints.errors import CheckpointError
from .checkpoints.parameters import size_of
from .command import Parser, got, not_empty, run_command
from .hints import Array
from .interrupts import leave
from .layers.module import Module
from .memory import keep_freed_memory
from .model_names import load_with_tokenizer
from .models.bert import BERT, BertForPreTraining
from .models.gpt2 import GPT2
from .models.heads import Classifier
from .terminal import show_progress, table, wrapped
from .text.bpe import at_breaks
from .text.protocol import AnyTokenizer
from .text.smaller import smaller
from .text.utf8 import expect_readable, read_utf8
from .text.vocabulary import END_OF_TEXT
from .text.wordpiece import WordPiece
from .training import gaps
from .training.batches import map_tokens, read_texts, write_tokens
from .training.errors import TrainingError
from .training.evaluation import (
    bits_per_byte,
    bytes_and_words,
    evaluate,
    expect_two,
    perplexity,
    scored_windows,
    windows,
)
from .training.parallel import DataParallel

IMPORTANCE, MAGNITUDE = BY = ("importance", "magnitude")
NAMED = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:-([0-9]{1,4}))?")         # heads of a block: 2.0, 2.3-5
RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")                       # blocks: 2, 3-5


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(trim, arguments)


class Row(NamedTuple):
    """What was found out about a model.

    label    what was done to it
    bytes    of all its arrays
    loss     of each token of the text, in nats: None where nothing is measured
    bits     of a GPT-2: the same for each byte of the text
    right    of a BERT: how often it tells what is hidden
    unknown  which part of the tokens is [UNK]
    """

    label: str
    bytes: int
    loss: float | None = None
    bits: float | None = None
    right: float | None = None
    unknown: float = 0.0


def trim(arguments: Sequence[str] | None) -> None:
    """Print the table, and write the model, if that is asked for."""
    options = parse(arguments)
    if options.out:
        loading.expect_new(options.out)
    expect_readable(filter(None, [options.file, options.vocab]))
    model, tokenizer = load_with_tokenizer(options.model, kind=Module)
    check(options, model)
    if scheme := scheme_of(model):
        raise CheckpointError(options.model, f"its matrices are in {scheme} already: trim the model that it was made "
                              "from, and quantize what comes of it")
    keep_freed_memory()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        vocab = copied(options.vocab, Path(folder, "vocab"))
        text = vocab if options.file in (None, options.vocab) else copied(options.file, Path(folder, "text"))
        rows, tokenizer = cut(options, model, tokenizer, text, vocab)
    show_table(options, rows)
    if options.out:
        loading.save(options.out, model, tokenizer)
        print(wrapped(f"{options.model}, trimmed, is in {options.out}: {described(model)}, {size_of(model) / 1e6:,.1f} "
                      "MB"))


def check(options: argparse.Namespace, model: Module) -> None:
    """End with a sentence where a model cannot be cut, or not be measured, as it is asked: before the work begins."""
    if not isinstance(model, (GPT2, BERT, BertForPreTraining, Classifier)):
        raise CheckpointError(options.model, f"expected a GPT-2 or a BERT, found a {type(model).__name__}, of which "
                              "nothing is cut")
    if predicts(model):
        return
    what = f"expected a model that predicts a text, or what is hidden in it, got a {type(model).__name__}"
    if options.file:
        raise TrainingError(f"FILE: {what}, which cannot be measured on it: leave FILE out; evaluate measures what "
                            "is written")
    if needs_importance(options):
        raise TrainingError(f"--heads {options.heads}: {what}: take --by {MAGNITUDE}")


def predicts(model: Module) -> bool:
    """Whether a model can be measured on a text."""
    return isinstance(model, (GPT2, BertForPreTraining))


def needs_importance(options: argparse.Namespace) -> bool:
    """Whether it is to be found out on a text which heads matter least."""
    return isinstance(options.heads, int) and options.heads > 0 and options.by == IMPORTANCE


def copied(path: str | None, copy: Path) -> Path | None:
    """A copy of a text, which may come through a pipe and is read several times; None where there is no path."""
    if path is None:
        return None
    with open(copy, "w", encoding="utf-8", newline="") as file:
        file.writelines(part for part in read_utf8(path))
    return copy


def cut(options: argparse.Namespace, model: Module, tokenizer: AnyTokenizer, text: Path | None,
        vocab: Path | None) -> tuple[list[Row], AnyTokenizer]:
    """Trim a model as it is asked for: the rows of the table, and the tokenizer that it has then."""
    expect_cuts(options, model)
    row = partial(measured, model, text, options.threads)
    rows = [row("as it is", tokenizer)]
    if options.layers is not None:
        drop_blocks(model, options.layers)
        rows.append(row(f"without block{'s' * (len(options.layers) > 1)} {spans(options.layers)}", tokenizer))
    if options.heads is not None:
        heads: Heads = heads_to_go(options, model, tokenizer, text)
        n = sum(map(len, heads.values()))
        (take_out_heads if options.take_out else zero_heads)(model, heads)
        stay = [i for i in range(len(body_of(model).h) + len(options.layers or ())) if i not in (options.layers or ())]
        which = ", ".join(f"{stay[i]}.{spans(some, f', {stay[i]}.')}" for i, some in sorted(heads.items()))
        print(wrapped(f"heads {'taken out' if options.take_out else 'set to zero'}, block.head: {which or 'none'}"))
        rows.append(row(f"without {n} head{'s' * (n != 1)}", tokenizer))
    if vocab is not None:
        used = used_in(vocab, model, tokenizer)
        if not used:
            raise TrainingError(f"--vocab {options.vocab}: expected a text, whose tokens stay, got an empty file")
        tokenizer, ids = smaller(tokenizer, used)
        keep_tokens(model, ids)
        rows.append(row(f"with {len(ids):,} tokens", tokenizer))
    return rows, tokenizer


def expect_cuts(options: argparse.Namespace, model: Module) -> None:
    """AdaptError or TrainingError for blocks and heads that cannot go, by the numbers that they were named by: it is
    said before the work begins.
    """
    if isinstance(options.heads, dict):
        check_heads_to_go(model, options.heads)
        if wrong := sorted(set(options.layers or ()) & options.heads.keys()):
            raise TrainingError(f"--heads: expected heads of blocks that stay, got some of block {wrong[0]}, which "
                                "--layers drops")
    trial = model.replica()
    drop_blocks(trial, options.layers or ())
    if isinstance(options.heads, int):
        least(dict.fromkeys(heads_of(trial), 0.0), options.heads)


def used_in(text: Path, model: Module, tokenizer: AnyTokenizer) -> set[int]:
    """The tokens that a text needs, as `smaller` asks for them."""
    if not isinstance(tokenizer, WordPiece):
        return set(np.unique(encoded(text, tokenizer)).tolist())
    allowed = (END_OF_TEXT,) if isinstance(body_of(model), GPT2) else ()
    return {i for parts in read_texts([text]) for part in at_breaks(parts) for i in tokenizer.needed(part, allowed)}


def heads_to_go(options: argparse.Namespace, model: Module, tokenizer: AnyTokenizer, text: Path | None) -> Heads:
    """The heads that are named, or as many of those that matter least; by the numbers of the blocks that are left."""
    if isinstance(options.heads, int):
        if not needs_importance(options):
            return least(magnitudes(model), options.heads)
        assert text is not None                         # parse has seen to it
        with threadpool_limits(options.threads, "blas"):
            return least(importances(model, windows_of(model, text, tokenizer)), options.heads)
    return {i - sum(j < i for j in options.layers or ()): which for i, which in options.heads.items()}


def windows_of(model: Any, text: Path, tokenizer: Any) -> Iterator[tuple[Array, ...]]:
    """The text in windows side by side, one at a time, as the model's loss takes them."""
    watched = partial(tqdm, desc="importance", unit=" windows", delay=1, leave=False, disable=None)
    if isinstance(model, BertForPreTraining):
        rows = gaps.rows_of(text, tokenizer, model.n_ctx)
        yield from watched(gaps.some_gaps(rows, tokenizer), total=len(rows))
        return
    tokens = encoded(text, tokenizer)
    for place in watched(list(windows(expect_two(tokens), model.n_ctx, model.n_ctx))):
        yield scored_windows(tokens, [place])


def measured(model: Any, text: Path | None, threads: int, label: str, tokenizer: Any) -> Row:
    """The row of a model as it is now."""
    size = size_of(model)
    if text is None or not predicts(model):
        return Row(label, size)
    with DataParallel(model, threads) as parallel, \
            tqdm(desc=f"measuring, {label}", unit=" windows", delay=1, leave=False, disable=None) as bar:
        if isinstance(model, BertForPreTraining):
            rows = gaps.rows_of(text, tokenizer, model.n_ctx)
            told = gaps.measure(parallel, rows, tokenizer, partial(show_progress, bar))
            of_all = sum(map(len, rows)) - 2 * len(rows)
            return Row(label, size, told.loss, right=told.right, unknown=1 - told.pieces / of_all)
        tokens = encoded(text, tokenizer)
        n = expect_two(tokens) - 1
        loss = evaluate(parallel, tokens, model.n_ctx, max(1, model.n_ctx // 2), partial(show_progress, bar))
    n_bytes, _ = bytes_and_words(tokens[1:], tokenizer)
    unknown = float((tokens == tokenizer.unk).mean()) if isinstance(tokenizer, WordPiece) else 0.0
    return Row(label, size, loss, bits_per_byte(loss, n, n_bytes), unknown=unknown)


def encoded(text: Path, tokenizer: AnyTokenizer) -> Array:
    """The tokens of a text (n,), in a file beside it while they are looked at."""
    path = text.with_name(f"{text.name}.tokens")
    path.unlink(missing_ok=True)
    write_tokens(path, read_texts([text], lambda words: None, True), tokenizer)
    return map_tokens(path, tokenizer)


def described(model: Module) -> str:
    """The sizes of a model that are not what they were."""
    body = body_of(model)
    heads, all_heads = len(heads_of(model)), body.config.n_head * len(body.h)
    return f"{len(body.h)} blocks, {heads} heads" + f" of {all_heads}" * (heads < all_heads) + \
           f", {body.config.n_vocab:,} tokens"


def spans(numbers: Collection[int], between: str = ",") -> str:
    """Numbers, those that follow one another as first-last: 1,3-5."""
    found = list[list[int]]()
    for i in sorted(numbers):
        if found and i == found[-1][-1] + 1:
            found[-1].append(i)
        else:
            found.append([i])
    return between.join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in found)


def show_table(options: argparse.Namespace, rows: Sequence[Row]) -> None:
    """A row after each cut."""
    measures, of_gaps = rows[0].loss is not None, rows[0].right is not None
    if measures:
        print(wrapped(f"{options.model} on {options.file or options.vocab}"))
    found = []
    for row in rows:
        numbers = f"{row.bytes / 1e6:8.1f}"
        if row.loss is not None:
            numbers += f"{perplexity(row.loss):12.5g}"
            numbers += f"{row.bits:10.3f}" if row.bits is not None else f"{row.right:10.1%}"
        found.append((row.label, numbers))
    heading = f"{'perplexity':>12}{'right' if of_gaps else 'bits/byte':>10}"
    print(table(f"{'MB':>8}" + (heading if measures else " " * len(heading)), found))
    if of_gaps:
        print(wrapped(f"of each piece, hidden once, one in {gaps.EVERY} at a time; right: it was the likeliest"))
    if options.vocab and measures:
        print(wrapped("perplexity is by token, and a probability is shared among fewer tokens now; their logits are "
                      "what they were"))
    if rows[-1].unknown > rows[0].unknown:
        print(wrapped(f"note: {rows[-1].unknown:.1%} of the text's pieces are [UNK] now, for words that the smaller "
                      f"vocabulary cannot spell; before, {rows[0].unknown:.1%} were"))


# ---- options


def blocks(argument: str) -> list[int]:
    """The type of an option that names blocks: 1,3-5."""
    found = list[int]()
    for part in argument.split(","):
        match = RANGE.fullmatch(part.strip())
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise argparse.ArgumentTypeError(f"expected blocks by their numbers from 0 on, as in 1,3-5, got "
                                             f"{got(argument)}")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return sorted(set(found))


def some_heads(argument: str) -> int | Heads:
    """The type of an option that says how many heads, or which: 12, or 0.3,2.0-1."""
    if re.fullmatch("[0-9]{1,6}", argument):
        return int(argument)
    found = dict[int, list[int]]()
    for part in argument.split(","):
        match = NAMED.fullmatch(part.strip())
        if not match or (match[3] and int(match[3]) < int(match[2])):
            raise argparse.ArgumentTypeError("expected how many heads, as 12, or which, by block and number from 0 on, "
                                             f"as in 0.3,2.0-1, got {got(argument)}")
        found.setdefault(int(match[1]), []).extend(range(int(match[2]), int(match[3] or match[2]) + 1))
    return {i: sorted(set(which)) for i, which in found.items()}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    parser = Parser("trim", usage="%(prog)s [FILE] --model MODEL [OPTIONS]",
                    description="Cut away blocks, heads or tokens of a GPT-2 or a BERT, measure what that costs, and "
                                "write what is left. In brackets: what holds where nothing is said.",
                    epilog="What was lost, training heals in part: train --init-from DIR.",
                    known_as={"-m": "--model", "-o": "--out", "--output": "--out", "--drop-layers": "--layers",
                              "--blocks": "--layers", "--prune-heads": "--heads", "--vocabulary": "--vocab",
                              "--text": "the text stands for itself, as in: trim FILE --model demo --layers 3",
                              "": "the model goes behind --model"},
                    examples=("python -m gpt2np.trim play.txt --model demo --layers 3,4 --out small",
                              "python -m gpt2np.trim play.txt --model demo --heads 12 --out small --take-out",
                              "python -m gpt2np.trim --model demo --vocab play.txt --out small",
                              "python -m gpt2np.trim --model run/best --vocab reviews.tsv --out small"))
    parser.add_argument("file", nargs="?", type=not_empty, metavar="FILE",
                        help="text in UTF-8 to measure by, and to tell which heads matter (that of --vocab); for a "
                             "BERT, a sentence in each line")
    parser.add_argument("--model", required=True, type=not_empty,
                        help=f"one of {', '.join((*loading.GPT2_NAMES, loading.FILL))}; or the path of a model's "
                             "folder, also of one with a head")
    parser.add_argument("--out", type=not_empty, metavar="DIR",
                        help="write the model into this new folder, which the other commands take as a model")
    parser.add_argument("--layers", type=blocks, metavar="WHICH",
                        help="drop these blocks, counted from 0, as in 1,3-5")
    parser.add_argument("--heads", type=some_heads, metavar="WHICH",
                        help="drop so many heads, as 12, those that matter least; or these, by block and number, as in "
                             "0.3,2.0-1")
    parser.add_argument("--by", choices=BY,
                        help="which heads matter least: by the gradient of a gate at each, on FILE, or by the norm of "
                             f"their weights ({IMPORTANCE})")
    parser.add_argument("--take-out", action="store_true",
                        help="make the matrices smaller, in Hugging Face's layout with pruned_heads, instead of "
                             "setting heads to zero in an ordinary one")
    parser.add_argument("--vocab", type=not_empty, metavar="FILE",
                        help="keep the tokens of this text alone, and every byte; of a vocab.txt, the pieces of this "
                             "text and the special ones")
    parser.add_threads("how many cores compute (all)")
    options = parser.parse_args(arguments)
    if options.layers is None and options.heads is None and options.vocab is None:
        parser.error("expected --layers, --heads or --vocab, for what is to be cut")
    if not (options.file or options.vocab or options.out):
        parser.error("expected FILE, for a table, or --out, for a model, or both")
    if options.by and not isinstance(options.heads, int):
        parser.error("--by: expected --heads with it, and how many")
    if options.take_out and options.heads is None:
        parser.error("--take-out: expected --heads with it")
    options.by = options.by or IMPORTANCE
    if needs_importance(options) and not (options.file or options.vocab):
        parser.error(f"--heads {options.heads}: expected FILE, on which it is found out which heads matter least; or "
                     f"--by {MAGNITUDE}")
    return options


if __name__ == "__main__":
    leave(main())
