"""docs/listings.md: each listing is short, equals the package, and has every mistake of the text's own beside a line.

That it runs, and prints what stands below it, tests/test_pages.py shows; that the Chinese page is the same,
tests/test_twins.py.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from gpt2np.layers import attention
from tests.chapter.page import TEXTS, spelled_out

PAGE = (Path(__file__).parents[1] / "docs" / "listings.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
MARKS = "①②③④⑤⑥⑦⑧⑨⑩"


def listings(section):
    return re.findall(r"^```python\n(.*?)^```$", SECTIONS[section], re.M | re.S)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_listing_is_short_and_every_mark_is_in_a_table(section):
    lines = [listing.splitlines() for listing in listings(section)]
    assert lines and all(len(listing) <= 30 for listing in lines)
    assert all(len(line) <= 120 for listing in lines for line in listing)
    marked = [mark for listing in lines for line in listing for mark in MARKS if f"# {mark}" in line]
    first_column = re.findall(rf"^\| ([{MARKS}]?) \|", SECTIONS[section], re.M)
    assert marked == sorted(set(marked), key=MARKS.index) and set(first_column) - {""} == set(marked)


def test_every_mistake_of_these_listings_is_told():
    """Those that docs/chapter.md tells of in the sections of the text where the code is."""
    places = {place for heading in SECTIONS for place in re.findall(r"S00\d [\d.]+", spelled_out(heading))}
    assert {place[:4] for place in places} == {text.number for text in TEXTS}
    of_code = {number for text in TEXTS for place, entry in text.entries() if place in places
               for number in entry.errata.split()}
    told = set(re.findall(r"\[(E\d{3}-\d\d)\]", PAGE))
    assert of_code <= told, f"no line tells of {sorted(of_code - told)}"
    for number, target in re.findall(r"\[(E\d{3}-\d\d)\]\(\.\./(.*?)\)", PAGE):
        text = (Path(__file__).parents[1] / target).read_text(encoding="utf-8")
        assert number in text or number.replace("-", "_") in text, f"{target} has no {number}"


def test_attention_is_the_packages():
    """Forward and backward, in double precision; the whole of it is compared on the page itself."""
    names = {}
    exec(listings("S000 4.4, 5.2 `SelfAttention`")[0], names)
    q, k, v, dy = np.random.default_rng(0).standard_normal((4, 2, 3, 5, 4))
    y, cache = names["attention_forward"](q, k, v)
    expected, c_expected = attention.attention_forward(q, k, v, causal=True)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-14)
    ours, theirs = names["attention_backward"](dy, cache), attention.attention_backward(dy, c_expected)
    for got, right in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, right, rtol=0, atol=1e-13)
    x = np.arange(24.0).reshape(1, 2, 12)
    np.testing.assert_array_equal(names["split_heads"](x, 3), attention.split_heads(x, 3))
    np.testing.assert_array_equal(names["merge_heads"](names["split_heads"](x, 3)), x)
