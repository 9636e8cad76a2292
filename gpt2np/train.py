"""Train a model on text files:  python -m gpt2np.train FILE... --out DIR

A GPT-2 learns to go on from texts; with --task translation, a Transformer learns from pairs of texts to translate; with
--task masked, a BERT learns which words are hidden, and what follows what.
Without FILE it trains a small model for a few minutes, on this package's own source, or on numbers and dates that it
generates, so that the command can be tried on a machine without a network.
Ctrl-C saves; python -m gpt2np.train --resume DIR goes on as if nothing had happened.
With mpiexec -n 4 before it, four processes share each batch, on one machine or several: see training/mpi.py.

Chapter: S000 1.3.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.train")

import argparse
import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from . import model_names
from .blas import say_what_to_set
from .checkpoints import loading
from .command import Parser, not_empty, option, real, run_command, whole
from .follow import follow
from .interrupts import leave
from .memory import keep_freed_memory
from .models.config import NORMS, BertConfig, GPT2Config, TransformerConfig
from .models.transformer import Transformer
from .plan_options import (
    KNOWN_AS,
    SIZES,
    add_plan_options,
    expect_alone,
    expect_either,
    expect_sense,
    given_in,
    make_plan,
    other_usual,
    task_of,
)
from .ranks import as_one, join_world
from .terminal import wrapped
from .text.utf8 import expect_readable
from .training import adapting, language_modelling, masked_words, run, run_folder, translation
from .training.adapting import NONE, usual_of
from .training.batches import EPOCHS
from .training.diagnosis import initial_loss_warning
from .training.language_modelling import LanguageModelling
from .training.loop import Trainer
from .training.masked_words import MaskedWords
from .training.mpi import World
from .training.tasks import Task
from .training.translation import Translation

LARGE = 10                      # parameters for each token to learn from, beyond which a model learns them by heart


class Kind(NamedTuple):
    """What of the command differs by task.

    task      Task
    usual     what an option is that is not given: with FILE;
    trying    without, a model that learns something in a few minutes;
    tuning    with --init-from
    least     tokens that a vocabulary has at least
    fitted    what of it becomes less where texts, model or run are small
    sizes     options of a new model, with what they mean
    words     for --help: what it trains, FILE, --val, --vocab, what --n-vocab is learned from, what --init-from names,
              and without FILE
    examples  for --help
    config    a new model's, by plan and sizes
    expect    raises what can be said of the files and sizes before the work begins
    make      the task of a new run: options -> Task
    learned   what is learned from, as a sentence
    """

    task: type[Task]
    usual: dict[str, Any]
    trying: dict[str, Any]
    tuning: dict[str, Any]
    least: int
    fitted: tuple[str, ...]
    sizes: dict[str, str]
    words: dict[str, str]
    examples: tuple[str, ...]
    config: Callable[[Any, dict[str, Any]], Any]
    expect: Callable[[argparse.Namespace], None]
    make: Callable[[argparse.Namespace], Task]
    learned: Callable[[Trainer], str]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(train, arguments)


def train(arguments: Sequence[str] | None) -> int:
    """Begin or resume the run that the arguments ask for, and train; on many processes, if mpiexec has started them."""
    with as_one(join_world()) as world, ExitStack() as held:
        options = parse(arguments, world.cores())
        keep_freed_memory()
        if world.rank == 0:
            say_what_to_set()
        trainer, changes = world.together(prepare, options, world, held)
        say(trainer, changes)
        status = follow(trainer, "train", afterwards(trainer), partial(warning, trainer))
        if status == 0 and isinstance(trainer.task, Translation) and not run_folder.read_run(trainer.out)["files"]:
            folder = Path(trainer.out, run_folder.BEST)
            adapter = None if trainer.task.plan.adapt == NONE else folder
            best, tokenizer = model_names.load_with_tokenizer(trainer.task.base if adapter else folder,
                                                              kind=Transformer, adapter=adapter)
            right, n = translation.count_exact(best, tokenizer, trainer.task.val)
            print(wrapped(f"Of {n:,} numbers and dates that it has not learned from, it writes {right:,} without a "
                          f"mistake ({right / n:.1%})."))
        return status


def prepare(options: argparse.Namespace, world: World, held: ExitStack) -> tuple[Trainer, list[str]]:
    """The run where it goes on, and what is to be said of it; rank 0 comes here first.

    held   gets the lock of the folder: no other process trains there until it is closed
    """
    if options.resume is not None:
        kinds = [kind.task for name, kind in KINDS.items() if options.task in (None, name)]
        return run.resume(kinds, options.resume, world, held, options.steps, options.threads)
    kind = KINDS[options.task]
    if world.rank == 0:
        kind.expect(options)
    about = {"files": options.files, "val": options.val, "init_from": options.init_from}
    return run.begin(partial(kind.make, options), kind.task, options.plan, options.out, about, world, held), []


def expect_language(options: argparse.Namespace) -> None:
    """See Kind; options.texts are the files to learn from."""
    options.texts = options.files or sorted(map(str, Path(__file__).parent.rglob("*.py")))
    context = None if "context" in options.fit else options.plan.context
    language_modelling.expect_texts(options.texts, options.val, context, not (options.init_from or options.vocab))
    if not options.init_from:
        language_modelling.expect_room_to_train(options.config, options.plan)


def make_language(options: argparse.Namespace) -> LanguageModelling:
    """The task of a new run on texts."""
    return language_modelling.new_task(options.out, options.plan, options.texts, init_from=start_of(options, "demo"),
                                       **common(options))


def expect_translation(options: argparse.Namespace) -> None:
    """See Kind."""
    expect_readable([*options.files, *([options.val] if options.val else [])])
    if not options.init_from:
        translation.expect_room_to_train(options.config, options.plan)


def make_translation(options: argparse.Namespace) -> Translation:
    """The task of a new run on pairs."""
    return translation.new_task(options.out, options.plan, options.files,
                                init_from=start_of(options, loading.TRANSLATION), **common(options))


def expect_masked(options: argparse.Namespace) -> None:
    """See Kind."""
    options.texts = options.files or sorted(map(str, Path(__file__).parent.rglob("*.py")))
    expect_readable([*options.texts, *([options.val] if options.val else [])])
    if not options.init_from:
        masked_words.expect_room_to_train(options.config, options.plan)


def make_masked(options: argparse.Namespace) -> MaskedWords:
    """The task of a new run on documents."""
    return masked_words.new_task(options.out, options.plan, options.texts, init_from=start_of(options, ""),
                                 **common(options))


def start_of(options: argparse.Namespace, usual: str) -> str | Path:
    """The model to go on from, where one is asked for."""
    return model_names.find_model(options.init_from) if options.init_from else usual


def common(options: argparse.Namespace) -> dict[str, Any]:
    """What all kinds of runs begin with."""
    return {"val": options.val, "config": options.config, "fit": options.fit, "epochs": options.epochs,
            "vocabulary": model_names.vocabulary(options.vocab) if options.vocab else None,
            "warn": lambda words: print(wrapped(f"warning: {words}"))}


def say(trainer: Trainer, changes: list[str]) -> None:
    """What is trained on what, and what has changed."""
    for change in changes:
        print(wrapped(change))
    model, world = trainer.task.model, trainer.world
    config, n = model.config, model.config.n_parameters
    trained = sum(p.value.size for _, p in model.named_parameters() if p.trainable)
    if trainer.task.plan.adapt != NONE:
        print(wrapped(adapting.in_words(model, trainer.task.plan)))
    which = f"{n:,} parameters" if trained == n else f"{trained:,} of {n:,} parameters to train"
    learned = next(kind for kind in KINDS.values() if isinstance(trainer.task, kind.task)).learned(trainer)
    print(wrapped(f"{which}, and a vocabulary of {config.n_vocab:,} tokens; {learned}, "
                  f"{'on' if world.size > 1 else 'with'} {run.workers(world.size, trainer.plan.threads)}"), flush=True)
    size = tokens_to_learn_from(trainer.task)
    if trainer.state["step"] == 0 and is_new(trainer) and n > LARGE * size:
        print(wrapped(f"warning: {n / size:,.0f} parameters for each token to learn from: such a model learns its text "
                      "by heart, and little of the language; more text helps, or a smaller model (--n-layer, --n-embd, "
                      "--n-vocab)"), flush=True)


def texts_learned(trainer: Trainer) -> str:
    """Of a run on texts."""
    task: Any = trainer.task
    return (f"{len(task.batches.tokens):,} tokens to learn from, {len(task.val):,} to measure by; a step sees "
            f"{task.plan.batch:,} windows of {task.plan.context:,} tokens")


def pairs_learned(trainer: Trainer) -> str:
    """Of a run on pairs."""
    task: Any = trainer.task
    batches = task.batches
    return (f"{len(batches.pairs):,} pairs to learn from, {len(task.val):,} to measure by; a step sees "
            f"{len(batches.pairs) / len(batches):,.0f} pairs of like lengths, {task.plan.batch_tokens:,} positions at "
            f"most, of which {batches.padding:.1%} are padding; {len(batches):,} steps go through all")


def documents_learned(trainer: Trainer) -> str:
    """Of a run on documents."""
    task: Any = trainer.task
    batches = task.batches
    asked = "hidden words, and what follows what," if batches.pairs else "hidden words"
    return (f"{int(batches.lengths.sum()):,} of them in {len(batches.documents):,} documents to learn {asked} from, "
            f"{int(task.val_batches.lengths.sum()):,} to measure by, where always guessing the commonest is right in "
            f"{task.guessing():.1%}; a step sees {task.plan.batch:,} rows, {len(batches):,} steps go through all")


def tokens_to_learn_from(task: Any) -> int:
    """How many different ones there are, however often they are gone through."""
    return len(task.batches.tokens) if isinstance(task, LanguageModelling) else int(task.batches.lengths.sum())


def afterwards(trainer: Trainer) -> str:
    """The line to type next."""
    how = "--model" if trainer.task.plan.adapt == NONE else "--adapter"
    best = f"{how} {shlex.quote(str(Path(trainer.out, run_folder.BEST)))}"
    if isinstance(trainer.task, LanguageModelling):
        return f"python -m gpt2np.generate {best}"
    if isinstance(trainer.task, Translation):
        return f"python -m gpt2np.translate {shlex.quote(trainer.task.val[0][0])} {best}"
    example = masked_words.example(trainer.task)        # type: ignore[arg-type]
    return f"python -m gpt2np.fill {shlex.quote(example)} {best}"


def warning(trainer: Trainer, record: dict) -> str | None:
    """Of the loss before the first step."""
    loss = record.get("val_masked_loss", record["val_loss"])
    return initial_loss_warning(loss, trainer.task.model.config.n_vocab, is_new(trainer))


def is_new(trainer: Trainer) -> bool:
    """Whether a run began with random weights."""
    return run_folder.read_run(trainer.out).get("init_from") is None


LANGUAGE = Kind(
    LanguageModelling,
    usual={"steps": 2000, "n_layer": 6, "n_head": 8, "n_embd": 256, "n_vocab": 4096},
    trying={"steps": 300, "n_layer": 4, "n_head": 4, "n_embd": 128, "n_vocab": 1024, "context": 128, "eval_every": 50,
            "warmup": 100, "lr": 3e-3},
    tuning={"steps": 500, "lr": 5e-5, "warmup": 20, "eval_every": 50, "sgd": {"lr": 0.01}},
    least=257, fitted=("n_vocab", "context", "warmup"), sizes=SIZES,
    words={"what": "Train a GPT-2 on text files", "file": "text in UTF-8; <|endoftext|> in it ends a document",
           "val": "text to measure by (the last tenth of the text, which a vocabulary is learned from too)",
           "vocab": "gpt2, demo, demo-zh, or a folder with encoder.json and vocab.bpe (learned from the text)",
           "from": "the text", "names": f"one of {', '.join(loading.GPT2_NAMES)}, or the model in a folder",
           "without": "a small model learns from this package's own source for a few minutes",
           "more": "--help with --task translation or --task masked lists their options. "},
    examples=("python -m gpt2np.train --out run", "python -m gpt2np.train --resume run --steps 600",
              "python -m gpt2np.train plays.txt --out run --init-from demo",
              "python -m gpt2np.train --task translation --out run",
              "python -m gpt2np.train --task masked poems.txt --out run"),
    config=lambda plan, sizes: GPT2Config(sizes["n_vocab"], plan.context, sizes["n_embd"], sizes["n_head"],
                                          sizes["n_layer"]),
    expect=expect_language, make=make_language, learned=texts_learned)

TRANSLATION = Kind(
    Translation,
    usual={"steps": 4000, "n_layer": 3, "n_head": 8, "n_embd": 256, "n_inner": None, "n_vocab": 4096, "norms": "pre",
           "optimizer": "adam", "beta2": 0.98, "eps": 1e-9, "schedule": "linear", "warmup": 400, "eval_every": 400},
    trying={"steps": 4000, "n_layer": 2, "n_head": 4, "n_embd": 128, "n_inner": None, "n_vocab": 300, "norms": "pre",
            "optimizer": "adam", "beta2": 0.98, "eps": 1e-9, "schedule": "linear", "warmup": 200, "eval_every": 500,
            "lr": 2e-3, "batch_tokens": 1250, "dropout": 0.0, "label_smoothing": 0.0},
    tuning={"steps": 1000, "optimizer": "adam", "beta2": 0.98, "eps": 1e-9, "schedule": "linear", "lr": 2e-4,
            "warmup": 50, "eval_every": 100},
    least=257, fitted=("n_vocab", "context", "warmup"),
    sizes=SIZES | {"n_inner": "inner width of the MLPs"},
    words={"what": "Train a Transformer on pairs of texts, to translate",
           "file": "a pair in each line, in UTF-8: source, tab, target; what is behind a second tab is not read",
           "val": "pairs to measure by (of the pairs, those of a twentieth of the sources, at most "
                  f"{translation.MOST_HELD_OUT:,})",
           "vocab": "gpt2, or a folder with a vocabulary (learned from both sides of the pairs)",
           "from": "both sides of the pairs", "names": "the model in a folder",
           "without": "a small model learns in a few minutes to write numbers and dates in Chinese characters, and "
                      "back, from pairs that it generates"},
    examples=("python -m gpt2np.train --task translation --out run",
              "python -m gpt2np.train --task translation pairs.tsv --out run --norms post",
              "python -m gpt2np.train --resume run"),
    config=lambda plan, sizes: TransformerConfig(
        sizes["n_vocab"], plan.context, sizes["n_embd"], sizes["n_head"], sizes["n_layer"],
        sizes["n_inner"] or 4 * sizes["n_embd"], sizes["norms"], True),
    expect=expect_translation, make=make_translation, learned=pairs_learned)

MASKED = Kind(
    MaskedWords,
    usual={"steps": 4000, "n_layer": 4, "n_head": 4, "n_embd": 256, "n_inner": None, "n_vocab": 4096, "beta2": 0.98,
           "weight_decay": 0.01, "schedule": "linear", "warmup": 400, "eval_every": 400},
    trying={"steps": 500, "n_layer": 2, "n_head": 4, "n_embd": 128, "n_inner": None, "n_vocab": 300, "beta2": 0.98,
            "weight_decay": 0.01, "schedule": "linear", "warmup": 50, "eval_every": 100, "lr": 2e-3, "dropout": 0.0},
    tuning={"steps": 500, "beta2": 0.98, "weight_decay": 0.01, "schedule": "linear", "lr": 5e-5, "warmup": 20,
            "eval_every": 50},
    least=6, fitted=("n_vocab", "context", "warmup"),
    sizes=SIZES | {"n_inner": "inner width of the MLPs"},
    words={"what": "Train a BERT on documents, to tell which words are hidden, and what follows what",
           "file": "a sentence in each line, in UTF-8, and an empty line between two documents",
           "val": "documents to measure by (the last tenth of the documents, at most "
                  f"{masked_words.MOST_HELD_OUT:,}; of a single one, its end)",
           "vocab": "a folder with vocab.txt (the characters of the text)",
           "from": "the characters of the text", "names": "the BERT in a folder",
           "without": "a small model learns from this package's own source for a few minutes"},
    examples=("python -m gpt2np.train --task masked poems.txt --out run",
              "python -m gpt2np.train --task masked words.txt --out run --unit spaces",
              "python -m gpt2np.train --resume run"),
    config=lambda plan, sizes: BertConfig(
        sizes["n_vocab"], plan.context, sizes["n_embd"], sizes["n_head"], sizes["n_layer"],
        sizes["n_inner"] or 4 * sizes["n_embd"]),
    expect=expect_masked, make=make_masked, learned=documents_learned)

KINDS = {"language": LANGUAGE, "translation": TRANSLATION, "masked": MASKED}


def parse(arguments: Sequence[str] | None, threads: int) -> argparse.Namespace:
    """The arguments by their names, checked as far as they can be without reading a file; see settle for the rest."""
    task = task_of(arguments, KINDS) or "language"
    kind = KINDS[task]
    words, usual = kind.words, kind.usual
    which = "" if kind is LANGUAGE else f"--task {task} "
    parser = Parser(
        "train", usage=f"%(prog)s {which}[FILE ...] --out DIR [OPTIONS]\n       %(prog)s --resume DIR [--steps N]",
        description=f"{words['what']}. In brackets: what holds where nothing is said.",
        epilog=f"Without FILE, {words['without']}. Where nothing else is said, it is then "
               f"{other_usual(kind.task.plan_type, usual, kind.trying)}, and with --init-from "
               f"{other_usual(kind.task.plan_type, usual, kind.tuning)}. {words.get('more', '')}"
               "With mpiexec -n N before it, N processes share each batch; that needs pip install 'gpt2np[mpi]'.",
        known_as=KNOWN_AS, examples=kind.examples)
    parser.add_argument("files", nargs="*", type=not_empty, metavar="FILE", help=words["file"])
    parser.add_argument("--task", choices=KINDS,
                        help="language: to go on from texts, a GPT-2; translation: from one text to another, a "
                             "Transformer; masked: which words are hidden, and what follows what, a BERT (language)")
    parser.add_argument("--out", type=not_empty, metavar="DIR",
                        help="a new folder for the run: checkpoints, the best model, the log")
    parser.add_argument("--resume", type=not_empty, metavar="DIR",
                        help="go on with the run in this folder; of the other options, only more --steps and --threads")
    parser.add_argument("--val", type=not_empty, metavar="FILE", help=words["val"])
    parser.add_argument("--init-from", type=not_empty, metavar="MODEL", help=f"fine-tune {words['names']}")
    parser.add_argument("--vocab", type=not_empty, metavar="NAME", help=words["vocab"])
    parser.add_argument("--n-vocab", type=whole(kind.least), metavar="N",
                        help=f"learn a vocabulary of this many tokens from {words['from']} ({usual['n_vocab']}, or "
                             "what it suffices for)")
    for name, what in kind.sizes.items():
        parser.add_argument(option(name), type=whole(1), metavar="N",
                            help=f"{what} of a new model ({usual[name] or 'four times the width'})")
    if "norms" in usual:
        parser.add_argument("--norms", choices=NORMS,
                            help="where a new model's norms are: after each sum, as in the paper of 2017; before each "
                                 "part of a block, and after each stack; or after sums and stacks "
                                 f"({usual['norms']})")
    of_any = add_plan_options(parser, kind.task.plan_type, usual)
    of_any.add_argument("--epochs", type=real, metavar="X",
                        help="in place of --steps: go through the text so often" + ", with --order epochs"
                             * (kind is LANGUAGE))
    options = parser.parse_args(arguments)
    given = given_in(options)
    if options.resume is not None:
        expect_alone(parser, given, ("steps", "threads", "task"))
        return options
    if options.out is None:
        parser.error("expected --out DIR, a new folder for the run (or --resume DIR)")
    if options.val and not options.files and kind is TRANSLATION:
        parser.error("--val: expected with FILE; generated pairs are measured by generated ones")
    new = ("vocab", "n_vocab", *kind.sizes, *(["norms"] if "norms" in usual else []))
    expect_either(parser, given, ("init_from", new), ("vocab", ("n_vocab",)), ("steps", ("epochs",)))
    expect_sense(parser, options)
    options.task = task
    try:
        settle(options, kind, {"threads": threads} | given)
    except ValueError as error:
        name, _, problem = str(error).partition(":")
        parser.error(f"{option(name)}:{problem}")
    return options


def settle(options: argparse.Namespace, kind: Kind, given: dict) -> None:
    """Put defaults where nothing is given, and add options.plan, options.config (None where no model is new), and
    options.fit: which of the defaults may become less.

    ValueError for numbers that cannot be.
    """
    usual: dict[str, Any] = kind.tuning if options.init_from else kind.usual if options.files else kind.trying
    if options.epochs is not None and kind is LANGUAGE:
        usual = usual | {"order": EPOCHS}
    usual = usual | usual_of(options.adapt)
    options.plan = make_plan(kind.task.plan_type, usual, given)
    options.fit = [name for name in kind.fitted if name not in given]
    options.config = None if options.init_from else kind.config(options.plan, usual | given)


if __name__ == "__main__":
    leave(main())
