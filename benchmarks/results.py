"""What benchmarks/all.py found: a table for a terminal, a file of JSON, a page with bars, and both READMEs' tables.

Everything that is shown follows from the seconds of each round, which are in the file.
"""

import html
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpt2np.checkpoints.files import replace_text
from gpt2np.page import html_page

ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).parent / "results.json"       # the run from which the READMEs have their figures
OURS, ENOUGH = "gpt2np", 5                          # rounds, for a median that others may quote


class Row(NamedTuple):
    """One thing that was measured.

    name     what is done
    seconds  by side, ours first: what each of its rounds took; the rounds of all sides belong together
    unit     what is shown: "s", or what is done in a second, as "tokens/s"
    work     how much of that is done in the seconds of a round
    limit    what the machine allows at most, and its seconds; None where nobody can say
    """

    name: str
    seconds: dict[str, list[float]]
    unit: str = "s"
    work: float = 1.0
    limit: tuple[str, float] | None = None

    def shown(self, side: str) -> str:
        """The median of a side, as 1.37 s or 54.2 tokens/s."""
        return amount(statistics.median(self.seconds[side]), self.unit, self.work)

    def middle(self, side: str) -> tuple[float, float]:
        """The first and the last quartile of its seconds."""
        return quartiles(self.seconds[side])

    def ratios(self, side: str) -> list[float]:
        """How many times as fast as that side we are, round by round."""
        return [theirs / ours for ours, theirs in zip(self.seconds[OURS], self.seconds[side])]

    def share(self) -> float | None:
        """Of what the machine allows, how much we reach."""
        return self.limit and self.limit[1] / statistics.median(self.seconds[OURS])

    def record(self) -> dict[str, Any]:
        """For the file: the seconds, and what follows from them."""
        sides = []
        for name, seconds in self.seconds.items():
            side = {"name": name, "median": statistics.median(seconds), "quartiles": quartiles(seconds),
                    "seconds": seconds}
            if name != OURS:
                ratios = self.ratios(name)
                side |= {"times as fast": statistics.median(ratios), "quartiles of that": quartiles(ratios)}
            sides.append(side)
        limit = self.limit and {"name": self.limit[0], "seconds": self.limit[1], "share": self.share()}
        return {"name": self.name, "unit": self.unit, "work": self.work, "limit": limit, "sides": sides}


def row_of(record: dict[str, Any]) -> Row:
    """The row of a record."""
    limit = record["limit"] and (record["limit"]["name"], record["limit"]["seconds"])
    return Row(record["name"], {side["name"]: side["seconds"] for side in record["sides"]}, record["unit"],
               record["work"], limit)


def quartiles(figures: Sequence[float]) -> tuple[float, float]:
    """Between the two lies the middle half."""
    if len(figures) == 1:
        return figures[0], figures[0]
    first, _, last = statistics.quantiles(figures, method="inclusive")
    return first, last


def digits(figure: float) -> str:
    """Three digits that count, and all of those before the point: 0.0123, 1.37, 54.2, 1,024."""
    figure = float(f"{figure:.3g}") if figure < 1000 else figure        # 99.96 has one digit more when it is rounded
    return f"{figure:,.{max(0, 2 - math.floor(math.log10(figure)))}f}"


def amount(seconds: float, unit: str, work: float) -> str:
    """The seconds as they are shown."""
    if unit != "s":
        return f"{digits(work / seconds)} {unit}"
    return f"{digits(seconds)} s" if seconds >= 1 else f"{digits(seconds * 1e3)} ms"


def spread(row: Row, side: str) -> str:
    """The quartiles of a side in the unit of its median, as 1.35 to 1.40."""
    first, last = row.middle(side)
    if row.unit != "s":
        first, last = row.work / last, row.work / first
    elif statistics.median(row.seconds[side]) < 1:
        first, last = first * 1e3, last * 1e3
    return f"{digits(first)} to {digits(last)}"


def ratio(row: Row, side: str) -> tuple[str, str]:
    """How many times as fast we are, and the quartiles of the rounds."""
    first, last = quartiles(row.ratios(side))
    return f"{statistics.median(row.ratios(side)):.2f}", f"{first:.2f} to {last:.2f}"


# ---- the table for a terminal


def heading(group: str) -> str:
    return f"\n{group:28}{'median':>15}{'quartiles':>17}{'times as fast, quartiles':>26}"


def lines(row: Row) -> str:
    """A row of the table, 86 columns wide: a line for each side, ours with the share of the machine's limit."""
    text = [f"{row.name}"]
    for side in row.seconds:
        line = f"  {side:26}{row.shown(side):>15}{spread(row, side):>17}"
        if side != OURS:
            times, middle = ratio(row, side)
            line += f"{times:>12}  {middle:>12}"
        elif row.limit:
            line += f"{row.share():>12.0%}  of {row.limit[0]}"
        text.append(line)
    return "\n".join(text)


def about(found: dict[str, Any]) -> str:
    """The machine and the peers, in a few lines."""
    machine = found["machine"]
    missing = [name for name, version in found["versions"].items() if version is None]
    there = [f"{name} {version}" for name, version in found["versions"].items() if version]
    return "\n".join([
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, BLAS: {machine['BLAS']}",
        f"beside {', '.join(there)}" if there else "beside nothing",
        *([f"not installed, so left out: {', '.join(missing)}"] if missing else [])])


def limits(found: dict[str, Any]) -> str:
    """What the machine could do while it was measured."""
    reads, rates = ([figure / 1e9 for figure in found["limits"][name]] for name in ("bandwidths", "rates"))
    return " and ".join(f"{what} {digits(statistics.median(figures))} {unit} ({digits(quartiles(figures)[0])} to "
                        f"{digits(quartiles(figures)[1])})"
                        for what, figures, unit in (("reads", reads, "GB/s"), ("computes", rates, "GFLOP/s")))


def rounds(found: dict[str, Any]) -> str:
    """How much was measured, and whether that is enough."""
    text = f"{found['rounds']} rounds, {found['date']}, in {found['took']:.0f} s"
    if found["quick"]:
        return text + ": tiny models under the names of whole ones; this is no figure of any of them"
    return text + (": a short run, whose figures are rough" if found["rounds"] < ENOUGH else "")


# ---- the page


STYLE = """<style>
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem } p { color: var(--soft); max-width: 48rem; margin: .3rem 0 }
table { border-collapse: collapse; table-layout: fixed; width: 100% }
td, th { padding: .1rem .8rem .1rem 0; font: inherit; text-align: left; vertical-align: middle }
th { width: 13rem } td + td { width: 10.5rem } td + td + td { width: 11.5rem }
td:nth-child(2) { padding: 0 } td:nth-child(3) { padding-left: .8rem }
td + td { font-variant-numeric: tabular-nums; text-align: right } .soft { color: var(--soft); font-size: .85rem }
.bar { display: block; height: .9rem; min-width: 1px; background: var(--soft) }
.ours .bar { background: rgb(var(--ink)) } .ours th { font-weight: bold }
.limit { background: linear-gradient(rgb(var(--less)), rgb(var(--less))) no-repeat var(--at) 0 / 3px 100% }
@media (max-width: 45rem) { tr { display: grid; grid-template-columns: 1fr auto; margin: .3rem 0 }
  th, td, td + td, td + td + td { width: auto; padding: 0 } td:nth-child(2) { grid-row: 2; grid-column: 1 / 3 }
  td:last-child { grid-column: 1 / 3; text-align: left } }
</style>
"""


def page(found: dict[str, Any]) -> str:
    """All of it as HTML: a bar for each side of each row, as long as it is fast."""
    words = ["The longer a bar, the faster. A red line is the most that this machine could do at that time. Small "
             "figures are quartiles: the middle half of the rounds.",
             *about(found).splitlines(), f"The machine {limits(found)}.", f"{rounds(found)}."]
    parts = [STYLE, "<h1>gpt2np beside others, and beside what the machine can do</h1>",
             *(f"<p>{html.escape(word)}</p>" for word in words)]
    for group, records in found["groups"].items():
        parts.append(f"<h2>{html.escape(group)}</h2>")
        parts += map(bars, map(row_of, records))
    return html_page("gpt2np: how fast", "\n".join(parts) + "\n")


def bars(row: Row) -> str:
    """A row of the page."""
    best = {side: statistics.median(seconds) for side, seconds in row.seconds.items()}
    least = min([*best.values(), *([row.limit[1]] if row.limit else [])])
    limit = f' class="limit" style="--at: {100 * least / row.limit[1]:.1f}%"' if row.limit else ""
    rows = []
    for side, median in best.items():
        if side != OURS:
            times, middle = ratio(row, side)
            beside = f'we are {times} times as fast <span class="soft">{middle}</span>'
        else:
            beside = f"{row.share():.0%} of the limit, {html.escape(row.limit[0])}" if row.limit else ""
        rows.append(
            f'<tr{" class=ours" if side == OURS else ""}><th scope="row">{html.escape(side)}</th>'
            f'<td{limit}><span class="bar" style="width: {100 * least / median:.1f}%">'
            f'</span></td><td>{row.shown(side)}<br><span class="soft">{spread(row, side)}</span></td>'
            f'<td>{beside}</td></tr>')
    return f"<h3>{html.escape(row.name)}</h3>\n<table>\n" + "\n".join(rows) + "\n</table>"


# ---- the files


def as_json(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def write(found: dict[str, Any], folder: Path) -> None:
    """Both files of a run; those that are there are replaced, whole."""
    replace_text(folder / "results.json", as_json(found))
    replace_text(folder / "results.html", page(found))


# ---- the tables of the READMEs


class Readme(NamedTuple):
    """A README, and what it says around the figures."""

    path: Path
    sentence: str
    heading: str
    rough: str
    to: str


BEGIN, END = "<!-- python -m benchmarks.all --keep -->\n", "<!-- end -->"
READMES = (
    Readme(ROOT / "README.md",
           "On {cores} cores of an {processor}, float32, NumPy {NumPy} with {BLAS}, all sides on the same cores\n"
           "and in turns within one run: medians of {rounds} rounds, and in brackets the middle half of what they gave."
           "{rough}", "| | gpt2np | beside it | times as fast |",
           "\nThis was a short run on a busy machine, and its figures are rough.", " to "),
    Readme(ROOT / "README.zh-CN.md",
           "在 {processor} 的 {cores} 个核上，float32，NumPy {NumPy} 与 {BLAS}；各方用同样的核，"
           "在同一次运行中轮流测量。表中是 {rounds} 轮的中位数，括号里是各轮结果居中的一半。{rough}",
           "| | gpt2np | 对手 | 快多少倍 |", "这是在一台忙碌的机器上短时间的运行，数字只是粗略的。", " 到 "))
# What stands there: the name of a row, and in both languages what it is.
ROWS = {
    "GPT-2 124M, 1 x 1,024 tokens": ("a training step of GPT-2 124M, 1 x 1,024 tokens",
                                     "GPT-2 124M 的一个训练步，1 x 1,024 个词元"),
    "GPT-2 124M, 4 x 64 tokens": ("the same, 4 x 64 tokens", "同上，4 x 64 个词元"),
    "6 blocks of width 256, 16 x 256 tokens": ("of 5.9 million parameters, 16 x 256 tokens",
                                               "590 万个参数的模型，16 x 256 个词元"),
    "GPT-2 124M writes": ("GPT-2 124M writes", "GPT-2 124M 生成文本"),
    "after 1,000 tokens": ("the same, behind 1,000 tokens", "同上，接在 1,000 个词元之后"),
    "8 texts at once": ("8 texts at once", "同时生成 8 段文本"),
    "reads a prompt of 1,024 tokens": ("reads a prompt of 1,024 tokens", "读入 1,024 个词元的提示"),
    "layernorm": ("layer normalisation, forward and backward", "层归一化，前向与反向"),
    "causal attention": ("causal attention, forward and backward", "因果注意力，前向与反向"),
    "a step of translation": ("a step of a Transformer that translates", "翻译用 Transformer 的一个训练步"),
    "a step with hidden words": ("a step of a BERT with hidden words", "BERT 猜隐藏词的一个训练步"),
    "reads 32 texts of 32 tokens": ("a BERT reads 32 texts of 32 tokens", "BERT 读 32 段文本，各 32 个词元"),
    "BPE, the first text": ("text to tokens, the first text", "文本变为词元，第一段文本"),
    "BPE, the same text again": ("the same text again", "同一段文本，再来一次"),
}


def figures(found: dict[str, Any], readme: Readme) -> str:
    """What a README says of a run, between BEGIN and END: of what it has measured beside another."""
    short = found["quick"] or found["rounds"] < ENOUGH
    sentence = readme.sentence.format(rounds=found["rounds"], rough=readme.rough if short else "", **found["machine"])
    rows = {record["name"]: row_of(record) for records in found["groups"].values() for record in records}
    table = [readme.heading, "|---|---|---|---|"]
    for name in (name for name in ROWS if name in rows):
        row, what = rows[name], f"{ROWS[name][READMES.index(readme)]} | {rows[name].shown(OURS)}"
        for side in row.seconds:
            if not side.startswith(OURS):
                times, middle = ratio(row, side)
                table.append(f"| {what} | {side}: {row.shown(side)} | {times} ({middle.replace(' to ', readme.to)}) |")
                what = " | "
    return f"{sentence}\n\n" + "\n".join(table) + "\n"


def into_readmes() -> None:
    """Put the figures of the run that is kept into both."""
    found = json.loads(KEPT.read_text("utf-8"))
    for readme in READMES:
        before, _, rest = readme.path.read_text("utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            raise ValueError(f"{readme.path}: expected {BEGIN.strip()} and behind it {END}, between which figures go")
        replace_text(readme.path, f"{before}{BEGIN}\n{figures(found, readme)}\n{END}{after}")


if __name__ == "__main__":
    into_readmes()
