"""docs/robustness.md: back-translation as its lines stand there; and what benchmarks/robustness.py does to texts."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks import robustness
from gpt2np.training.labelled import read_classified
from gpt2np.training.made_up import SYNONYMS, ZH_BAD, ZH_GOOD, made_opinions
from gpt2np.training.number_pairs import number_pairs
from gpt2np.training.pairs import read_pairs

ROOT = Path(__file__).parents[1]
CUT = "--steps 2 --n-vocab 260 --context 16 --n-layer 1 --n-head 2 --n-embd 8 --warmup 1 --eval-every 2 --sample 0"


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("awk") and shutil.which("paste")), reason="awk and paste are not installed")
def test_back_translation_as_on_the_page(tmp_path):
    """With runs of two steps: a model that knows nothing writes something for most texts, and these become pairs."""
    page = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    lines, = re.findall(r"^```text\n(awk .*?)^```$", page, re.M | re.S)
    pairs = number_pairs(40, 0)
    (tmp_path / "PAIRS.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    (tmp_path / "targets.txt").write_text("".join(f"{target}\n" for _, target in pairs[:20]), encoding="utf-8")
    script = re.sub(r"^(python -m gpt2np.train .*)$", rf"\1 {CUT}", lines, flags=re.M)
    done = subprocess.run(["sh", "-e", "-c", script.replace("python -m", f"'{sys.executable}' -m")], cwd=tmp_path,
                          capture_output=True, text=True, timeout=300, env={"PATH": "/usr/bin:/bin",
                                                                             "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert list(read_pairs([str(tmp_path / "swapped.tsv")])) == [(target, source) for source, target in pairs]
    assert len((tmp_path / "sources.txt").read_text(encoding="utf-8").split("\n")) == 21
    more = list(read_pairs([str(tmp_path / "more.tsv")]))
    assert more[:40] == list(pairs) and {target for _, target in more[40:]} <= {target for _, target in pairs[:20]}
    assert (tmp_path / "forth" / "best").is_dir()


def label_of(text):
    """What an opinion says, by its last clause alone: worked out anew."""
    last = text.rpartition("但是")[2]
    word = max((word for word in (*ZH_GOOD, *ZH_BAD) if word in last), key=lambda word: (last.rfind(word), len(word)))
    word = next((longer for longer in (*ZH_GOOD, *ZH_BAD) if longer.endswith(word) and longer in last), word)
    return "pos" if (word in ZH_GOOD) is not ("并不" in last) else "neg"


def changed(name, n=400):
    rng = np.random.default_rng(3)
    return [(one.first, robustness.CHANGES[name](one.first, rng), one.labels[0]) for one in made_opinions(n, 5, "zh")]


def test_the_labels_of_the_opinions_are_what_they_say():
    assert all(label_of(text) == label == label_of(same) for text, same, label in changed("clean"))


def test_what_is_deleted_decides_nothing():
    for text, less, label in changed("deleted"):
        assert label_of(less) == label and not Counter(less) - Counter(text)
    assert 0.6 < np.mean([len(less) / len(text) for text, less, _ in changed("deleted")]) < 0.85


def test_synonyms_turn_back_into_the_same():
    back = {other: word for word, others in SYNONYMS.items() for other in others}
    pattern = re.compile("|".join(sorted(map(re.escape, back), key=len, reverse=True)))
    for text, other, _ in changed("synonyms"):
        assert other != text and pattern.sub(lambda found: back[found[0]], other) == text


def test_a_typo_is_two_neighbours_that_are_neither_not_nor_but():
    for text, other, _ in changed("typos"):
        assert Counter(other) == Counter(text)
        wrong = [i for i in range(len(text)) if text[i] != other[i]]
        assert len(wrong) in (0, 2, 4) and all(wrong[i] + 1 == wrong[i + 1] for i in range(0, len(wrong), 2))
        assert not set("".join(text[i] for i in wrong)) & set("不但是，。")
    assert sum(text != other for text, other, _ in changed("typos")) > 350


def test_each_way_of_training_is_told_of_on_the_page_and_is_one_that_plans_know():
    for way in robustness.WAYS.values():
        robustness.LabelsPlan(steps=1, **robustness.PLAN | robustness.THEN | way.plan)


def test_the_opinions_are_written_as_evaluate_reads_them(tmp_path):
    robustness.write_opinions(tmp_path / "out")
    for name in robustness.CHANGES:
        assert [(one.first, one.labels) for one in read_classified(tmp_path / "out" / f"{name}.tsv")] == [
            (one.first, one.labels) for one in robustness.tests(name)]
