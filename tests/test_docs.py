"""What the pages say is so: every link leads somewhere, every name is there, every number is the code's."""

import ast
import functools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gpt2np.gradcheck import checks
from gpt2np.gradcheck.cases import CASES
from gpt2np.gradcheck.laws.common import EXACT
from tests.chapter.page import slug
from tests.mutants.planted import PLANTED, PLANTED_LARGE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GRADCHECK = (ROOT / "docs" / "gradcheck.md").read_text(encoding="utf-8")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)


@functools.cache
def defined(path):
    """What a file defines: functions, classes with their methods as Class.method, and the names that it assigns."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{m.name}" for m in node.body if isinstance(m, ast.FunctionDef)}
        targets = node.targets if isinstance(node, ast.Assign) else ()
        names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return names


@functools.cache
def anchors(path):
    """The anchors of a page's headings, as GitHub makes them: the second of two that are alike gets -1."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    count, found = Counter(), set()
    for heading in re.findall(r"^#+ +(.*?) *$", text, re.M):
        name = slug(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading))
        found.add(f"{name}-{count[name]}" if count[name] else name)
        count[name] += 1
    return found


@every_page
def test_links_lead_somewhere(page):
    """A link whose text is a name in backquotes, [`name`](file.py), leads to a file that defines that name."""
    links = re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for text, target in links:
        if target.startswith("https://"):
            continue
        target, _, anchor = target.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists() and path.is_relative_to(ROOT), f"{page.name}: no {target}"
        assert not anchor or anchor in anchors(path), f"{page.name}: no heading #{anchor} in {path.name}"
        if path.suffix == ".py" and re.fullmatch(r"`[\w.]+`", text):
            assert text.strip("`") in defined(path), f"{page.name}: no {text} in {target}"
    assert links or page.name == "memory.md"


@every_page
def test_formulas_and_addresses_are_what_github_takes_for_them(page):
    """A formula begins at a $ behind a blank, and not behind a mark of full width: ，$x$ would stay as it is typed.

    And all that stands between < and > is the address, Chinese marks too.
    """
    text = re.sub(r"^```.*?^```$|^    .*|`[^`]*`", "`", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for formula in re.finditer(r"\$[^$\n]+\$", text):
        before, after = text[:formula.start()][-1:], text[formula.end():][:1]
        assert before in "\n " and not after.isalnum() and not re.search(r"\$ | \$", formula[0]), (
            f"{page.name}: {before}{formula[0]}{after}")
    assert not (wrong := [url for url in re.findall(r"<(https?:[^>]*)>", text) if not url.isascii()]), wrong


@every_page
def test_tables_have_as_many_cells_in_every_row(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for table in re.findall(r"^(?:\|.*\n)+", text, re.M):
        rows = [re.sub(r"`[^`]*`|\\\|", "", line) for line in table.splitlines()]
        assert re.fullmatch(r"(\|:?---+:?)+\|", rows[1]), f"{page.name}: {rows[1]}"
        for row in rows:
            assert row.count("|") == rows[1].count("|"), f"{page.name}: {row}"


def test_no_file_of_the_documentation_is_left_out_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"({page.relative_to(ROOT).as_posix()})" in readme, page.name


# ---- docs/gradcheck.md


def test_limits():
    on_page = {name: float(value) for name, value in re.findall(r"`([A-Z_]+)` = ([\d.e-]*\d)", GRADCHECK)}
    in_code = {name: value for name, value in vars(checks).items() if name.startswith("LIMIT_")}
    in_code |= {"EXACT": EXACT, **{name: getattr(checks, name) for name in ("STEP", "TINY", "DIRECTIONS", "ELEMENTS")}}
    assert on_page == in_code


def test_the_error_of_each_step():
    """The table is of one run: another machine rounds otherwise, so a factor of ten is allowed."""
    subject = next(c for c in CASES if c.name == "layernorm").make(np.random.default_rng(0))
    y, cache = subject.forward(subject.arguments)
    dy = checks.upstream(y, np.random.default_rng([0, 1]))
    dx, x = subject.backward(dy, cache)["x"], subject.arguments["x"]
    complex_arguments = {name: a.astype(complex) for name, a in subject.arguments.items()}
    rows = re.findall(r"^\| (1e-\d) \| (.*?) \| (.*?) \| (.*?) \|$", GRADCHECK, re.M)
    assert len(rows) == 9
    for h, *expected in rows:
        h, errors = float(h), []
        forward, central, imaginary = np.zeros((3, *x.shape))
        for i in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[i] = h
            above, below = (subject.forward(subject.arguments | {"x": x + s})[0] for s in (step, -step))
            aside = subject.forward(complex_arguments | {"x": x + 1j * step})[0]
            forward[i], central[i] = ((above - y) * dy).sum() / h, ((above - below) * dy).sum() / (2 * h)
            imaginary[i] = (aside.imag * dy).sum() / h
        errors = [np.abs(d - dx).max() / np.abs(dx).max() for d in (forward, central, imaginary)]
        for error, text in zip(errors, expected):
            assert float(text.strip("*")) / 10 < error + 1e-16 < float(text.strip("*")) * 10 + 1e-15, (h, errors)


def test_the_table_of_planted_mistakes():
    """The long table is what python -m tests.mutants prints; the short one follows from it."""
    kinds = ("adjoint", "differences", "order", "linearity", "reference", "laws", "contract")
    long = re.findall(r"^(\S.*?) +([x.](?: +[x.]){6})$", GRADCHECK, re.M)
    again = "make the tables again: python -m tests.mutants --planted"
    assert [title for title, _ in long] == [title for title, *_ in PLANTED], again
    assert f"plants {len(PLANTED_LARGE)} mistakes that begin at a size" in GRADCHECK
    found = {title: {k for k, mark in zip(kinds, marks.split()) if mark == "x"} for title, marks in long}
    assert all(found.values())
    for title, by in found.items():
        assert len(by & set(kinds[:3])) in (0, 3), f"{title}: differences and order find what adjoint finds"
        by -= {"differences", "order"}
    columns, groups = ("adjoint", *kinds[3:]), dict.fromkeys(title.split(":")[0] for title in found)
    expected = [row(group, [by for title, by in found.items() if title.split(":")[0] == group], columns)
                for group in groups]
    bold = [f"**{cell}**" for cell in row("all", list(found.values()), columns)]
    alone = ["found by it alone", "", *(str(sum(by == {k} for by in found.values())) for k in columns)]
    table = re.search(r"^\| mistakes in .*\n.*\n((?:\|.*\n)+)", GRADCHECK, re.M)[1].splitlines()
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in table] == [*expected, bold, alone], again


def row(name, found, columns):
    """A row of the short table: how many mistakes there are, and how many each kind of check finds."""
    return [name, str(len(found)), *(str(sum(k in by for by in found) or "") for k in columns)]
