"""benchmarks/all.py: what it measures and what it makes of it; and the READMEs, whose figures are those of a run."""

import json
import re
import statistics
from functools import partial

import pytest

from benchmarks import all as everything
from benchmarks import layers, results, train
from benchmarks.results import OURS, READMES, Row
from benchmarks.timing import Machine, in_turn, interleaved
from tests.browser import asked, on_a_phone_in_the_dark

ROW = Row("writes", {OURS: [0.02, 0.01, 0.04, 0.02, 0.02], "PyTorch": [0.03, 0.03, 0.06, 0.02, 0.04]}, "tokens/s", 1,
          ("reading", 0.015))


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What a tiny part of the command prints, without peers, and the folder that it writes to."""
    folder = tmp_path_factory.mktemp("quick")
    with pytest.MonkeyPatch.context() as patch:
        for module in (train, layers):
            patch.setattr(module, "torch", None)
        patch.setattr(everything, "version_of", lambda package: None)
        patch.setattr(everything, "keep_freed_memory", lambda: None)        # that would last
        patch.setattr("sys.stdout", printed := Lines())
        assert everything.main(["--quick", "--only", "4 x 64", "--out", str(folder)]) == 0
        assert everything.main(["--quick", "--only", "layernorm", "--out", str(folder / "layernorm")]) == 0
    return printed.text, folder


class Lines:
    """Standard output."""

    text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


# ---- what is measured


def test_runs_take_turns_and_the_first_round_does_not_count():
    calls = []
    runs = [partial(lambda name: calls.append(name) or len(calls), name) for name in "ab"]
    assert in_turn(3, runs) == [[3, 5, 7], [4, 6, 8]]
    assert calls == list("abababab")
    assert [len(times) for times in interleaved(2, runs)] == [2, 2]


def test_the_machine_as_it_was_last():
    machine = Machine(8, 8)
    machine.bandwidths[:], machine.rates[:] = [1, 1, 1, 5, 7, 9], [2, 2, 2, 4, 4, 4]
    assert machine.median() == (3, 3) and machine.median(3) == (7, 4)
    machine.measure()
    assert machine.bandwidths[-1] > 0 and machine.rates[-1] > 0


def test_every_row_has_a_name_of_its_own_and_the_readmes_know_theirs():
    names = [name for rows in everything.GROUPS.values()
             for name, _ in rows(everything.Setting(1, True, None, Machine(1, 1)))]
    assert len(set(names)) == len(names) and set(results.ROWS) <= set(names)


# ---- what is made of it


def test_ratios_are_of_rounds_that_belong_together():
    assert ROW.ratios("PyTorch") == [1.5, 3, 1.5, 1, 2]
    assert results.ratio(ROW, "PyTorch") == ("1.50", "1.50 to 2.00")
    assert ROW.share() == pytest.approx(0.75) and ROW._replace(limit=None).share() is None


def test_amounts_have_three_digits():
    assert [results.digits(f) for f in (0.01234, 1.366, 54.23, 99.96, 208.4, 1024)] == [
        "0.0123", "1.37", "54.2", "100", "208", "1,024"]
    assert ROW.shown(OURS) == "50.0 tokens/s" and results.spread(ROW, OURS) == "50.0 to 50.0"
    seconds = Row("step", {OURS: [1.2, 1.4, 1.6]})
    assert seconds.shown(OURS) == "1.40 s" and results.spread(seconds, OURS) == "1.30 to 1.50"
    short = Row("step", {OURS: [0.0012]})
    assert short.shown(OURS) == "1.20 ms" and results.spread(short, OURS) == "1.20 to 1.20"


def test_a_record_has_all_of_a_row():
    for row in (ROW, Row("step", {OURS: [1.5]})):
        record = json.loads(json.dumps(row.record()))
        assert results.row_of(record) == row
    theirs = ROW.record()["sides"][1]
    assert theirs["times as fast"] == 1.5 and theirs["quartiles of that"] == (1.5, 2.0)
    assert theirs["median"] == statistics.median(theirs["seconds"]) == 0.03


def test_the_table_fits_and_says_what_is_missing(quick):
    printed, _ = quick
    assert all(len(line) <= 90 for line in printed.splitlines() if line[:1] == " ")
    assert "not installed, so left out: PyTorch, transformers, tiktoken, tokenizers, onnxruntime" in printed
    assert re.search(r"^GPT-2 124M, 4 x 64 tokens\n  gpt2np +[\d.]+ m?s +[\d.]+ to [\d.]+ +\d+%  of products\n"
                     r"  gpt2np, 1 thread +[\d.]+ m?s .* \d+\.\d\d  +\d+\.\d\d to \d+\.\d\d$", printed, re.M)
    assert re.search(r"^layernorm\n  gpt2np +[\d.]+ ms .*of reading$", printed, re.M)
    assert "tiny models" in printed
    table = results.lines(ROW).splitlines()
    assert table[1].split() == ["gpt2np", "50.0", "tokens/s", "50.0", "to", "50.0", "75%", "of", "reading"]
    assert table[2].split() == ["PyTorch", "33.3", "tokens/s", "25.0", "to", "33.3", "1.50", "1.50", "to", "2.00"]


def test_the_file_has_what_the_table_shows(quick):
    printed, folder = quick
    found = json.loads((folder / "results.json").read_text("utf-8"))
    assert found["quick"] and found["rounds"] == 1 and found["only"] == ["4 x 64"]
    assert list(found["groups"]) == ["training"]
    assert set(found["versions"].values()) == {None} and found["machine"]["cores"] >= 1
    assert len(found["limits"]["bandwidths"]) == len(found["limits"]["rates"]) == everything.LIMITS_EACH
    record, = found["groups"]["training"]
    assert results.lines(results.row_of(record)) in printed
    assert json.loads((folder / "layernorm" / "results.json").read_text("utf-8"))["groups"].keys() == {
        "layers, forward and backward"}


def test_the_page_has_a_bar_for_each_side_and_the_limit_where_it_is(quick, tmp_path):
    _, folder = quick
    found = json.loads((folder / "results.json").read_text("utf-8"))
    slower, faster = ROW, ROW._replace(name="<b>", limit=("reading", 0.04))
    text = results.page(found | {"groups": {"writing": [slower.record(), faster.record()]}})
    assert "<h3>writes</h3>" in text and "<h3>&lt;b&gt;</h3>" in text
    assert [float(width) for width in re.findall(r"width: ([\d.]+)%\"", text)] == [75, 50, 100, 66.7]
    assert re.findall(r"--at: ([\d.]+)%", text) == ["100.0"] * 2 + ["50.0"] * 2      # past what was thought the limit
    assert "75% of the limit, reading" in text and 'we are 1.50 times as fast <span class="soft">1.50 to 2.00' in text
    assert (folder / "results.html").read_text("utf-8").count('class="bar"') == 2


@pytest.mark.slow
def test_the_page_can_be_read_on_a_phone_in_the_dark(quick, tmp_path):
    _, folder = quick
    page = tmp_path / "results.html"
    page.write_bytes((folder / "results.html").read_bytes())
    colour, width = on_a_phone_in_the_dark(page)
    assert colour == "rgb(22, 24, 27)" and width <= 400
    widths = asked(page, "return [...document.querySelectorAll('.bar')].map(bar => bar.getBoundingClientRect().width)")
    assert len(widths) == 2 and min(widths) > 0


# ---- wrong usage


@pytest.mark.parametrize("arguments, says", [
    (["--only", "nothing like it"], "no row has 'nothing like it' in its name; there are"),
    (["--keep", "--quick"], "--keep takes a whole run"),
    (["--keep", "--only", "gelu"], "--keep takes a whole run"),
    (["--text", "no/such/file"], "there is no file no/such/file"),
    (["--rounds", "0"], "--rounds"),
])
def test_wrong_usage_is_said_before_anything_is_measured(arguments, says, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        everything.main([*arguments, "--out", str(tmp_path / "out")])
    assert end.value.code == 2 and says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---- the READMEs


@pytest.mark.parametrize("readme", READMES, ids=lambda readme: readme.path.name)
def test_the_figures_of_the_readme_are_those_of_the_run_that_is_kept(readme):
    """python -m benchmarks.results puts them there."""
    found = json.loads(results.KEPT.read_text("utf-8"))
    assert not found["quick"] and not found["only"]
    assert f"{results.BEGIN}\n{results.figures(found, readme)}\n{results.END}" in readme.path.read_text("utf-8")


def test_a_short_run_is_called_one():
    found = json.loads(results.KEPT.read_text("utf-8"))
    for readme in READMES:
        assert readme.rough in results.figures(found | {"rounds": results.ENOUGH - 1}, readme)
        assert readme.rough not in results.figures(found | {"rounds": results.ENOUGH}, readme)


def test_figures_go_between_their_marks_and_nowhere_else(tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    monkeypatch.setattr(results, "READMES", (READMES[0]._replace(path=page),))
    page.write_text(f"before\n{results.BEGIN}old\n{results.END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        results.into_readmes()
        text = page.read_text("utf-8")
        assert text.startswith(f"before\n{results.BEGIN}\nOn ") and text.endswith(f"|\n\n{results.END}\nafter\n")
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="between which figures go"):
        results.into_readmes()
    assert page.read_text("utf-8") == "no marks"
