"""Measure how well a model predicts a text, translates, or labels:  python -m gpt2np.evaluate --model MODEL FILE

A GPT-2 is measured on texts, several of them in a table, and by the last words of LAMBADA and the endings of HellaSwag;
a Transformer on pairs of texts, a source, a tab and its target in each line; a BERT by the pieces of a text, each
hidden once; and what finetune has trained on labelled examples, which several models can answer together.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.evaluate")

import argparse
import functools
import math
import operator
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from .adapt.replacing import merge_if_possible
from .blas import say_what_to_set
from .checkpoints import loading
from .command import Parser, not_empty, option, real, run_command, whole
from .decoding import BeamRules, best_translations, translate
from .ensemble import Ensemble
from .grading import grade, show_grades
from .interrupts import leave
from .labelling import as_learned
from .layers.module import Module
from .memory import keep_freed_memory
from .model_names import adapted, load_with_tokenizer
from .models.bert import BertForPreTraining
from .models.gpt2 import GPT2
from .models.heads import Classifier
from .models.protocols import LanguageModel
from .models.transformer import Transformer
from .questions import Template, accuracies, last_words, read_hellaswag, read_lambada, rounded, wilson
from .scoring import Score, score_all
from .terminal import show_progress, table, width, wrapped
from .text.bleu import SMOOTHINGS, TOKENISATIONS, corpus_bleu
from .text.protocol import AnyTokenizer, end_of
from .text.utf8 import expect_readable
from .training import gaps
from .training.batches import map_tokens, read_texts, write_tokens
from .training.errors import TrainingError
from .training.evaluation import BINS, Measures, bits_per_byte, bytes_and_words, measure, perplexity
from .training.pairs import PairBatches, read_pairs
from .training.parallel import DataParallel
from .training.translation import encoded, loss_and_accuracy, tokenisation_of

# What models do that can be measured, and the options of one kind alone.
DOES: dict[type[Module], str] = {
    GPT2: "goes on from a text", Transformer: "translates", BertForPreTraining: "fills gaps",
    Classifier: "has learned from labelled examples"}
OPTIONS: dict[type[Module], tuple[str, ...]] = {
    GPT2: ("window", "stride", "calibration", "lambada", "hellaswag"),
    Transformer: ("num_beams", "length_penalty", "tokenise", "smooth")}
MOST_POSITIONS = 4096           # of a batch of pairs
FOREIGN = 0.8                   # tokens for a byte, from which on a text is one that the vocabulary was not made for


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(show, arguments)


class Measured(NamedTuple):
    """What was found out about a text, or about several."""

    measures: Measures      # of the tokens that were scored
    bytes: int              # that they stand for
    words: int              # that these are: what stands between white space

    @property
    def bits(self) -> float:
        """The loss in bits for each byte."""
        return bits_per_byte(self.measures.loss, self.measures.tokens, self.bytes)

    def perplexity_by(self, n: int) -> float:
        """The perplexity of one of n parts of the text, whatever these are."""
        return perplexity(self.measures.loss * self.measures.tokens / n) if n else math.inf

    def __add__(self, other: "Measured") -> "Measured":                     # type: ignore[override]
        """That of both."""
        return Measured(self.measures + other.measures, self.bytes + other.bytes, self.words + other.words)


def show(arguments: Sequence[str] | None) -> None:
    """Print loss, perplexity and bits per byte; of a model that translates, loss, accuracy and BLEU."""
    options, parser = parse(arguments)
    expect_readable(filter(None, [*options.files, options.lambada, options.hellaswag]))
    questions = read_hellaswag(options.hellaswag) if options.hellaswag else []
    passages = read_lambada(options.lambada) if options.lambada else []
    loaded = [load_with_tokenizer(name, kind=Module) for name in options.model]
    if options.adapter:
        (model, tokenizer), = loaded
        loaded = [(adapted(model, options.adapter), tokenizer)]
    for name, (model, _) in zip(options.model, loaded):
        merge_if_possible(model)
        check(options, parser, name, model)
    for kind, measure_all in ((Classifier, measure_answers), (BertForPreTraining, measure_gaps)):
        if any(isinstance(model, kind) for model, _ in loaded):
            expect_all(kind, options.model, loaded)
            keep_freed_memory()
            measure_all(options, loaded)
            return
    names = list(options.model)
    if options.ensemble:
        names.append(f"the mean of {len(names)}")
        loaded.append(ensemble_of(options.model, loaded))
    keep_freed_memory()
    say_what_to_set()
    if isinstance(loaded[0][0], Transformer):
        measure_pairs(options, " and ".join(options.model), *loaded[-1])
        return
    rows, lines = list[tuple[str, Measured]](), list[str]()
    for name, (model, tokenizer) in zip(names, loaded):
        rows += measure_texts(options, name, model, tokenizer, alone=len(loaded) == 1)
        if passages:
            asked: list[tuple[str, list[str]]] = [(context, [word]) for context, word in passages]
            told = last_words([one for one, in scored(options, model, tokenizer, asked)])
            lines.append(f"{name} on {options.lambada}: {share('last word', told.words, told.n)}, "
                         f"{share('last token', told.tokens, told.n)}, perplexity {rounded(told.perplexity)}")
        if questions:
            asked = [*map(Template().asked, questions)]
            found = accuracies(questions, scored(options, model, tokenizer, asked))
            lines.append(f"{name} on {options.hellaswag}: "
                         + ", ".join(share(norm, k, len(questions)) for norm, k, _ in found if norm != "greedy"))
    if len(rows) > 1:
        show_table(rows)
    for line in lines:
        print(wrapped(line))


def measure_answers(options: argparse.Namespace, loaded: Sequence[tuple[Any, AnyTokenizer]]) -> None:
    """Print what the answers of fine-tuned models to labelled examples are worth."""
    tasks = [as_learned(Path(options.adapter or name), *one).task for name, one in zip(options.model, loaded)]
    found = grade(options.model, tasks, options.files, bool(options.ensemble), options.threads)
    show_grades(found, tasks[0])


def measure_gaps(options: argparse.Namespace, loaded: Sequence[tuple[Any, Any]]) -> None:
    """Print how well BERTs tell the pieces of each text, each hidden once."""
    found = []
    for name, (model, tokenizer) in zip(options.model, loaded):
        with DataParallel(model, options.threads) as parallel:
            for path in options.files:
                with tqdm(desc="measuring", unit=" batches", delay=1, leave=False, disable=None) as bar:
                    told = gaps.measure(parallel, gaps.rows_of(path, tokenizer, model.n_ctx), tokenizer,
                                        partial(show_progress, bar))
                found.append((f"{name} on {path}",
                              f"{told.pieces:>9,}{short(perplexity(told.loss)):>11}{told.right:>7.1%}"))
    print(table(f"{'pieces':>9}{'perplexity':>11}{'right':>7}", found))
    print(wrapped(f"of each piece, hidden once, one in {gaps.EVERY} at a time; right: it was the likeliest. Pieces are "
                  "another thing in another vocabulary"))


def expect_all(kind: type[Module], names: Sequence[str], loaded: Sequence[tuple[Any, AnyTokenizer]]) -> None:
    """TrainingError unless all models are of one kind."""
    for name, (model, _) in zip(names, loaded):
        if not isinstance(model, kind):
            its = next(does for other, does in DOES.items() if isinstance(model, other))
            raise TrainingError(f"--model: expected models of one kind, got {name}, which {its}, beside one that "
                                f"{DOES[kind]}")


def check(options: argparse.Namespace, parser: Parser, name: str, model: Any) -> None:
    """End with a sentence where a model cannot be measured as it is asked: before any of them is."""
    if not isinstance(model, tuple(DOES)):
        raise TrainingError(f"--model: expected a model that {', or '.join(DOES.values())}, got a "
                            f"{type(model).__name__}, which has no head to do any of that")
    for kind, its_own in OPTIONS.items():
        if not isinstance(model, kind) and (others := [one for one in its_own if getattr(options, one) is not None]):
            parser.error(f"{option(others[0])}: expected with another model, one that {DOES[kind]}")
    translates = isinstance(model, Transformer)
    if options.ensemble and isinstance(model, BertForPreTraining):
        parser.error(f"--ensemble: expected with another model, got {name}, which {DOES[BertForPreTraining]}")
    if translates and len(options.model) > 1 and not options.ensemble:
        parser.error(f"--model: expected {name}, which translates, alone, or with --ensemble")
    if isinstance(model, GPT2) and options.window and options.window > model.n_ctx:
        raise TrainingError(f"--window: expected at most the model's n_ctx, {model.n_ctx}, got {options.window}")


def ensemble_of(names: Sequence[str], loaded: Sequence[tuple[Any, AnyTokenizer]]) -> tuple[Ensemble, AnyTokenizer]:
    """Several models as one, with their tokenizer; TrainingError where they have different ones."""
    (_, tokenizer), *others = loaded
    for name, (_, other) in zip(names[1:], others):
        if other.fingerprint() != tokenizer.fingerprint():
            raise TrainingError(f"--ensemble: expected models of one vocabulary, for of each token the mean of their "
                                f"probabilities is taken, got {names[0]} and {name}, whose tokens differ")
    return Ensemble([model for model, _ in loaded]), tokenizer


def measure_texts(options: argparse.Namespace, name: str, model: Any, tokenizer: AnyTokenizer,
                  alone: bool) -> list[tuple[str, Measured]]:
    """(what was measured, what was found) of each text, and of all together; where it is the model alone, it is told.
    """
    window = options.window or model.n_ctx
    stride, several = options.stride or max(1, window // 2), len(options.files) > 1
    found = []
    with DataParallel(model, options.threads) as parallel:
        for path in options.files:
            found.append((f"{name} on {path}", measure_text(path, parallel, tokenizer, window, stride, several)))
            if alone:
                windows = (window, stride) if found[-1][1].measures.tokens > window else None
                report(*found[-1], windows)
    if several:
        found.append((f"{name} on all {len(found)} files" + ", each token alike" * alone,
                      functools.reduce(operator.add, [one for _, one in found])))
        if alone:
            report(*found[-1])
    if options.calibration and found:
        show_calibration(*found[-1])
    return [] if alone else found


def measure_text(path: str, parallel: DataParallel, tokenizer: AnyTokenizer, window: int, stride: int,
                 several: bool) -> Measured:
    """One text: its tokens are in a file while it is measured, for a list of them would need many times its memory."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        write_tokens(Path(folder, "tokens"), read_texts([path], lambda words: print(wrapped(f"note: {words}")), True),
                     tokenizer)
        tokens = map_tokens(Path(folder, "tokens"), tokenizer)
        with tqdm(desc="measuring", unit=" windows", delay=1, leave=False, disable=None) as bar:
            try:
                found = measure(parallel, tokens, window, stride, partial(show_progress, bar))
            except TrainingError as error:
                raise TrainingError(f"{path}: {error}") if several else error from None
        return Measured(found, *bytes_and_words(tokens[1:], tokenizer))


def measure_pairs(options: argparse.Namespace, name: str, model: Any, tokenizer: AnyTokenizer) -> None:
    """Print loss and accuracy of the targets' tokens, and how good the translations of the sources are."""
    pairs = list(read_pairs(options.files))
    if not pairs:
        raise TrainingError("pairs: expected at least one, got none: give more lines")
    n_ctx, num_beams = model.n_ctx, options.num_beams or 1
    ids, cut = encoded(pairs, tokenizer, n_ctx, model.config.source_end)
    if cut:
        print(wrapped(f"note: {cut:,} of {len(pairs):,} pairs have a side of more than the {n_ctx:,} tokens that the "
                      "model sees: what is beyond is left out of loss and accuracy, and not translated"))
    batches = PairBatches(ids, max(MOST_POSITIONS, 2 * n_ctx), end_of(tokenizer), 0)
    with tqdm(desc="measuring", unit=" pairs", delay=1, leave=False, disable=None) as bar:
        n = len(batches) + len(pairs)
        with DataParallel(model, options.threads) as parallel:
            figures = loss_and_accuracy(parallel, batches, lambda done: show_progress(bar, done, n))
        sources, references = zip(*pairs)
        begin = len(batches)
        with threadpool_limits(options.threads, "blas"):
            if num_beams == 1:
                texts = translate(model, tokenizer, sources, done=lambda done: show_progress(bar, begin + done, n))
            else:
                rules = BeamRules(num_beams, 1.0 if options.length_penalty is None else options.length_penalty)
                texts = [beams[0].text if beams else "" for beams in best_translations(
                    model, tokenizer, sources, rules, done=lambda done: show_progress(bar, begin + done, n))]
    bleu = corpus_bleu(texts, references, options.tokenise or tokenisation_of(references), options.smooth or "exp")
    right = sum(map(str.__eq__, texts, references))
    print(wrapped(f"{name} on {' and '.join(options.files)}: {len(pairs):,} pairs, "
                  f"{int(batches.lengths[:, 1].sum()):,} tokens of targets, the ends among them"))
    loss = figures["val_loss"]
    print(f"loss per token {loss:10.4f} nats\n"
          f"perplexity     {perplexity(loss):10.4f}\n"
          f"likeliest      {figures['val_accuracy']:10.1%} of the tokens, each given those before it\n"
          f"exact          {right / len(pairs):10.1%} of the translations, "
          f"{'the likeliest token each time' if num_beams == 1 else f'the best of {num_beams} beams'}")
    print(wrapped(str(bleu)))


def scored(options: argparse.Namespace, model: LanguageModel, tokenizer: AnyTokenizer,
           asked: Sequence[tuple[str, Sequence[str]]]) -> list[list[Score]]:
    """score_all, watched."""
    return list(tqdm(score_all(model, tokenizer, asked, options.threads), desc="scoring", total=len(asked),
                     unit=" contexts", delay=1, leave=False, disable=None))


def report(of_what: str, found: Measured, windows: tuple[int, int] | None = None) -> None:
    """What was found out, in lines; of a text that is longer than a window, with the window and the stride."""
    measures = found.measures
    print(wrapped(f"{of_what}: {measures.tokens:,} tokens, {found.bytes:,} bytes of text, {found.words:,} words "
                  "between white space, after the first token, which is not scored"))
    if windows:
        window, stride = windows
        print(wrapped(f"window {window:,}, stride {stride:,}: each token is scored once; beyond the first window, it "
                      f"is predicted from the {window - stride + 1:,} before it at least"))
    interval = measures.interval()
    drawn = "" if interval is None else f", {interval[0]:.4f} to {interval[1]:.4f} with windows drawn anew"
    print(wrapped(f"loss per token {measures.loss:10.4f} nats{drawn}"))
    print(f"perplexity     {perplexity(measures.loss):10.4f}\n"
          f"  by words     {found.perplexity_by(found.words):10.5g}\n"
          f"  by bytes     {found.perplexity_by(found.bytes):10.4f}\n"
          f"bits per byte  {found.bits:10.4f}")
    print(wrapped(f"likeliest      {measures.accuracy:10.1%} of the tokens, each given those before it"))
    print(wrapped(f"ECE            {measures.calibration_error:10.1%} between how sure it is and how often right"))
    if found.bytes and found.bits > 8:
        foreign = (f": the text is foreign to the vocabulary, which needs {measures.tokens / found.bytes:.2f} tokens "
                   "for a byte of it") if measures.tokens > FOREIGN * found.bytes else ""
        print(wrapped(f"note: who guesses every byte blindly needs 8 bits for it{foreign}"))


def show_calibration(of_what: str, found: Measured) -> None:
    """A bar for each range of probabilities: # how often the likeliest token is right, | how sure the model is of it.
    """
    print(wrapped(f"{of_what}: of the likeliest tokens, # are right, and | is how sure the model is of them"))
    cells = min(30, width() - 30)
    for i, (n, sure, right) in enumerate(found.measures.bins):
        if n:
            bar = list("#" * round(cells * right / n) + " " * (cells - round(cells * right / n)))
            bar[min(cells - 1, int(cells * sure / n))] = "|"
            print(f"{i / BINS:4.0%} to {(i + 1) / BINS:4.0%} {right / n:6.1%} {int(n):9,} {''.join(bar).rstrip()}")


def show_table(rows: Sequence[tuple[str, Measured]]) -> None:
    """A row for each text and model."""
    found = []
    for label, one in rows:
        measures, interval = one.measures, one.measures.interval()
        half = "" if interval is None else f"±{(interval[1] - interval[0]) / 2 / measures.loss * one.bits:.3f}"
        numbers = (f"{short(perplexity(measures.loss)):>7}{short(one.perplexity_by(one.words)):>8}"
                   f"{f'{one.bits:.3f}{half}':>13}{measures.accuracy:7.1%}{measures.calibration_error:5.0%}")
        found.append((label, numbers))
    print(table(f"{'/token':>7}{'/word':>8}{'bits/byte':>13}{'right':>7}{'ECE':>5}", found))
    print(wrapped("/token, /word: perplexity. bits/byte compares models whose vocabularies differ; ± is half of an "
                  "interval of 95%, with windows drawn anew. right: the likeliest token came. ECE: between how sure "
                  "the model is and how often it is right"))


def short(x: float) -> str:
    """A number in at most 6 characters, as 12.34, 12345 or 1e+12."""
    return f"{x:.4g}" if x < 9999.5 else f"{x:.0f}" if x < 99999.5 else f"{x:.0e}"


def share(name: str, k: int, n: int) -> str:
    """k of n, with Wilson's interval."""
    low, high = wilson(k, n)
    return f"{name} {k / n:.1%} ({low:.1%} to {high:.1%})"


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Parser]:
    """The arguments by their names, and the parser, for what only the model can tell."""
    parser = Parser("evaluate", usage="%(prog)s FILE... --model MODEL [OPTIONS]",
                    description="Measure how well a model predicts a text, or each of several and all together; how "
                                "well a model that translates does so, of all pairs together; how often a BERT tells "
                                "what is hidden; or what the answers of a model that finetune has trained are worth. "
                                "In brackets: what holds where nothing is said.",
                    known_as={"-m": "--model", "--context": "--window", "--max-length": "--window",
                              "": "the model goes behind --model"},
                    examples=("python -m gpt2np.evaluate play.txt --model demo",
                              "python -m gpt2np.evaluate play.txt --model run/best --stride 32",
                              "python -m gpt2np.evaluate play.txt --model run-1 --model run-2 --ensemble",
                              "python -m gpt2np.evaluate test.tsv --model run-1 --model run-2 --ensemble",
                              "python -m gpt2np.evaluate pairs.tsv --model translation --num-beams 4"))
    parser.add_argument("files", nargs="*", type=not_empty, metavar="FILE",
                        help="text in UTF-8; <|endoftext|> in it ends a document. Or lines of source, tab, target; for "
                             "a BERT, of a sentence each; or labelled examples, as finetune reads them")
    parser.add_argument("--model", required=True, type=not_empty, action="append",
                        help=f"one of {', '.join(loading.NAMES)}; or the path of a model's folder; given several "
                             "times, a table has a row for each and each FILE")
    parser.add_argument("--adapter", type=not_empty, metavar="DIR",
                        help="what was trained beside the model: the folder of train or finetune --adapt, or of peft's")
    parser.add_argument("--ensemble", action="store_const", const=True,
                        help="measure also all the models together: the mean of their probabilities, of labels by "
                             "their names; of those that translate, that alone")
    parser.add_argument("--window", type=whole(1), metavar="N", help="tokens that the model sees at a time (its n_ctx)")
    parser.add_argument("--stride", type=whole(1), metavar="N",
                        help="tokens from one window to the next (half a window); fewer give more context, and take "
                             "longer")
    parser.add_threads("how many windows, or parts of a batch, are worked out at once (all cores)")
    parser.add_argument("--calibration", action="store_const", const=True,
                        help="show also whether it knows how sure it may be, in a picture")
    parser.add_argument("--lambada", type=not_empty, metavar="FILE", help="tell the last words of LAMBADA's file, too")
    parser.add_argument("--hellaswag", type=not_empty, metavar="FILE", help="choose endings of HellaSwag's file, too")
    pairs = parser.add_argument_group("of a model that translates")
    pairs.add_argument("--num-beams", type=whole(1), metavar="N",
                       help="for BLEU, the best of so many beams (1: the likeliest token each time)")
    pairs.add_argument("--length-penalty", type=real, metavar="X", help="of the beams: see translate (1.0)")
    pairs.add_argument("--tokenise", choices=TOKENISATIONS,
                       help="what BLEU takes for a token (zh where the targets are Chinese, 13a elsewhere)")
    pairs.add_argument("--smooth", choices=SMOOTHINGS, help="what BLEU does where no n-gram is right (exp)")
    options = parser.parse_args(arguments)
    if not (options.files or options.lambada or options.hellaswag):
        parser.error("expected FILE, or --lambada or --hellaswag with one")
    if options.adapter and len(options.model) > 1:
        parser.error("--adapter: expected one --model with it, the one that it was trained beside")
    if options.length_penalty is not None and not -10 <= options.length_penalty <= 10:
        parser.error(f"--length-penalty: expected a number from -10 to 10, got {options.length_penalty}")
    if options.length_penalty is not None and options.num_beams in (None, 1):
        parser.error("--length-penalty: expected only with --num-beams of 2 or more")
    for name in ("window", "stride", "calibration"):
        if getattr(options, name) is not None and not options.files:
            parser.error(f"{option(name)}: expected FILE with it, a text to measure")
    return options, parser


if __name__ == "__main__":
    leave(main())
