"""Scripts by the names of letters."""

from gpt2np.text.scripts import foreign_script, script_of, scripts_of


def test_scripts():
    assert [script_of(c) for c in "a我яあ한é7。 〇"] == ["LATIN", "CJK", "CYRILLIC", "HIRAGANA", "HANGUL", "LATIN",
                                                       None, None, None, None]
    assert scripts_of(["我喜欢读书。", "他叫 Tom。", "я" + "我" * 200]) == ("CJK", "LATIN")       # 1 of 212 is rare
    assert scripts_of(["2026-11-26"]) == ()


def test_what_is_foreign():
    assert foreign_script("Привет, Tom", ("CJK", "LATIN")) is None      # in part it can be read
    assert foreign_script("Привет", ("CJK", "LATIN")) == "CYRILLIC"
    assert foreign_script("305", ("CJK",)) is None
    assert foreign_script("Привет", ()) is None                         # nobody knows what the model has seen
