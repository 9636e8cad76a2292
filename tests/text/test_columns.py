"""Texts in columns of a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text.columns import columns_of, fitted, fitting, padded


def test_columns():
    for text, n in (("", 0), ("abc", 3), ("自a注", 5), ("，", 2), ("e\u0301", 1), ("ｱ", 1), ("한", 2), ("😀", 2),
                    ("ab…", 3), ("ＰＥＲ-a", 8)):
        assert columns_of(text) == n == columns_of(padded(text, 0))
        assert columns_of(padded(text, 9)) == 9
    assert [fitting("a自b", n) for n in range(5)] == ["", "a", "a", "a自", "a自b"]
    assert [fitted("a自b", n) for n in range(1, 6)] == ["…", "a…", "a… ", "a自b", "a自b "]


@given(st.text(st.sampled_from("ab 自注力，e\u0301 "), max_size=20), st.integers(1, 30))
def test_a_text_is_fitted(text, n):
    """It takes all its columns, and is cut only where there is no room for it."""
    found = fitted(text, n)
    assert columns_of(found) == n
    assert found.startswith(text) if columns_of(text) <= n else text.startswith(found.rstrip().removesuffix("…"))
