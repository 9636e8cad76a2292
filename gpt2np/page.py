"""What all HTML pages have in common: one file, readable in light and dark and on a phone, that fetches nothing."""

import html
import math

# Colours by what they are for.  --ink, --more and --less are parts of rgb() and rgba(), so that they can be lighter:
# behind letters at most --most of them, so that the letters can be read.
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --fg: #1c1c1c; --bg: #fff; --soft: #5c5c5c; --line: #d5d5d5; --ink: 31, 92, 153;
  --more: 31, 92, 153; --less: 178, 58, 38; --most: .7 }}
@media (prefers-color-scheme: dark) {{ :root {{ --fg: #e8e8e8; --bg: #16181b; --soft: #a8a8a8; --line: #3c4046;
  --ink: 120, 180, 240; --more: 120, 180, 240; --less: 240, 130, 105;
  --most: .53 }} }}
body {{ font: 16px/1.5 sans-serif; color: var(--fg); background: var(--bg); max-width: 70rem; margin: 0 auto;
  padding: 1rem }}
h1 {{ font-size: 1.3rem; overflow-wrap: anywhere }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .3rem }}
.scroll {{ overflow-x: auto; max-width: 100% }}
:focus-visible {{ outline: 3px solid rgb(var(--ink)) }}
</style>
{body}</html>
"""


def html_page(title: str, body: str) -> str:
    """The page with this title; the body is HTML, and may begin with a style of its own."""
    return PAGE.format(title=html.escape(title), body=body)


def nice_ticks(low: float, high: float) -> list[float]:
    """A few round numbers from `low` or below to `high` or above, 1, 2 or 5 times a power of ten apart."""
    spread = max(high - low, 1e-9)
    step = 10 ** math.floor(math.log10(spread / 4))
    step *= next(factor for factor in (5, 2, 1) if spread / (factor * step) >= 4 or factor == 1)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def place(low: float, high: float, start: float, end: float, value: float) -> float:
    """Where a number stands on an axis that goes from `low` at `start` to `high` at `end`."""
    return start + (value - low) / (high - low) * (end - start)
