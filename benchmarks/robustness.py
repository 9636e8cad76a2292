"""Which way of training makes a classifier robust: clean and perturbed accuracy of each, in a table.

    python -m benchmarks.robustness [--seeds N] [--steps N] [--only NAME] [--write DIR]

The task is the generated one of `finetune --task classify`, its Chinese half: opinions, of which the last clause
decides, about things that stand in no example to learn from.  A GPT-2 of two blocks, width 64, on characters, learns
them plainly for a while; from there each way of training goes on, with the same examples in the same order.

    clean      the opinions as they are
    deleted    half of the words that decide nothing are left out: all but 不, 但是 and the words of praise and blame
    synonyms   all words that have synonyms are replaced by one; without being told, nobody knows those
    typos      two neighbouring characters of each clause are exchanged, none of which is 不 or 但是
    fgm, pgd   the embeddings of each opinion are moved, by 0.2 in one step, or in 5: by who knows the model

    plain, ...        accuracy in %, mean of the seeds, and how far these are from one another
    times             seconds from there on by those of plain
"""

import argparse
import copy
import functools
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gpt2np
from gpt2np.ensemble import Ensemble, log_mean
from gpt2np.layers.module import Module
from gpt2np.models.config import GPT2Config
from gpt2np.models.heads import TokenClassifier
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training.adversarial import Attack, attacked, how_to_learn, moved
from gpt2np.training.augmenting import with_synonyms, words_in
from gpt2np.training.clipping import clip_scale
from gpt2np.training.labelled import Classified
from gpt2np.training.made_up import SYNONYMS, TEST, ZH_BAD, ZH_GOOD, made_names, made_opinions
from gpt2np.training.named_entities import NamedEntities, NamesPlan
from gpt2np.training.optimizers import make_optimizer
from gpt2np.training.parallel import DataParallel
from gpt2np.training.plan import FOR_DROPOUT, Plan
from gpt2np.training.text_classification import LabelsPlan, TextClassification

EXAMPLES, TESTED = 5000, 500
MEMBERS = 3                     # of an ensemble
SIZES = {"n_embd": 64, "n_head": 4, "n_layer": 2}
CONTEXT = 64
DECIDE = ("并不", "但是", *ZH_GOOD, *ZH_BAD)
FGM, PGD = Attack(0.2, 1, 0.2), Attack(0.2, 5, 0.08)
PLAN = {"batch": 32, "context": CONTEXT, "schedule": "linear", "beta2": 0.98, "weight_decay": 0.01, "dropout": 0.0}
FIRST, THEN = {"lr": 3e-3, "warmup": 30}, {"lr": 2e-3, "warmup": 10}

# ---- opinions that are not quite as they were


def parts(text: str) -> list[tuple[str, bool]]:
    """A text in pieces, and whether each decides: what does is one piece, the rest its characters."""
    found, at = [], 0
    while at < len(text):
        its = next((word for word in sorted(DECIDE, key=len, reverse=True) if text.startswith(word, at)), "")
        found.append((its or text[at], bool(its)))
        at += len(found[-1][0])
    return found


def deleted(text: str, rng: np.random.Generator) -> str:
    """Without half of what decides nothing."""
    return "".join(piece for piece, decides in parts(text) if decides or rng.random() < 0.5)


def synonyms(text: str, rng: np.random.Generator) -> str:
    """With a synonym in the place of each word that has some: as characters are words, of the longest."""
    return with_synonyms(text, SYNONYMS, 1.0, rng)


def typos(text: str, rng: np.random.Generator) -> str:
    """With two neighbours exchanged in each clause, as somebody's fingers do: within a word that decides, or beside it,
    but never what would take 不 or 但是 from its place.
    """
    written = []
    for clause in text.replace("，", "，\n").split("\n"):
        signs = list(clause)
        places = [i for i in range(len(signs) - 1) if not set(signs[i:i + 2]) & set("不但是并，。")]
        if places:
            i = places[int(rng.integers(len(places)))]
            signs[i], signs[i + 1] = signs[i + 1], signs[i]
        written.append("".join(signs))
    return "".join(written)


CHANGES: dict[str, Callable[[str, np.random.Generator], str]] = {
    "clean": lambda text, rng: text, "deleted": deleted, "synonyms": synonyms, "typos": typos}
ATTACKS = {"fgm": FGM, "pgd": PGD}


def tests(name: str) -> list[Classified]:
    """The opinions to be tested by, changed in this way: the same ones each time."""
    rng = np.random.default_rng(1)
    return [one._replace(first=CHANGES[name](one.first, rng)) for one in made_opinions(TESTED, 0, "zh", TEST)]


# ---- ways of training


class Way(NamedTuple):
    """What is another thing than in `plain`: fields of the plan; a second head, and more models."""
    plan: dict[str, Any]
    names: bool = False
    members: int = 1


WAYS = {
    "plain": Way({}),
    "label smoothing 0.1": Way({"label_smoothing": 0.1}),
    "deletion 0.1": Way({"delete_words": 0.1}),
    "synonyms 0.3": Way({"replace_words": 0.3}),
    "fgm 0.2": Way({"adversarial": "fgm", "perturbation": 0.2}),
    "pgd 0.2, 3 steps": Way({"adversarial": "pgd", "perturbation": 0.2, "attack_steps": 3, "attack_size": 0.1}),
    "two heads": Way({}, names=True),
    f"{MEMBERS} models": Way({}, members=MEMBERS),
    "all of the words": Way({"replace_words": 0.3, "delete_words": 0.1, "adversarial": "fgm", "perturbation": 0.2}),
}


class Both(Module):
    """Two heads on one body: their parameters are trained by one optimizer, the body's once."""

    def __init__(self, *models: Any):
        self.models = list(models)


def trained(tasks: list[Any], plan: Plan) -> None:
    """Train the models of some tasks, on one body, with batches in turn: of one task, on all of them."""
    optimizer = make_optimizer(Both(*(task.model for task in tasks)), plan)
    learn = how_to_learn(tasks[0].model, plan)
    for step in range(plan.steps * len(tasks)):
        task = tasks[step % len(tasks)]
        turn = step // len(tasks)
        with DataParallel(task.model, plan.threads) as parallel:
            _, norm = parallel.loss_and_gradients(task.batch(turn), seed=[plan.seed, FOR_DROPOUT, step], learn=learn)
            optimizer.step(plan.lr_of(turn), clip_scale(norm, plan.clip), parallel.run)


@functools.cache
def begun(seed: int, steps: int, tokenizer: Any) -> Any:
    """A classifier that has learned plainly: where all ways of training begin."""
    plan, train = LabelsPlan(steps=steps, seed=seed, **PLAN | FIRST), made_opinions(EXAMPLES, 0, "zh")
    labels = TextClassification.labels_of(train)
    model = TextClassification.new_model(GPT2Config(tokenizer.n_vocab, CONTEXT, **SIZES), labels, plan)
    trained([TextClassification(model, tokenizer, labels, train, train[:1], plan)], plan)
    return model


def model_of(way: Way, seed: int, steps: int, tokenizer: Any) -> TextClassification:
    """A task of which the model has learned plainly, and then in this way, as many steps each."""
    plan, train = LabelsPlan(steps=steps, seed=seed, **PLAN | THEN | way.plan), made_opinions(EXAMPLES, 0, "zh")
    model, labels = copy.deepcopy(begun(seed, steps, tokenizer)), TextClassification.labels_of(train)
    task = TextClassification(model, tokenizer, labels, train, train[:1], plan)
    task.synonyms = SYNONYMS
    tasks: list[Any] = [task]
    if way.names:
        of_names = made_names(EXAMPLES, 0, "zh")
        names = NamedEntities.labels_of(of_names)
        head = TokenClassifier(model.body, names.names, np.random.default_rng(seed))
        tasks.append(NamedEntities(head, tokenizer, names, of_names, of_names[:1],
                                   NamesPlan(steps=steps, seed=seed, label_on="last", **PLAN | THEN)))
    trained(tasks, plan)
    return task


# ---- what came of it


def accuracies(tasks: list[TextClassification]) -> dict[str, float]:
    """The accuracy of one model, or of several together, on each kind of opinions, in %."""
    first = tasks[0]
    together = Ensemble([task.model for task in tasks])
    found = {}
    for name in (*CHANGES, *ATTACKS):
        examples = tests(name if name in CHANGES else "clean")
        *inputs, targets = first.batch_of(first.encoded(examples))
        if name in CHANGES:
            logits, _ = together.forward(*inputs)
        else:                                           # each model is attacked by itself, for no r is of all
            logits = log_mean([under(ATTACKS[name], task.model, (*inputs, targets)) for task in tasks])
        found[name] = 100 * float((logits.argmax(axis=-1) == targets).mean())
    return found


def write_opinions(folder: Path) -> None:
    """The opinions to be tested by, as `evaluate` reads them: a file for each way in which they are changed."""
    folder.mkdir()
    for name in CHANGES:
        lines = [f"{one.first}\t{one.labels[0]}\n" for one in tests(name)]
        (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")


def under(attack: Attack, model: Any, batch: tuple) -> np.ndarray:
    """The logits of a model whose texts are moved."""
    with moved(model, attacked(attack, model, batch)):
        return model.forward(*batch[:3], keep_cache=False)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="models of each way of training (1)")
    parser.add_argument("--steps", type=int, default=200, metavar="N",
                        help="of training, plainly, and then again in each way (200)")
    parser.add_argument("--only", metavar="NAME", help="ways of training with this in their name, beside plain")
    parser.add_argument("--write", metavar="DIR", type=Path,
                        help="write the opinions and the models into this new folder, for evaluate")
    options = parser.parse_args()
    if options.write:
        if options.write.exists():
            parser.error(f"--write: expected a new folder, got {options.write}, which is there already")
        write_opinions(options.write)
    texts = [one.first for part in ("train", TEST) for one in made_opinions(EXAMPLES, 0, "zh", part)]
    names = ["".join(one.words) for one in made_names(EXAMPLES, 0, "zh")]
    tokenizer = learn_characters([*texts, *names, *words_in(SYNONYMS)], 4096)
    print(f"{'':20}" + "".join(f"{name:>12}" for name in (*CHANGES, *ATTACKS)) + f"{'times':>8}", flush=True)
    seconds: dict[str, float] = {}
    for name, way in WAYS.items():
        if options.only and name != "plain" and options.only not in name:
            continue
        members = [[seed + 100 * member for member in range(way.members)] for seed in range(options.seeds)]
        for seed in chain(*members):
            begun(seed, options.steps, tokenizer)
        rows, began = [], time.perf_counter()
        for seeds in members:
            tasks = [model_of(way, seed, options.steps, tokenizer) for seed in seeds]
            rows.append(accuracies(tasks))
            for seed, task in zip(seeds, tasks if options.write else []):
                gpt2np.save(options.write / f"{name.replace(' ', '-')}-{seed}", task.model, tokenizer)
        seconds[name] = time.perf_counter() - began
        cells = [[row[kind] for row in rows] for kind in (*CHANGES, *ATTACKS)]
        print(f"{name:20}" + "".join(f"{np.mean(cell):7.1f}{f'±{np.std(cell):.1f}':>5}" for cell in cells)
              + f"{seconds[name] / seconds['plain']:8.1f}", flush=True)


if __name__ == "__main__":
    main()
