"""Make labels.json: what seqeval and scikit-learn say of 60 corpora of tags, most of them broken.

    python tests/golden/make_labels.py

Needs the packages seqeval and scikit-learn. tests/peers/test_labels.py draws more of the same.
"""

import json
import math
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from seqeval.metrics.sequence_labeling import accuracy_score, get_entities, precision_recall_fscore_support
from seqeval.metrics.v1 import precision_recall_fscore_support as strict_precision_recall_fscore_support
from seqeval.scheme import IOB2, Entities
from sklearn.metrics import precision_recall_fscore_support as of_labels

warnings.simplefilter("ignore")             # that nothing was predicted of a type, and so on
KINDS = ("noisy", "random", "one type", "nothing predicted", "types that are predicted only", "nothing there",
         "perfect", "gold broken, too", "short", "odd names")


def drawn(rng, kind):
    """Sentences of tags, true and predicted."""
    types = ["LOC", "PER", "ORG"]
    if kind == "odd names":
        types = ["geo-loc", "人名", "O", "B"]
    elif kind == "one type":
        types = ["LOC"]
    lengths = rng.integers(0, 3 if kind == "short" else 9, rng.integers(2, 6))
    lengths[0] += 2                         # at least one sentence has words
    gold = [broken(rng, n, types) if kind in ("random", "gold broken, too", "short") else spelled(rng, n, types)
            for n in lengths]
    if kind == "nothing there":
        gold = [["O"] * n for n in lengths]
    if kind == "random":
        predicted = [broken(rng, n, types) for n in lengths]
    elif kind == "types that are predicted only":
        predicted = [[tag.replace("LOC", "MISC") for tag in tags] for tags in gold]
    elif kind == "perfect":
        predicted = [list(tags) for tags in gold]
    elif kind == "nothing predicted":
        predicted = [["O"] * n for n in lengths]
    else:
        predicted = [[other if rng.random() < 0.3 else tag for tag, other in zip(tags, broken(rng, len(tags), types))]
                     for tags in gold]
    if all(tag == "O" for sentences in (gold, predicted) for tags in sentences for tag in tags):
        gold[0][:2] = ["B-LOC", "I-LOC"]
        predicted[0][:2] = {"perfect": ["B-LOC", "I-LOC"], "nothing predicted": ["O", "O"]}.get(kind, ["O", "B-LOC"])
    return gold, predicted


def broken(rng, n, types):
    """Tags without rule or reason."""
    return ["O" if rng.random() < 0.35 else f"{rng.choice(['B', 'I', 'I'])}-{rng.choice(types)}" for _ in range(n)]


def spelled(rng, n, types):
    """Names as IOB2 writes them."""
    tags = []
    while len(tags) < n:
        name = rng.choice(types)
        tags += ["O"] if rng.random() < 0.4 else [f"B-{name}"] + [f"I-{name}"] * rng.integers(0, 3)
    return tags[:n]


def theirs(gold, predicted):
    """The reports, each a row [name, precision, recall, F1, support] for every type and average, and the accuracy."""
    def types(entities):
        return sorted({name for sentences in (gold, predicted) for name in entities(sentences)})

    loose = types(lambda sentences: {name for name, *_ in get_entities(sentences)})
    strict = types(lambda sentences: Entities(sentences, IOB2).unique_tags)
    flat = [[tag for tags in sentences for tag in tags] for sentences in (gold, predicted)]
    labels = sorted({*flat[0], *flat[1]})
    inside = [label for label in labels if label != "O"]
    return {
        "entities": rows(loose, lambda average: precision_recall_fscore_support(gold, predicted, average=average)),
        "strict": rows(strict, lambda average: strict_precision_recall_fscore_support(
            gold, predicted, average=average, scheme=IOB2)),
        "with O": rows(labels, lambda average: of_labels(*flat, labels=labels, average=average, zero_division=0)),
        "without O": rows(inside, lambda average: of_labels(*flat, labels=inside, average=average, zero_division=0)),
        "accuracy": accuracy_score(gold, predicted),
    }


def rows(names, scores):
    """scikit-learn gives no support with an average. The mean over no types is not a number: null."""
    found = [[str(name), *map(float, values[:3]), int(values[3])] for name, *values in zip(names, *scores(None))]
    n = sum(row[4] for row in found)
    for average in ("micro", "macro", "weighted"):
        values = [float(value) for value in scores(average)[:3]]
        found.append([average, *(None if math.isnan(value) else value for value in values), n])
    return found


def main():
    rng = np.random.default_rng(0)
    corpora = []
    for i in range(60):
        gold, predicted = drawn(rng, KINDS[i % len(KINDS)])
        corpora.append({"kind": KINDS[i % len(KINDS)], "gold": [" ".join(tags) for tags in gold],
                        "predicted": [" ".join(tags) for tags in predicted], **theirs(gold, predicted)})
    made_with = [f"{package} {version(package)}" for package in ("seqeval", "scikit-learn")]
    path = Path(__file__).with_name("labels.json")
    path.write_text('{\n"made_with": ' + json.dumps(made_with) + ',\n"corpora": [\n' + ",\n".join(
        json.dumps(corpus, ensure_ascii=False, separators=(",", ":")) for corpus in corpora) + "\n]\n}\n",
        encoding="utf-8")
    print(f"labels.json: {len(corpora)} corpora, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
