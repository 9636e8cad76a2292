"""The curves of a run as one HTML file with the pictures in it: any browser opens it, and nothing is fetched.

Chapter: S000 7.2.
"""

import html
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..checkpoints.files import replace_text
from ..page import html_page, nice_ticks, place

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 480, 75, 20, 20, 45
MAX_POINTS = 900                # of a line: one for each pixel

NO_FIGURES = ("step", "best", "sample")      # what else an evaluation's record holds

Points = list[tuple[float, float]]      # (step, figure)

STYLE = """<style>
text { font: 12px sans-serif; fill: var(--soft) }
svg { display: block; width: 100%; min-width: 48rem }
.grid { stroke: var(--line) } polyline { fill: none; stroke-width: 1.5 }
.train { stroke: rgba(var(--more), .5) } .val { stroke: rgb(var(--less)) } circle.val { fill: rgb(var(--less)) }
</style>
"""
PICTURE = """<p>{summary}</p>
<div class="scroll" tabindex="0" role="region" aria-label="{name}">
<svg viewBox="0 0 {width} {height}" role="img" aria-label="{name} by step">
{shapes}
</svg>
</div>
"""


def write_curve(path: str | Path, title: str, records: Sequence[dict]) -> None:
    """Draw the figures of a log by step into an HTML file; one that is there is replaced, whole.

    records  the records of log.jsonl, at least one of them with a loss

    The first picture has the losses, in nats; each other figure of the evaluations has one of its own below.
    """
    names = dict.fromkeys(name for r in records if "val_loss" in r for name in r if name not in NO_FIGURES)
    last = max(1, *(r["step"] for r in records))
    pictures = [picture("loss", points(records, "loss"), points(records, "val_loss"), last)]
    pictures += [picture(name.removeprefix("val_").replace("_", " "), [], points(records, name), last)
                 for name in names if name != "val_loss" and points(records, name)]
    replace_text(Path(path), html_page(title, f"{STYLE}<h1>{html.escape(title)}</h1>\n{''.join(pictures)}"))


def points(records: Sequence[dict], name: str) -> Points:
    """A figure by step, of the records that have it; where it is no number, as a share of nothing, it is left out."""
    return [(r["step"], r[name]) for r in records if name in r and math.isfinite(r[name])]


def picture(name: str, train: Points, val: Points, last: int) -> str:
    """A sentence and an SVG: a figure of the steps, and of the evaluations, from step 0 to the last one."""
    steps, figures = nice_ticks(0, last), nice_ticks(*(of(y for _, y in train + val) for of in (min, max)))
    to_x = partial(place, steps[0], steps[-1], LEFT, WIDTH - RIGHT)
    to_y = partial(place, figures[0], figures[-1], HEIGHT - BOTTOM, TOP)
    shapes = [f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{to_y(tick):.1f}" y2="{to_y(tick):.1f}"/>'
              f'<text x="{LEFT - 8}" y="{to_y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>' for tick in figures]
    shapes += [f'<text x="{to_x(tick):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{tick:,.10g}</text>'
               for tick in steps]
    shapes.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">step</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    shapes.append(f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
                  f'{html.escape(name)}</text>')
    for kind, line in (("train", averaged(train)), ("val", val)):
        places = [(to_x(step), to_y(figure)) for step, figure in line]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        shapes.append(f'<polyline class="{kind}" points="{joined}"/>')
        if kind == "val":
            shapes += [f'<circle class="val" cx="{x:.1f}" cy="{y:.1f}" r="2.5"><title>step {step:,}: {figure:.4f}'
                       "</title></circle>" for (x, y), (step, figure) in zip(places, line)]
    return PICTURE.format(summary=html.escape(summary(name, train, val)), width=WIDTH, height=HEIGHT,
                          name=html.escape(name), shapes="\n".join(shapes))


def summary(name: str, train: Points, val: Points) -> str:
    """The picture in one sentence, or two."""
    parts = []
    if train:
        parts.append(f"Blue: the training {name}, {train[-1][1]:.4f} at step {train[-1][0]:,}.")
    if val:
        (low_at, low), (high_at, high) = (of(val, key=lambda point: point[1]) for of in (min, max))
        highest = f", highest at step {high_at:,} with {high:.4f}" if name != "loss" else ""
        parts.append(f"Red: the validation {name}, lowest at step {low_at:,} with {low:.4f}{highest}.")
    return " ".join(parts)


def averaged(points: Points, most: int = MAX_POINTS) -> Points:
    """At most so many points, each the mean of as many neighbours: what a line of so many pixels can show."""
    size = math.ceil(len(points) / most) or 1
    groups = [points[i:i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
