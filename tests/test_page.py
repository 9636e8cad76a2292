"""What all pages share: round numbers on an axis, and colours that can be read in light and in dark."""

import re
from itertools import pairwise

import pytest

from gpt2np.page import html_page, nice_ticks, place


@pytest.mark.parametrize("low, high", [(0, 1), (3.0, 3.0), (0, 123456), (1.93, 8.3), (2.001, 2.002), (0, 7)])
def test_ticks_are_few_and_round_and_enclose(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 12
    assert len({round(b - a, 9) for a, b in pairwise(ticks)}) == 1


def test_a_place_on_an_axis():
    assert [place(2, 4, 100, 0, value) for value in (2, 3, 4)] == [100, 50, 0]


def contrast(one, other):
    """Of two colours, as WCAG 2 defines it: 1 for the same, 21 for black on white."""
    def light(colour):
        parts = [c / 255 for c in colour]
        return sum(w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
                   for w, c in zip((0.2126, 0.7152, 0.0722), parts))
    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_colour_of_letters_can_be_read_in_light_and_in_dark():
    """4.5 is what WCAG 2 asks of small letters, 3 of lines in a picture."""
    for scheme in re.findall(r":root \{(.*?)\}", html_page("", ""), re.DOTALL):
        values = {name: value.strip() for name, value in re.findall(r"--(\w+): ([^;]+)", scheme)}
        most, colours = float(values.pop("most")), {name: colour(value) for name, value in values.items()}
        assert set(colours) == {"fg", "bg", "soft", "line", "ink", "more", "less"}
        for name, least in {"fg": 7, "soft": 4.5, "ink": 3, "more": 3, "less": 3}.items():
            assert contrast(colours[name], colours["bg"]) >= least, (name, scheme)
        for name in ("ink", "more", "less"):            # letters on the strongest shade of it
            behind = [b + most * (c - b) for b, c in zip(colours["bg"], colours[name])]
            assert contrast(colours["fg"], behind) >= 4.5, (name, scheme)


def colour(value):
    """#rgb, #rrggbb or "r, g, b" -> [r, g, b]"""
    if not value.startswith("#"):
        return [int(c) for c in value.split(",")]
    digits = value[1:] if len(value) == 7 else "".join(2 * c for c in value[1:])
    return [int(digits[i:i + 2], 16) for i in (0, 2, 4)]


def test_a_title_is_text():
    assert "<title>&lt;b&gt; &amp; {x}</title>" in html_page("<b> & {x}", "<p>{y}</p>")
    assert html_page("", "<p>{y}</p>").count("<p>{y}</p>") == 1
