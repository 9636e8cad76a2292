"""The loss curve: one file that is well-formed, fetches nothing, and shows the log's numbers in the right places."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from gpt2np.training.curve import averaged, write_curve
from tests.browser import asked, on_a_phone_in_the_dark

RECORDS = [{"step": 0, "val_loss": 5.0}, {"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0}, {"step": 3, "loss": 3.0},
           {"step": 4, "loss": 3.0}, {"step": 4, "val_loss": 3.5}]


def places(line):
    return [tuple(map(float, point.split(","))) for point in line.get("points").split()]


def test_the_picture(tmp_path):
    path = tmp_path / "curve.html"
    path.write_text("an older one")
    write_curve(path, "a <run> & its loss", RECORDS)
    page = path.read_text()
    assert "a &lt;run&gt; &amp; its loss" in page and "lowest at step 4 with 3.5000" in page
    assert not re.search(r"https?:|<script|<link|<img|@import|url\(", page)
    svg = ElementTree.fromstring(re.search("<svg.*</svg>", page, re.DOTALL)[0])
    train, val = (places(line) for line in svg.iter("polyline"))
    assert len(train) == 4 and len(val) == 2
    assert train[0][1] == val[0][1] < train[1][1] < train[2][1] == train[3][1]     # y grows downwards
    assert train[1][0] - train[0][0] == pytest.approx(train[3][0] - train[2][0], abs=0.2) and val[1][0] == train[3][0]
    ticks = [float(text.text) for text in svg.iter("text") if text.get("text-anchor") == "end"]
    assert ticks[0] <= 3 and ticks[-1] >= 5
    assert [p.name for p in tmp_path.iterdir()] == ["curve.html"]


def test_each_other_figure_has_a_picture_of_its_own(tmp_path):
    figures = {0: (0.1, 12.0), 4: (0.75, float("nan")), 5: (0.5, 14.0)}
    log = [*RECORDS[1:5], *({"step": step, "val_loss": 4.0, "val_accuracy": a, "val_bleu_<4>": b, "best": True,
                             "sample": "a text"} for step, (a, b) in figures.items())]
    write_curve(tmp_path / "curve.html", "run", log)
    page = (tmp_path / "curve.html").read_text()
    loss, accuracy, bleu = (ElementTree.fromstring(svg) for svg in re.findall("<svg.*?</svg>", page, re.DOTALL))
    assert [svg.get("aria-label") for svg in (loss, accuracy, bleu)] == ["loss by step", "accuracy by step",
                                                                         "bleu <4> by step"]
    line = [place for polyline in accuracy.iter("polyline") for place in places(polyline)]
    assert len(line) == 3 and line[1][1] < line[2][1] < line[0][1]      # y grows downwards
    assert [x for x, _ in places(list(bleu.iter("polyline"))[1])] == [line[0][0], line[2][0]]    # the same axis
    assert "the validation accuracy, lowest at step 0 with 0.1000, highest at step 4 with 0.7500" in page
    assert "the validation loss, lowest at step 0 with 4.0000." in page and "nan" not in page


def test_a_log_with_one_line(tmp_path):
    write_curve(tmp_path / "curve.html", "run", RECORDS[:1])
    assert "nan" not in (tmp_path / "curve.html").read_text()


def test_a_long_run(tmp_path):
    write_curve(tmp_path / "curve.html", "run", [{"step": 0, "val_loss": 5.0}, {"step": 2_000_000, "val_loss": 2.0}])
    page = (tmp_path / "curve.html").read_text()
    assert ">500,000<" in page and ">2,000,000<" in page


def test_long_lines_are_averaged():
    points = [(i, 2 * i) for i in range(10)]
    assert averaged(points, 5) == [(0.5, 1), (2.5, 5), (4.5, 9), (6.5, 13), (8.5, 17)]
    assert averaged(points, 10) == points and averaged([]) == []


@pytest.mark.slow
def test_a_browser_shows_it(tmp_path):
    path = tmp_path / "curve.html"
    write_curve(path, "a <run>", [*RECORDS, {"step": 5, "val_loss": 3.0, "val_accuracy": 0.5}])
    assert on_a_phone_in_the_dark(path) == ["rgb(22, 24, 27)", 400]
    found = asked(path, "return [document.querySelector('h1').textContent, document.querySelectorAll('svg').length]")
    assert found == ["a <run>", 2]
