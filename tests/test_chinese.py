"""docs/chinese.md says what Chinese costs in tokens: every figure on it is worked out again.

Those of the chapter and its companions need their texts; the others need nothing, and any reader can repeat them.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from gpt2np.text.bpe import Tokenizer
from gpt2np.text.bpe_train import learn_vocabulary
from tests.errata.test_bookkeeping import CHAPTER

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "chinese.md").read_text(encoding="utf-8")
COMMON = [bytes([row, column]).decode("gb2312") for row in range(0xB0, 0xD8) for column in range(0xA1, 0xFF)
          if (row, column) < (0xD7, 0xFA)]
ALL = [chr(code) for code in range(0x4E00, 0xA000)]


@pytest.fixture(scope="module")
def gpt2():
    return Tokenizer.gpt2()


@pytest.fixture(scope="module")
def texts():
    if not CHAPTER.is_dir():
        pytest.skip(f"needs {CHAPTER}, which is not here")
    return [path.read_text(encoding="utf-8") for path in sorted(CHAPTER.glob("00*.txt"))]


def row(name):
    """The numbers of a row of the table: how many, of one token, two, three, and the mean."""
    cells = re.search(rf"^\| {re.escape(name)}.*?\|(.*)\|$", PAGE, re.M)[1].split("|")
    return [float(cell.replace(",", "")) for cell in cells]


def counted(tokenizer, characters):
    lengths = [len(tokenizer.encode(character)) for character in characters]
    n = Counter(lengths)
    return [len(lengths), n[1], n[2], n[3], round(sum(lengths) / len(lengths), 2)]


def per_character(tokenizer, texts):
    """Tokens for each Chinese character of running text."""
    runs = [run for text in texts for run in re.findall(r"[\u4e00-\u9fff]+", text)]
    return sum(len(tokenizer.encode(run)) for run in runs) / sum(map(len, runs))


def test_the_table(gpt2):
    assert row("the first level of GB 2312") == counted(gpt2, COMMON)
    assert row("all from U+4E00") == counted(gpt2, ALL)


def test_the_row_of_the_texts(gpt2, texts):
    assert row("those in the chapter") == counted(gpt2, sorted(set("".join(texts)) & set(ALL)))


def test_what_is_said_of_single_characters(gpt2):
    one = {character for character in COMMON if len(gpt2.encode(character)) == 1}
    assert {"的", "一", "是", "王", "神"} <= one and not one & set("我在有")
    begins = {character for character in ALL if character.encode().startswith(b"\xe6\xb3")}
    assert "注" in begins and len(begins) == 64 and "some sixty others" in PAGE


def test_what_a_window_holds():
    assert 440 < 1024 / 2.25 < 460 and "some 450 characters" in PAGE


def test_the_demo_model_spells_every_character_in_three_tokens():
    demo = Tokenizer.load(ROOT / "weights" / "demo")
    assert {len(demo.encode(character)) for character in COMMON} == {3}


def test_running_text(gpt2, texts):
    """2.25 tokens for a character with GPT-2's vocabulary, and 0.48 with one that was learned from these texts."""
    learned = learn_vocabulary(sorted(CHAPTER.glob("00*.txt")), 3000)
    assert [round(per_character(tokenizer, texts), 2) for tokenizer in (gpt2, learned)] == [2.25, 0.48]
    assert [len(tokenizer.encode("自注意力机制")) for tokenizer in (gpt2, learned)] == [13, 1]
    for figure in ("**2.25**", "**0.48**", "is 1 token, where GPT-2 has 13", "With 3,000 tokens"):
        assert figure in " ".join(PAGE.split())


def test_this_projects_own_pages_give_much_the_same(gpt2):
    """They change, so the page says about a half."""
    pages = [ROOT / "docs" / name for name in re.search(r"train_tokenizer (docs.*?) --n-vocab 3000", PAGE)[1].split()
             for name in [Path(name).name]]
    learned = learn_vocabulary(pages, 3000)
    texts = [page.read_text(encoding="utf-8") for page in pages]
    assert 0.4 < per_character(learned, texts) < 0.65 and 2.1 < per_character(gpt2, texts) < 2.4
    assert len(learned.encode("自注意力机制")) < 6
