"""A page in Chinese says what its English twin says: the same commands, examples, figures, links and tables.

docs/NAME.zh.md is the twin of docs/NAME.md, README.zh-CN.md of README.md. tests/test_pages.py runs the English page, so
what is equal on the Chinese one works, too. What is printed, python -m tests.chapter copies; the rest a person writes.
"""

import ast
import re
from collections import Counter
from itertools import zip_longest

import pytest

from tests.chapter.twins import TWINS, with_what_is_printed
from tests.test_pages import Command, Example, on_page

every_pair = pytest.mark.parametrize("chinese, english", TWINS.items(), ids=lambda page: page.name)

HAN = r"[\u4e00-\u9fff]"
NUMBER = r"(?<![A-Za-z0-9_.])(\d+(?:,\d{3})+|\d+(?:\.\d+)?(?:e-?\d+)?)"
MULTIPLES = {"": 1, "thousand": 1e3, "万": 1e4, "million": 1e6, "亿": 1e8, "billion": 1e9}
# What mainland textbooks do not say; and what is said instead. 词元 is the official word for token.
AVOIDED = {"令牌": "词元", "层标准化": "层归一化", "层规范化": "层归一化", "掩膜": "掩码", "遮罩": "掩码",
           "残差链接": "残差连接", "反向传递": "反向传播", "权值": "权重", "缺省": "默认", "程序代码": "代码"}


def parts(page):
    """The page in its parts: (how deep the heading is, the text below it), code in blocks left out."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.split(r"^(#+) .*", text, flags=re.M)
    return [("", headings[0]), *zip(headings[1::2], headings[2::2])]


def prose(text):
    """Without blocks of code, code in a sentence, formulas, and where links lead."""
    text = re.sub(r"^    .*", "", text, flags=re.M)
    text = re.sub(r"<!--.*?-->|`[^`]+`|\$[^$]+\$|\]\([^)]*\)|<https?:[^>]*>|(https?|arXiv):\S+", " ", text, flags=re.S)
    return re.sub(r"\bS00\d [\d.,、 ]+(?:(?:and|和) [\d.]+)?|\bE\d{3}-\d\d|[A-Za-z][\w.-]*\d[\w.]*", " ", text)


def figures(text):
    """Every number of a text, whatever it is counted in: 5.9 million is 590 万."""
    units = "|".join(filter(None, MULTIPLES))
    return Counter(round(float(number.replace(",", "")) * MULTIPLES[unit], 6) for number, unit in re.findall(
        rf"{NUMBER}(?: ?({units}))?", prose(text)))


def code_in(text):
    """The code in its sentences, as often as it is there."""
    return Counter(re.sub(r"\s+", " ", code) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(
        r"^    .*", "", text, flags=re.M)))


def same(name, chinese, english):
    missing, extra = english - chinese, chinese - english
    assert not (missing or extra), f"{name}: the English page has also {dict(missing)}, the Chinese one {dict(extra)}"


@every_pair
def test_it_has_the_same_commands_and_examples(chinese, english):
    """Comments in the examples and explanations behind commands are in the page's language; all else is equal."""
    theirs, ours = ([(type(item).__name__, ast.dump(ast.parse(item.text)) if isinstance(item, Example) else item.text,
                      item.output if isinstance(item, (Command, Example)) else None)
                     for item in on_page(page.read_text(encoding="utf-8"))] for page in (english, chinese))
    for got, expected in zip_longest(sorted(map(str, ours)), sorted(map(str, theirs))):
        assert got == expected, f"{chinese.name}: expected what {english.name} has"


@every_pair
def test_it_has_the_same_headings_figures_and_code(chinese, english):
    """Part by part, so that what is missing is found."""
    ours, theirs = parts(chinese), parts(english)
    assert [depth for depth, _ in ours] == [depth for depth, _ in theirs], f"{chinese.name}: other headings"
    for i, ((_, here), (_, there)) in enumerate(zip(ours, theirs)):
        place = f"{chinese.name}, part {i}: {here.strip()[:30]!r}"
        same(place, figures(here), figures(there))
        same(place, code_in(here), code_in(there))


@every_pair
def test_it_leads_where_its_twin_leads(chinese, english):
    """Each page leads to pages in its own language where there is one, and by [English] or [中文] to the others."""
    to_english = TWINS | {page: page for page in TWINS.values()}

    def targets(page):
        found = Counter()
        for text, target in re.findall(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("https://", "#")):
                path = (page.parent / target.partition("#")[0]).resolve()
                found[to_english.get(path, path)] += 1
                other = TWINS if page == english else TWINS.values()
                assert path not in other or text in ("English", "中文"), f"{page.name} leads to {path.name}: {text}"
        return found

    same(chinese.name, targets(chinese), targets(english))
    for page, link in ((chinese, f"[English]({english.name})"), (english, f"[中文]({chinese.name})")):
        assert link in page.read_text(encoding="utf-8")[:1000], f"{page.name}: expected {link} at its head"


@every_pair
def test_its_tables_have_the_same_rows(chinese, english):
    """Row by row the same code and the same figures."""
    def rows(page):
        return re.findall(r"^\|.*", page.read_text(encoding="utf-8"), re.M)

    ours, theirs = rows(chinese), rows(english)
    assert len(ours) == len(theirs)
    for here, there in zip(ours, theirs):
        assert here.count("|") == there.count("|"), here
        same(here[:40], code_in(here), code_in(there))
        same(here[:40], figures(here), figures(there))


@pytest.mark.parametrize("page", TWINS, ids=lambda page: page.name)
def test_it_is_set_as_chinese_is(page):
    """Marks of full width, 5% and not 5 %, one line for each paragraph (a break is a blank), and bold that is bold.

    By CommonMark's rule ** does not close between a mark and a letter: **注意：**这 stays as it is typed.
    """
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    bare = re.sub(r"`[^`]*`|\]\([^)]*\)|\$[^$]*\$", "", text)
    assert not (wrong := re.findall(rf"{HAN}[,;:?!()].{{0,9}}|{HAN}\.(?!\w).{{0,9}}", bare)), wrong
    assert not (apart := re.findall(r"\d %", bare)), apart
    assert not (broken := re.findall(rf"{HAN}\n{HAN}.*", bare)), broken
    assert not (not_bold := re.findall(r"[，。：；！？）”》]\*\*\w.{0,9}", text)), not_bold
    comments = [comment for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
                for comment in re.findall(r"# .*", block)]
    assert not (english := [comment for comment in comments if re.search(r"[a-z]{2,} [a-z]{2,}", comment)]), english
    assert not (words := {word: better for word, better in AVOIDED.items() if word in text}), words


def test_what_is_printed_is_copied():
    chinese = "甲\n```python\n# 丙\n```\n乙\n```\n1 s\n```\n"
    english = "a\n```python\n# c\n```\nb\n```\n2 s\n```\n"
    assert with_what_is_printed(chinese, english) == chinese.replace("1 s", "2 s")
    assert with_what_is_printed(chinese, "```\n1\n```\n```\n2\n```\n") == chinese
