"""The command: a table that is all PASS and 80 columns wide, and exit code 1 with the place when a layer is wrong."""

import subprocess
import sys

import numpy as np
import pytest

from gpt2np.gradcheck import __main__ as report
from gpt2np.gradcheck.cases import CASES
from tests.test_pages import outputs_of, same_lines


def test_all_pass(capsys):
    assert report.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.endswith("PASS") for line in lines[1:-4])
    assert "all PASS" in lines[-3]
    assert max(map(len, lines)) <= 80
    assert [c.name for c in CASES if not any(line.startswith(c.name + " ") for line in lines)] == []
    shown, *others = outputs_of("make gradcheck")           # on the pages
    for table in (shown, *others):
        same_lines(table, lines)


def test_one_layer_with_all_its_parameters(capsys):
    assert report.main(["--layer", "prenorm"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("PreNormBlock          x ")
    assert any(line.split()[0] == "mlp.c_proj.w" for line in lines[2:-4])


def test_a_wrong_layer_fails_with_its_first_wrong_element(capsys, monkeypatch):
    from gpt2np.gradcheck.cases import layers
    right = layers.layernorm_backward

    def wrong(dy, cache):
        dx, dg, db = right(dy, cache)
        dx[1, 2, 3] *= 1.001
        return dx, dg, db

    monkeypatch.setattr(layers, "layernorm_backward", wrong)
    assert report.main(["--layer", "layernorm"]) == 1
    out = capsys.readouterr().out
    assert "FAIL" in out and "2 of the layers FAIL" in out         # with another eps, too
    assert "differences: dx[1, 2, 3]: expected " in out and ", got " in out


def test_a_layer_that_raises_is_a_failure_not_a_crash(capsys, monkeypatch):
    from gpt2np.gradcheck.cases import layers
    monkeypatch.setattr(layers, "GELU", layers.GELU._replace(backward=lambda dy, cache: np.zeros(3)[7]))
    assert report.main(["--layer", "gelu"]) == 1
    assert "IndexError" in capsys.readouterr().out


@pytest.mark.parametrize("argv, message", [
    (["--layer", "nonsense"], "--layer: expected part of a layer's name, got nonsense; the layers are: linear; "),
    (["--seed", "-1"], "--seed: expected a whole number of 0 or more, got -1"),
    (["--seed", "x"], "--seed: expected a whole number of 0 or more, got x"),
])
def test_wrong_usage(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        report.main(argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_closed_pipe_is_no_traceback():
    command = subprocess.Popen([sys.executable, "-m", "gpt2np.gradcheck", "--layer", "linear"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    command.stdout.readline()
    command.stdout.close()
    errors = command.stderr.read()
    command.stderr.close()
    command.wait()
    assert "Traceback" not in errors and "Error" not in errors
