"""All 130 mistakes are accounted for, what is quoted is what the texts say, and docs/chapter.md counts right."""

import importlib
import re
from pathlib import Path

import pytest

from .facts import FACTS
from .reading import TEXTS, says

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CHAPTER, LIST = ROOT.parent / "shared" / "chapter", ROOT.parent / "shared" / "errata.md"
PAGE = " ".join((ROOT / "docs" / "chapter.md").read_text(encoding="utf-8").split())

KNOWN = {f"E{text:03}-{i:02}" for text, n in enumerate((39, 35, 19, 17, 20)) for i in range(1, n + 1)}


def numbered():
    """(name, function) of every test with the number of a mistake in its name."""
    for path in sorted(HERE.glob("test_s0*.py")):
        module = importlib.import_module(f"{__package__}.{path.stem}")
        yield from ((name, test) for name, test in vars(module).items() if name.startswith("test_E"))


def proven():
    """The number of a mistake -> the tests that work it out."""
    found = {}
    for name, _ in numbered():
        for text, i in re.findall(r"E(\d{3})_(\d\d)", name):
            found.setdefault(f"E{text}-{i}", []).append(name)
    return found


def test_every_mistake_has_one_test_or_a_source():
    assert set(proven()) | set(FACTS) == KNOWN
    assert all(len(names) == 1 for names in proven().values())
    with_a_page = {number for number, fact in FACTS.items() if fact.page}
    assert with_a_page == KNOWN - set(proven())


def test_the_page_counts_right():
    counts = re.search(r"(\d+) of the (\d+) known mistakes.*?[Tt]he other (\d+)", PAGE)
    assert [int(n) for n in counts.groups()] == [len(proven()), len(KNOWN), len(KNOWN) - len(proven())]


@pytest.mark.parametrize("number", [number for number, fact in FACTS.items() if fact.page])
def test_the_page_tells_the_facts(number):
    assert FACTS[number].page in PAGE, number
    assert FACTS[number].source


def test_every_test_quotes_its_text():
    """And a text of its numbers: that of E001-14 is S001."""
    for name, test in numbered():
        places = {place[1:4] for place, words in getattr(test, "says", ()) if words}
        assert places >= set(re.findall(r"E(\d{3})_\d\d", name)), name


# ---- beside the texts


@pytest.fixture(scope="module")
def sections():
    """place -> what stands there: "S001 5.2"."""
    if not CHAPTER.is_dir():
        pytest.skip(f"needs {CHAPTER}, which is not here")
    found = {}
    for path in sorted(CHAPTER.glob("00*.txt")):
        text = re.sub(r"[ \t]+$", "", path.read_text(encoding="utf-8"), flags=re.M)
        parts = re.split(r"^#+ +(\d(?:\.\d)*)\b", text, flags=re.M)
        found |= {f"S{path.name[:3]} {number}": words for number, words in zip(parts[1::2], parts[2::2])}
    return found


def test_quotations_are_word_for_word(sections):
    quoted = [(name, place, word) for name, test in numbered() for place, words in test.says for word in words]
    quoted += [(number, fact.place, fact.says) for number, fact in FACTS.items()]
    for name, place, word in quoted:
        assert word in sections[place], f"{name}: not in {place}: {word}"


def test_listings_are_word_for_word(sections):
    """Every line of each, in this order; of formulas, what stands between them was left out."""
    for path in sorted(TEXTS.glob("*.txt")):
        text, number = path.stem.split("-")[:2]
        lines = iter(sections[f"{text} {number}"].splitlines())
        for line in path.read_text(encoding="utf-8").splitlines():
            assert line in lines, f"{path.name}: {line}"


def test_the_listing_of_s000_5_2_is_put_together_right(sections):
    from .reading import whole_listing_of_s000_5_2
    printed = re.search(r"```python\n(.*?)```", sections["S000 5.2"], re.S)[1]
    assert [line for line in printed.splitlines() if line] == [
        line for line in whole_listing_of_s000_5_2().splitlines() if line]


def test_the_list_of_mistakes_is_known():
    if not LIST.is_file():
        pytest.skip(f"needs {LIST}, which is not here")
    assert set(re.findall(r"^\| (E\d{3}-\d\d) ", LIST.read_text(encoding="utf-8"), re.M)) == KNOWN


def test_says_keeps_what_it_is_given():
    @says("S001 1.1", "a")
    @says("S002 2.2", "b", "c")
    def test():
        pass

    assert test.says == [("S002 2.2", ("b", "c")), ("S001 1.1", ("a",))]
