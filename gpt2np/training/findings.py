"""What came of fine-tuning: a report as text, and as one HTML page that fetches nothing.

Both show the same: what the model reaches beside who always says the same, the reports of labels, which label was taken
for which, and the worst mistakes.  What is in words is there in English and in Chinese; the page has a button.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import NamedTuple

import numpy as np

from ..hints import Array
from ..page import html_page
from ..text.columns import columns_of, fitted

COLUMNS = 80                    # of the report as text
BESIDE = 14                     # of them for a label beside what was taken for what
MOST_MISTAKES = 20
MOST_LABELS = 20                # of which it is shown what was taken for what


class Both(NamedTuple):
    """The same in English and in Chinese."""
    en: str
    zh: str


class Line(NamedTuple):
    """A text in pieces, each with the kind of thing that it is, or ""."""
    caption: Both
    pieces: Sequence[tuple[str, str]]


class Mistake(NamedTuple):
    """What was wrong: the texts that say it, and how wrong it was."""
    lines: Sequence[Line]
    loss: float


@dataclass
class Findings:
    """What a report says.

    score      what each row of scores has numbers of
    scores     the model's, and those of others to compare with; a number may be missing: nan
    tables     reports of labels, under their titles
    labels     of which confusion (K, K) counts how often a right one, its row, was taken for its column
    mistakes   the worst first
    kinds      of the pieces of texts that are coloured
    n, wrong   how many examples there are, and how many of them have a mistake
    """
    score: Sequence[str]
    scores: Sequence[tuple[Both, Sequence[float]]]
    n: int
    wrong: int
    tables: Sequence[tuple[Both, str]] = ()
    labels: Sequence[str] = ()
    confusion: Array | None = None
    mistakes: Sequence[Mistake] = ()
    kinds: Sequence[str] = ()
    notes: list[Both] = field(default_factory=list)


THE_MODEL = Both("the model", "模型")
RIGHT, PREDICTED = Both("right", "正确"), Both("predicted", "预测")
CONFUSION = Both("What was taken for what", "什么被当成了什么")
SCORES = Both("What it reaches", "成绩")
MISTAKES = Both("The worst mistakes", "最严重的错误")
ROWS = Both("rows: what is right; columns: what was predicted", "行：正确的标签；列：预测的标签")


def worst(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """The mistakes that are shown."""
    return sorted(mistakes, key=lambda mistake: -mistake.loss)[:MOST_MISTAKES]


def confused(labels: Sequence[str], gold: Iterable[str], found: Iterable[str]) -> Array:
    """(K, K)   how often each label, a row, was taken for each, a column."""
    places = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), int)
    for a, b in zip(gold, found):
        counts[places[a], places[b]] += 1
    return counts


def wrong_of(findings: Findings) -> Both:
    """How many mistakes there are, and how many are shown."""
    shown, wrong, n = len(findings.mistakes), findings.wrong, findings.n
    return Both(f"{wrong:,} of {n:,} have a mistake" + f"; the {shown} worst" * (shown < wrong),
                f"{n:,} 个中有 {wrong:,} 个出错" + f"；以下是最严重的 {shown} 个" * (shown < wrong))


# ---- as text


def as_text(title: Both, findings: Findings) -> str:
    """The report, in at most 80 columns where no text is longer."""
    notes = "\n".join(fill(note.en, COLUMNS, break_long_words=False, break_on_hyphens=False) for note in findings.notes)
    parts = [title.en, notes, score_table(findings)]
    parts += [f"{name.en}\n\n{table}" for name, table in findings.tables]
    if findings.confusion is not None and len(findings.labels) <= MOST_LABELS:
        parts.append(f"{CONFUSION.en} ({ROWS.en})\n\n{confusion_table(findings)}")
    if findings.mistakes:
        parts.append(f"{MISTAKES.en}: {wrong_of(findings).en}\n\n" + "\n\n".join(
            "\n".join(f"{line.caption.en + ':':<11}{bracketed(line.pieces)}" for line in mistake.lines)
            for mistake in findings.mistakes))
    return "\n\n".join(part for part in parts if part) + "\n"


def score_table(findings: Findings) -> str:
    """The scores of the model, and of others."""
    width = max(columns_of(name.en) for name, _ in findings.scores)
    lines = [" " * width + "".join(f"{name:>11}" for name in findings.score)]
    lines += [fitted(name.en, width) + "".join(f"{number(value):>11}" for value in values)
              for name, values in findings.scores]
    return "\n".join(line.rstrip() for line in lines)


def confusion_table(findings: Findings) -> str:
    """The counts, with labels that are cut so that a line is not too long; columns that have no room are below."""
    labels, counts = findings.labels, findings.confusion
    assert counts is not None
    room, longest = COLUMNS - BESIDE, max(columns_of(label) for label in labels)
    width = min(12, room // len(labels)) if len(labels) <= room // 6 else max(6, min(12, longest + 1))
    blocks = []
    for first in range(0, len(labels), room // width):
        some = slice(first, first + room // width)
        heads = (fitted(label, width - 1).rstrip() for label in labels[some])
        blocks.append("\n".join([" " * BESIDE + "".join(" " * (width - columns_of(head)) + head for head in heads)] + [
            fitted(label, BESIDE) + "".join(f"{n:>{width}}" for n in row[some]) for label, row in zip(labels, counts)]))
    return "\n\n".join(blocks)


def bracketed(pieces: Sequence[tuple[str, str]]) -> str:
    """A text with what is coloured elsewhere in brackets."""
    return "".join(f"[{text} {kind}]" if kind else text for text, kind in pieces)


def number(value: float) -> str:
    """A number as it is shown; nothing for none."""
    return "" if np.isnan(value) else f"{value:.4f}"


# ---- as a page

STYLE = """<style>
.zh [lang=en], .en [lang=zh-CN] { display: none }
table { border-collapse: collapse; margin: .5rem 0 }
th, td { border: 1px solid var(--line); padding: .25rem .6rem; text-align: right }
th { font-weight: normal; color: var(--soft) }
td:first-child, th:first-child { text-align: left }
tr.model td { font-weight: bold }
pre { font: 14px/1.35 monospace; overflow-x: auto }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem .8rem; border-top: 1px solid var(--line);
  padding-top: .6rem; margin: .6rem 0 }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
mark { color: inherit; border-radius: .25rem; padding: .05rem .25rem }
mark small { color: var(--soft); margin-left: .3rem }
button { font: inherit; color: inherit; background: none; border: 1px solid var(--line); border-radius: .3rem;
  float: right; padding: .1rem .7rem }
p { margin: .3rem 0 }
</style>
"""
SWITCH = """<script>
document.querySelector("button").onclick = () => {
  const zh = document.body.classList.toggle("zh")
  document.body.classList.toggle("en", !zh)
  document.documentElement.lang = zh ? "zh-CN" : "en"
}
</script>
"""


def as_page(title: Both, findings: Findings) -> str:
    """The report as HTML."""
    parts = [STYLE, '<body class="en">\n<button><span lang="en">中文</span><span lang="zh-CN">English</span></button>',
             heading(1, title), *(f"<p>{both(note)}</p>" for note in findings.notes), heading(2, SCORES),
             scores_as_html(findings)]
    parts += [f'{heading(2, name)}\n<pre class="scroll" tabindex="0">{html.escape(table)}</pre>'
              for name, table in findings.tables]
    if findings.confusion is not None and len(findings.labels) <= MOST_LABELS:
        parts += [heading(2, CONFUSION), f"<p>{both(ROWS)}</p>", confusion_as_html(findings)]
    if findings.mistakes:
        parts += [heading(2, MISTAKES), f"<p>{both(wrong_of(findings))}</p>"]
        parts += ["<dl>" + "".join(f"<dt>{both(line.caption)}</dt><dd>{coloured(line.pieces, findings.kinds)}</dd>"
                                   for line in mistake.lines) + "</dl>" for mistake in findings.mistakes]
    return html_page(title.en, "\n".join([*parts, SWITCH]))


def both(words: Both) -> str:
    """Words in both languages, of which the page shows one."""
    return f'<span lang="en">{html.escape(words.en)}</span><span lang="zh-CN">{html.escape(words.zh)}</span>'


def heading(level: int, words: Both) -> str:
    return f"<h{level}>{both(words)}</h{level}>"


def scores_as_html(findings: Findings) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ["", *findings.score])
    rows = "".join(f"<tr{' class=model' * (name == THE_MODEL)}><td>{both(name)}</td>"
                   + "".join(f"<td>{number(value)}</td>" for value in values) + "</tr>\n"
                   for name, values in findings.scores)
    return f'<div class="scroll"><table><tr>{head}</tr>\n{rows}</table></div>'


def confusion_as_html(findings: Findings) -> str:
    """A cell is the darker, the larger its part of its row."""
    counts = findings.confusion
    assert counts is not None
    head = "".join(f"<th>{html.escape(label)}</th>" for label in ["", *findings.labels])
    rows = []
    for label, row in zip(findings.labels, counts):
        shares = row / max(row.sum(), 1)
        cells = "".join(f'<td style="background: rgba(var(--ink), calc(var(--most) * {share:.3f}))">{n}</td>'
                        for n, share in zip(row, shares))
        rows.append(f"<tr><td>{html.escape(label)}</td>{cells}</tr>\n")
    return f'<div class="scroll"><table><tr>{head}</tr>\n{"".join(rows)}</table></div>'


def coloured(pieces: Sequence[tuple[str, str]], kinds: Sequence[str]) -> str:
    """A text whose pieces have the colours of their kinds, and their names, for who sees no colours."""
    found = []
    for text, kind in pieces:
        if kind:
            hue = 360 * list(kinds).index(kind) // len(kinds)
            found.append(f'<mark style="background: hsla({hue}, 70%, 50%, .25)">{html.escape(text)}'
                         f"<small>{html.escape(kind)}</small></mark>")
        else:
            found.append(html.escape(text))
    return "".join(found)
