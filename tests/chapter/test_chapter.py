"""The table tells of every section and every mistake, in both languages, and the pages and the code are made of it."""

import re
from pathlib import Path

import pytest

from tests.errata.test_bookkeeping import CHAPTER, KNOWN

from .back import files, with_its_line
from .names import ROOT, find
from .page import TEXTS, find_section, is_command, joined, pages, slug, spelled_out, with_blanks_before_formulas
from .points import POINTS
from .table import Both, Entry

AGAIN = "make the pages again: python -m tests.chapter"
HEADINGS = (Path(__file__).parent / "headings.txt").read_text(encoding="utf-8").splitlines()
ENTRIES = [(f"point {i}", point) for i, point in enumerate(POINTS, 1)] + [
    found for text in TEXTS for found in text.entries()]


def test_the_pages_are_those_of_the_table():
    for path, text in pages():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: {AGAIN}"


def test_the_code_leads_back():
    """The last line of every file's docstring names the sections that lead to it."""
    for path, source, wanted in files():
        assert source == wanted, f"{path.relative_to(ROOT)}: {AGAIN}"


# ---- the headings are the book's


def test_the_headings_are_those_of_the_texts():
    ours = [line for text in TEXTS for line in (f"{text.number} {text.zh}", *(
        f"{text.number} {section.number} {section.zh}" for section in text.sections))]
    assert ours == HEADINGS


def test_the_texts_have_these_headings():
    if not CHAPTER.is_dir():
        pytest.skip(f"needs {CHAPTER}, which is not here")
    heading = re.compile(r"#+ +(\d(?:\.\d)*)\.? +(.*?)\s*$|\*\*(Q\d)：(.*)\*\*")
    found = []
    for path in sorted(CHAPTER.glob("00*.txt")):
        number, text = f"S{path.name[:3]}", path.read_text(encoding="utf-8")
        found.append(f"{number} {re.search('^# +(.*)', text, re.M)[1]}")
        for match in filter(None, map(heading.match, text.splitlines())):
            section, words, question, asked = match.groups()
            found.append(f"{number} {section} {words}" if section else f"{number} 9 {question} {asked}")
    assert found == HEADINGS


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.number)
def test_no_section_is_without_an_entry(text):
    """Below the innermost headings is at least one; with several, each has a title of the book's."""
    for section, following in zip(text.sections, [*text.sections[1:], None]):
        inner = following is not None and following.depth > section.depth
        assert bool(section.entries) != inner, f"{text.number} {section.number}"
        assert all(entry.title.zh for entry in section.entries) or len(section.entries) == 1


def test_parts_have_the_titles_of_the_texts():
    if not CHAPTER.is_dir():
        pytest.skip(f"needs {CHAPTER}, which is not here")
    for text in TEXTS:
        words = next(CHAPTER.glob(f"{text.number[1:]}_*.txt")).read_text(encoding="utf-8")
        for place, entry in text.entries():
            for part in re.split(r"[、（]|和(?=评估)", entry.title.zh.strip("`").rstrip("）")):
                assert part in words or part in ("模型", "训练", "评估", "三个词元的窗口"), f"{place}: {part}"


# ---- what an entry says


def test_an_entry_says_the_same_in_both_languages():
    """Where one has a word, the other has one; and both have the same links and the same code."""
    for place, entry in ENTRIES:
        for name, both in entry._asdict().items():
            if isinstance(both, Both):
                code = [sorted(re.findall(r"\[\[.*?\]\]|`[^`]+`", words)) for words in both]
                assert bool(both.zh) == bool(both.en) and code[0] == code[1], f"{place}: {name}: {code}"


def test_chinese_has_blanks_around_latin_letters():
    """As this project's pages are set; the breaks of lines in the table must not swallow one."""
    for place, entry in ENTRIES:
        for words in (both.zh for both in entry[1:] if isinstance(both, Both)):
            bare = re.sub(r"《.*?》|“.*?”", "", re.sub(r"`.*?`|\[\[.*?\]\]|\$.*?\$", "a", joined(words)))
            tight = re.findall(r"[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]", bare)
            assert not tight, f"{place}: {tight}"


def test_an_entry_has_something_to_run_or_says_why_not():
    for place, entry in ENTRIES[len(POINTS):]:
        assert entry.run or entry.missing.zh or entry.like, place
        lines = entry.run.strip().splitlines()
        assert len(lines) <= (1 if is_command(entry.run) else 6), f"{place}: at most six lines"
        assert all(len(line) <= 120 for line in lines), place
        assert not entry.prints or (lines and not is_command(entry.run)), f"{place}: only what Python prints is shown"


def test_what_leads_elsewhere_arrives():
    """Where an entry is answered by another, that one answers."""
    for place, entry in ENTRIES:
        seen = [place]
        while entry.like:
            assert entry.like not in seen, f"a circle: {seen}"
            seen.append(entry.like)
            answers = find_section(entry.like)[1].entries
            entry = answers[0]
            assert any(e.run or e.missing.zh or e.like for e in answers), entry.like


def test_every_mistake_is_told():
    """In a point, or in its own text."""
    told = {number for _, entry in ENTRIES for number in entry.errata.split()}
    assert told == KNOWN
    for place, entry in ENTRIES[len(POINTS):]:
        of_points = {number for i in entry.points for number in POINTS[i - 1].errata.split()}
        for number in entry.errata.split():
            assert number[1:4] == place[1:4], f"{place}: {number} is of another text"
            assert entry.text.zh or number in of_points, f"{place}: nothing tells of {number}"


def test_every_number_of_a_point_is_one():
    assert {i for _, entry in ENTRIES for i in entry.points} == set(range(1, len(POINTS) + 1))


# ---- the machinery


def test_lines_are_joined_as_each_language_has_it():
    assert joined("没有\n    位置\n    a\n    b\n\n    c\n    。`d`") == "没有位置 a b\n\nc。`d`"
    assert joined("没有：\n\n    | 一 |\n    |---|\n    | 二 |") == "没有：\n\n| 一 |\n|---|\n| 二 |"


def test_a_formula_has_a_blank_before_it_behind_a_mark():
    assert with_blanks_before_formulas("即 $a$，$b$；$c$、`$d`") == "即 $a$， $b$； $c$、`$d`"


def test_anchors():
    assert slug("S000 3 核心算法原理 & 具体操作步骤") == "s000-3-核心算法原理--具体操作步骤"
    assert slug("9 Q1 GPT-2模型是否适用于所有NLP任务？ (Is it?)") == "9-q1-gpt-2模型是否适用于所有nlp任务-is-it"
    assert spelled_out("a (S000 3.2, 4.2; S001 9 Q2)") == "a (S000 3.2, S000 4.2; S001 9 Q2)"


@pytest.mark.parametrize("before", ['"""One line."""\n', '"""One line.\n\nChapter: S000 9.9;\nS004 1.1.\n"""\n'])
def test_a_line_is_put_in_taken_out_and_replaced(before):
    with_line = '"""One line.\n\nChapter: S000 3.2, 4.2; S001 9 Q2.\n"""\n'
    assert with_its_line(before, ["S000 3.2", "S000 4.2", "S001 9 Q2"]) == with_line
    assert with_its_line(with_line, []) == '"""One line."""\n'


def test_names_are_found():
    assert find("GPT2.hidden") == ("GPT2.hidden", ROOT / "gpt2np/models/gpt2.py")
    assert find("loading.load") == ("load", ROOT / "gpt2np/checkpoints/loading.py")
    with pytest.raises(AssertionError, match=r"load: expected one file that defines it, found .*loading.py, .*run_"):
        find("load")
    with pytest.raises(AssertionError, match="no_such_name: expected one file that defines it, found 0"):
        find("no_such_name")
    assert Entry().title == Both()
