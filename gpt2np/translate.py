"""Translate texts:  python -m gpt2np.translate TEXT...

Chapter: S000 3.4.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.translate")

import argparse
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .adapt.replacing import merge_if_possible
from .blas import say_what_to_set
from .checkpoints.loading import TRANSLATION
from .command import Parser, not_empty, option, real, run_command, whole
from .decoding import BeamRules, Translated, best_translations, translate
from .decoding.beams import PENALTIES
from .decoding.translating import TOGETHER, looked_at, source_of
from .hints import Array
from .interrupts import leave
from .memory import expect_room, keep_freed_memory
from .model_names import load_with_tokenizer, name_of
from .models.transformer import Transformer
from .sampling import GenerationError, Sampler
from .terminal import printable, texts_given, width, wrapped
from .text.columns import columns_of, fitting, padded
from .text.protocol import AnyTokenizer, characters_of
from .text.scripts import foreign_script

BEAMS = 4
SAMPLER_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "typical_p")
BEAM_OPTIONS = ("num_beams", "n_best", "scores", "length_penalty", "penalty", "coverage_penalty", "attention")
SHADES, FROM = " ░▒▓█", (0.05, 0.15, 0.3, 0.6)         # of a weight, and the least that each but the first stands for
KNOWN_AS = {"-m": "--model", "--model-name-or-path": "--model", "--beam": "--num-beams", "--beam-size": "--num-beams",
            "--beams": "--num-beams", "--nbest": "--n-best", "--num-return-sequences": "--n-best",
            "--lenpen": "--length-penalty", "--text": "the text stands for itself, as in: translate \"我喜欢读书。\"",
            "--input": "lines come from a pipe: python -m gpt2np.translate < FILE",
            "--src": "lines come from a pipe: python -m gpt2np.translate < FILE"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(run, arguments)


class Task(NamedTuple):
    """A model, and how it is to translate.

    rules     BeamRules; or, where tokens are drawn, None, and
    sampler   Sampler
    """

    model: Transformer
    tokenizer: AnyTokenizer
    options: argparse.Namespace
    rules: BeamRules | None
    sampler: Sampler | None
    rng: np.random.Generator


def run(arguments: Sequence[str] | None) -> None:
    """Translate what the arguments, a pipe, or a terminal give."""
    options = parse(arguments)
    keep_freed_memory()
    say_what_to_set()
    model, tokenizer = load_with_tokenizer(name_of(options.model, options.adapter, TRANSLATION), kind=Transformer,
                                           adapter=options.adapter)
    merge_if_possible(model)
    rules = sampler = None
    if options.drawn:
        sampler = Sampler(options.temperature, options.top_k, options.top_p, min_p=options.min_p,
                          typical_p=options.typical_p)
        sampler.filter(np.zeros(model.config.n_vocab), [], [])          # what it cannot do is said before all else
    else:
        rules = BeamRules(options.num_beams, options.length_penalty, options.penalty,
                          early_stopping=options.num_beams == 1)        # of one beam: the likeliest token each time
        expect_room_for_beams(model, options.num_beams)
    task = Task(model, tokenizer, options, rules, sampler, np.random.default_rng(options.seed))
    began, n = time.perf_counter(), 0
    for texts in texts_given(options.texts, "translated", TOGETHER):
        show(task, texts, n)
        n += len(texts)
    if n > 1 and sys.stderr.isatty():
        seconds = time.perf_counter() - began
        print(f"{n} texts in {seconds:.2f} s, {n / seconds:.1f} texts/s", file=sys.stderr)


def show(task: Task, texts: Sequence[str], before: int) -> None:
    """Translate some texts, and print what comes of it.

    before   how many texts there were before these
    """
    options = task.options
    for i, text in enumerate(texts, before + 1):
        for remark in remarks(task, text):
            print(wrapped(f"note: {remark}" if i == 1 and len(texts) == 1 else f"note: text {i}: {remark}"),
                  file=sys.stderr)
    if task.sampler is not None:
        found = [translate(task.model, task.tokenizer, texts, task.sampler, task.rng) for _ in range(options.n_best)]
        for i, versions in enumerate(zip(*found), before + 1):
            for version in versions:
                print(f"{i}\t{one_line(version)}" if options.n_best > 1 else one_line(version))
    elif task.rules is not None:
        beams = best_translations(task.model, task.tokenizer, texts, task.rules, options.coverage_penalty)
        for i, (text, best) in enumerate(zip(texts, beams), before + 1):
            if not best:                                # an empty line comes back as one
                print(f"{i}\t" if options.n_best > 1 else "")
            for translation in best[:options.n_best]:
                number = f"{i}\t" if options.n_best > 1 else ""
                scores = (f"{translation.score:.4f}\t{translation.total:.4f}\t{len(translation.written)}\t"
                          if options.scores else "")
                print(number + scores + one_line(translation.text))
                if options.attention:
                    print(attention_table(task.model, task.tokenizer, text, translation))
    sys.stdout.flush()


def one_line(text: str) -> str:
    """A translation as the line that it is: where lines go in, lines come out."""
    return " ".join(text.split("\n"))


def remarks(task: Task, text: str) -> Iterator[str]:
    """What a reader of the translation should know of its text."""
    config, n = task.model.config, len(task.tokenizer.encode(text))
    if n > (most := task.model.n_ctx - config.source_end):
        yield f"it has {n:,} tokens, and the model sees {most:,}: the rest is left out"
    if script := foreign_script(text, config.scripts):
        yield f"it is in letters that the model has not learned to read, {script}; it has learned " \
              f"{', '.join(config.scripts)}: its best"


def expect_room_for_beams(model: Transformer, num_beams: int) -> None:
    """MemoryError where so many beams of TOGETHER texts cannot be had: a slip of the hand, 10000000 for 10."""
    config = model.config
    each = 8 * config.n_layer * config.n_ctx * config.n_embd + config.n_vocab
    expect_room(4 * num_beams * each, f"--num-beams {num_beams:,}")


# ---- which word looked at which


def attention_table(model: Transformer, tokenizer: AnyTokenizer, text: str, translation: Translated) -> str:
    """A row for each token of the translation, and in it a shade for each of the text: how much it was looked at.

    Tokens that are parts of one character stand together.  What does not fit the terminal is in a further table below.
    """
    source, written = source_of(model, tokenizer, text), translation.written
    end = tokenizer.end_of_text
    p = looked_at(model, source, [end or 0, *written[:-1]])
    above, beside = (characters_of(tokenizer, ids) for ids in (source, written))
    p = np.stack([p[:, columns].sum(axis=1) for _, columns in above], axis=1)       # (T, columns)
    p = np.stack([p[rows].mean(axis=0) for _, rows in beside])                      # (rows, columns)
    names, heads = (["(end)" if ids[places[0]] == end else printable(data) for data, places in found]
                    for ids, found in ((written, beside), (source, above)))
    side = min(max(map(columns_of, names)), 16)
    tables, first = [], 0
    while first < len(heads):
        last, room = first + 1, width() - side - 2 - columns_of(heads[first])
        while last < len(heads) and columns_of(heads[last]) + 1 <= room:
            room -= columns_of(heads[last]) + 1
            last += 1
        tables.append(table(names, heads[first:last], p[:, first:last], side))
        first = last
    return "\n\n".join(tables)


def table(names: Sequence[str], heads: Sequence[str], p: Array, side: int) -> str:
    """Weights p (rows, columns) as shades, as wide as what stands above them."""
    lines = [" " * (side + 2) + " ".join(heads)]
    for name, row in zip(names, p):
        shades = (SHADES[bisect_right(FROM, weight)] * columns_of(head) for weight, head in zip(row.tolist(), heads))
        lines.append(padded(fitting(name, side), side) + "  " + " ".join(shades))
    return "\n".join(line.rstrip() for line in lines)


# ---- options


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names; options.drawn says whether tokens are drawn."""
    parser = Parser(
        "translate", usage="%(prog)s [TEXT ...] [OPTIONS]", known_as=KNOWN_AS,
        description="Translate texts, or each line of a pipe into a line; without both, each line that is typed. In "
                    "brackets: what holds where nothing is said.",
        epilog=f"Without --model, from Chinese to English: short everyday sentences, by the model that comes with the "
               f"code ({TRANSLATION}). An empty line comes back as one.",
        examples=('python -m gpt2np.translate "我喜欢读书。"',
                  'python -m gpt2np.translate "我喜欢读书。" --n-best 3 --scores',
                  "python -m gpt2np.translate < lines.txt > translated.txt"))
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="each argument is a text: put it in quotes")
    parser.add_argument("--model", type=not_empty,
                        help=f"the folder of a model that translates, or of its run ({TRANSLATION})")
    parser.add_argument("--adapter", type=not_empty, metavar="DIR",
                        help="what was trained beside a model: the folder of train --adapt; without --model, the model "
                             "is the one that it names")
    beams = parser.add_argument_group("the likeliest text as a whole")
    beams.add_argument("--num-beams", type=whole(1), metavar="N",
                       help=f"this many texts are followed side by side; 1: the likeliest token each time ({BEAMS})")
    beams.add_argument("--length-penalty", type=real, metavar="X",
                       help="the largest log p / length^X wins: the larger X, the longer (1.0)")
    beams.add_argument("--penalty", choices=PENALTIES,
                       help="wu: divide by ((5 + length) / 6)^X, as Wu et al. 2016 do (power)")
    beams.add_argument("--coverage-penalty", type=real, metavar="X",
                       help="how much it counts against a translation that it has not looked at all of the text; Wu "
                            "et al. have 0.2 (0.0)")
    drawn = parser.add_argument_group("instead: tokens are drawn", "With one of these options.")
    drawn.add_argument("--temperature", type=real, metavar="T", help="at 0, always the likeliest token (1.0)")
    drawn.add_argument("--top-k", type=whole(1), metavar="K", help="only the K likeliest tokens (all)")
    drawn.add_argument("--top-p", type=real, metavar="P", help="only the likeliest tokens, up to the mass P (1.0)")
    drawn.add_argument("--min-p", type=real, metavar="P",
                       help="only tokens at least P times as likely as the best (0.0)")
    drawn.add_argument("--typical-p", type=real, metavar="P",
                       help="only tokens whose surprise is nearest to the mean, up to the mass P (1.0)")
    drawn.add_argument("--seed", type=whole(0), metavar="N",
                       help="the seed of the random numbers (another one each time)")
    shown = parser.add_argument_group("how it is shown")
    shown.add_argument("--n-best", type=whole(1), metavar="N",
                       help="this many translations of each text, a line each, with the text's number before it (1)")
    shown.add_argument("--scores", action="store_true", default=None,
                       help="before each translation: its score, the sum of its log p, and how many tokens it has, "
                            "the end among them, with tabs between")
    shown.add_argument("--attention", action="store_true", default=None,
                       help="below each translation: which of its tokens looked at which of the text's, in shades: "
                            f"{', '.join(f'{shade} from {least}' for shade, least in zip(SHADES[1:], FROM))}")
    options = parser.parse_args(arguments)
    given = {name for name, value in vars(options).items() if value is not None}
    options.drawn = bool(given & {*SAMPLER_OPTIONS, "seed"})
    if options.drawn and (beam := next((name for name in BEAM_OPTIONS if name in given - {"n_best"}), None)):
        other = next(name for name in (*SAMPLER_OPTIONS, "seed") if name in given)
        parser.error(f"{option(beam)} and {option(other)} exclude each other: what is drawn is not ranked")
    for name in ("length_penalty", "penalty", "coverage_penalty"):
        if options.num_beams == 1 and name in given:
            parser.error(f"{option(name)}: expected only with --num-beams of 2 or more, of which it says which wins")
    usual = {"num_beams": max(BEAMS, options.n_best or 1), "length_penalty": 1.0, "penalty": PENALTIES[0],
             "coverage_penalty": 0.0, "temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "n_best": 1,
             "scores": False, "attention": False}
    for name, value in usual.items():
        if name not in given:
            setattr(options, name, value)
    if not 0 <= options.coverage_penalty <= 100:
        parser.error(f"--coverage-penalty: expected a number from 0 to 100, got {options.coverage_penalty}")
    if not options.drawn and options.n_best > options.num_beams:
        parser.error(f"--n-best: expected at most the {options.num_beams} of --num-beams, got {options.n_best}")
    if options.drawn and options.temperature == 0 and options.n_best > 1:
        parser.error("--n-best: expected 1 at --temperature 0, where all would be the same")
    try:
        BeamRules(options.num_beams, options.length_penalty, options.penalty)
        Sampler(options.temperature, options.top_k, options.top_p, min_p=options.min_p, typical_p=options.typical_p)
    except GenerationError as error:
        parser.error(option(str(error)))
    return options


if __name__ == "__main__":
    leave(main())
