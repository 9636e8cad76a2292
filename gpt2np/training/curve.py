"""The loss curve of a run as one HTML file with the picture in it: any browser opens it, and nothing is fetched."""

import html
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..checkpoints.files import replace_text

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 480, 60, 20, 20, 45
MAX_POINTS = 900                # of a line: one for each pixel

Points = list[tuple[float, float]]      # (step, loss)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px sans-serif; margin: 2em auto; max-width: {width}px; color: #222; background: #fff }}
text {{ font: 12px sans-serif; fill: #555 }}
.grid {{ stroke: #ddd }} polyline {{ fill: none; stroke-width: 1.5 }}
.train {{ stroke: #9bb8d3; fill: none }} .val {{ stroke: #c0392b; fill: none }} circle.val {{ fill: #c0392b }}
</style>
<h1>{title}</h1>
<p>{summary}</p>
<svg viewBox="0 0 {width} {height}" role="img" aria-label="loss by step">
{shapes}
</svg>
</html>
"""


def write_curve(path: str | Path, title: str, records: Sequence[dict]) -> None:
    """Draw the losses of a log, in nats by step, into an HTML file; one that is there is replaced, whole.

    records  the records of log.jsonl, at least one of them with a loss
    """
    train = [(r["step"], r["loss"]) for r in records if "loss" in r]
    val = [(r["step"], r["val_loss"]) for r in records if "val_loss" in r]
    points = train + val
    steps = nice_ticks(0, max(1, *(step for step, _ in points)))
    losses = nice_ticks(min(loss for _, loss in points), max(loss for _, loss in points))
    to_x = partial(place, steps[0], steps[-1], LEFT, WIDTH - RIGHT)
    to_y = partial(place, losses[0], losses[-1], HEIGHT - BOTTOM, TOP)
    shapes = [f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{to_y(tick):.1f}" y2="{to_y(tick):.1f}"/>'
              f'<text x="{LEFT - 8}" y="{to_y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>' for tick in losses]
    shapes += [f'<text x="{to_x(tick):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{tick:,.10g}</text>'
               for tick in steps]
    shapes.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">step</text>')
    for name, line in (("train", averaged(train)), ("val", val)):
        places = [(to_x(step), to_y(loss)) for step, loss in line]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        shapes.append(f'<polyline class="{name}" points="{joined}"/>')
        if name == "val":
            shapes += [f'<circle class="val" cx="{x:.1f}" cy="{y:.1f}" r="2.5"><title>step {step:,}: {loss:.4f}</title>'
                       "</circle>" for (x, y), (step, loss) in zip(places, line)]
    replace_text(Path(path), PAGE.format(title=html.escape(title), summary=summary(train, val), width=WIDTH,
                                         height=HEIGHT, shapes="\n".join(shapes)))


def summary(train: Points, val: Points) -> str:
    """The picture in one sentence."""
    parts = []
    if train:
        parts.append(f"Blue: the training loss, {train[-1][1]:.4f} nats a token at step {train[-1][0]:,}.")
    if val:
        step, loss = min(val, key=lambda point: point[1])
        parts.append(f"Red: the validation loss, lowest at step {step:,} with {loss:.4f}.")
    return " ".join(parts)


def averaged(points: Points, most: int = MAX_POINTS) -> Points:
    """At most so many points, each the mean of as many neighbours: what a line of so many pixels can show."""
    size = math.ceil(len(points) / most) or 1
    groups = [points[i:i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


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
