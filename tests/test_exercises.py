"""docs/exercises.md: each mistake is planted, and found by the checks that the answer names, and by no other column.

That the code of the answers prints what stands below it, tests/test_pages.py shows; that the Chinese page has the same
exercises, tests/test_twins.py.
"""

import contextlib
import importlib
import importlib.abc
import importlib.util
import re
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chapter.page import TEXTS, spelled_out

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "exercises.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)


class Planted(NamedTuple):
    """What an exercise asks to plant: a line of a file and what replaces it; the rows to check, and what finds it."""
    file: str
    old: str
    new: str
    layer: str
    found: set[str]


def planted():
    for change, layer, found in re.findall(
            r"```diff\n(.*?)```\n+Predict.*?--layer (\"[^\"]+\"|\w+)`.*?\*\*Found by:\*\* (.*?)\.\n", PAGE, re.S):
        file, old, new = re.fullmatch(r"--- (\S+)\n-(.*)\n(?:\+(.*)\n)?", change).groups(default="")
        yield Planted(file, old + "\n", new and new + "\n", layer.strip('"'), set(re.findall(r"`(\w+)`", found)))


class ChangedFile(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one file of the package from another source."""

    def __init__(self, path, source):
        self.path, self.source = path, source
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts)

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def exec_module(self, module):
        exec(compile(self.source, str(self.path), "exec"), vars(module))


@contextlib.contextmanager
def imported_anew(finder):
    """The package, imported once more with the changed file; afterwards the one that was there before."""
    def ours():
        return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "gpt2np"}

    before = ours()
    for name in before:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in ours():
            del sys.modules[name]
        sys.modules.update(before)


@pytest.mark.parametrize("exercise", list(planted()), ids=lambda e: f"{e.layer}: {e.old.strip()[:30]}")
def test_a_planted_mistake_is_found_by_what_the_answer_names(exercise):
    path = ROOT / exercise.file
    source = path.read_text(encoding="utf-8")
    assert source.count(exercise.old) == 1, f"{exercise.file}: expected once\n{exercise.old}"
    failed = {"adjoint": set(), "law": set(), "contract": set()}
    with imported_anew(ChangedFile(path, source.replace(exercise.old, exercise.new))), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = importlib.import_module("gpt2np.gradcheck.cases").CASES
        examine = importlib.import_module("gpt2np.gradcheck.checks").examine
        for case in cases:
            if exercise.layer.lower() in case.name.lower():
                for outcome in examine(case):
                    if outcome.kind == "differences":   # with order, it finds what adjoint finds: test_docs.py
                        break
                    if outcome.failure:
                        failed[outcome.kind].add(outcome.check)
    columns = {"difference", "adjoint", "order"} if failed["adjoint"] else set()
    columns |= {"laws"} if failed["law"] else set()
    columns |= {"contract"} if failed["contract"] else set()
    named = exercise.found - {"difference", "adjoint", "order", "laws", "contract"}
    assert exercise.found - named == columns, f"found by {failed}"
    assert named <= failed["law"] | failed["contract"], f"found by {failed}"


def test_the_real_package_is_back():
    import gpt2np.layers.layernorm as layernorm
    assert layernorm is sys.modules["gpt2np.layers.layernorm"]
    assert not isinstance(layernorm.__spec__.loader, ChangedFile)


@pytest.mark.parametrize("heading, text", SECTIONS, ids=[heading.split(" (")[0] for heading, _ in SECTIONS])
def test_each_subject_has_two_or_three_and_every_one_an_answer(heading, text):
    """And names sections that are there."""
    numbers = re.findall(r"^\*\*(\d)\.\*\* ", text, re.M)
    assert numbers in (["1"], ["1", "2"], ["1", "2", "3"]) and len(numbers) > 1, heading
    assert text.count("<details>\n<summary>Answer</summary>") == text.count("</details>") == len(numbers)
    known = {f"{t.number} {section.number}" for t in TEXTS for section in t.sections if section.entries}
    places = re.findall(r"S00\d (?:9 Q\d|[\d.]+)", spelled_out(heading))
    assert places and set(places) <= known, heading
    for part in re.split(r"^\*\*\d\.\*\* ", text, flags=re.M)[1:]:
        assert ("```diff" in part) == ("**Found by:**" in part) == ("Plant a mistake" in part[:30]) and (
            "```diff" in part or "```python" in part)


def test_every_section_with_mathematics_or_code_has_some():
    """What the chapter explains in formulas and code, and the same in its companions."""
    asked = {place for heading, _ in SECTIONS for place in re.findall(r"S00\d [\d.]+", spelled_out(heading))}
    assert asked >= {"S000 2.1", "S000 3.2", "S000 4.1", "S000 4.2", "S000 4.3", "S000 4.4", "S000 5.2", "S000 5.3",
                     "S001 4.1", "S001 4.2", "S001 4.3", "S001 5.2", "S002 4.2", "S002 5.4", "S003 4.1", "S003 4.2",
                     "S003 4.3", "S004 4.2", "S004 5.2", "S004 5.4"}
