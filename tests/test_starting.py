"""python -m gpt2np, and what is said to who starts a command in a way that cannot be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gpt2np
from gpt2np import __main__ as listing
from gpt2np import starting
from tests.test_command import COMMANDS

ROOT = Path(gpt2np.__file__).parents[1]


def python(*arguments, cwd=ROOT, bare=False, env=None):
    """(status, standard output, standard error) of Python; bare: one that has nothing but its own library."""
    done = subprocess.run([sys.executable, *["-S", "-E"] * bare, *map(str, arguments)], cwd=cwd, capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL, env=os.environ | (env or {}))
    return done.returncode, done.stdout, done.stderr


def test_every_command_is_listed(capsys):
    files = [*(ROOT / "gpt2np").glob("*.py"), *(ROOT / "gpt2np").glob("*/__main__.py")]
    commands = {path.parent.name if path.stem == "__main__" else path.stem for path in files
                if "\nif __name__ ==" in path.read_text(encoding="utf-8")} - {"gpt2np"}
    assert commands == set(starting.COMMANDS) == set(COMMANDS)
    for arguments in ([], ["--help"], ["-h"]):
        assert listing.main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[2:]] == list(starting.COMMANDS)
        assert max(map(len, lines)) <= 80


def test_the_version():
    assert python("-m", "gpt2np", "--version") == (0, f"gpt2np {gpt2np.__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_runs_behind_the_package(name, capsys):
    with pytest.raises(SystemExit) as ended:
        listing.main([name, "--help"])
    assert ended.value.code == 0 and capsys.readouterr().out.startswith(f"usage: python -m gpt2np.{name} ")


def test_arguments_and_status_are_passed_on():
    assert python("-m", "gpt2np", "text", "he") == python("-m", "gpt2np.text", "he")
    status, _, err = python("-m", "gpt2np", "convert", "elephant", "x", "--to", "openai")
    assert status == 1 and err.startswith("error: 'elephant': ")


@pytest.mark.parametrize("arguments, got", [
    (["gpt2np", "genrate"], "genrate; did you mean generate?"), (["gpt2np.genrate"], "genrate; did you mean generate?"),
    (["gpt2np", "tokenizer"], "tokenizer; did you mean train_tokenizer?"), (["gpt2np", "--bogus"], "--bogus"),
    (["gpt2np.elephant", "x"], "elephant"), (["gpt2np", "train", "--help"], None), (["gpt2np.sampling"], None)])
def test_a_wrong_name(arguments, got):
    status, out, err = python("-m", *arguments)
    if got is None:
        assert (status, err) == (0, "")
    else:
        assert (status, out, err) == (2, "", f"error: expected a command of gpt2np, got {got}\nSee python -m gpt2np.\n")


@pytest.mark.parametrize("there, remedy", [
    ([".venv/bin/python"], "the one in .venv has it: .venv/bin/python -m gpt2np.text"),
    (["Makefile"], "make generate, once, puts it into .venv; then: .venv/bin/python -m gpt2np.text"),
    ([], f"install it: {sys.executable} -m pip install numpy regex requests threadpoolctl tqdm")])
def test_a_python_without_what_it_needs(tmp_path, there, remedy):
    shutil.copytree(ROOT / "gpt2np", tmp_path / "gpt2np", ignore=shutil.ignore_patterns("__pycache__"))
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("text", "txet"):                       # what is wrong with the name is said when it can be run
        status, out, err = python("-m", f"gpt2np.{name}", "he", cwd=tmp_path, bare=True)
        assert (status, out) == (1, "")
        assert err == (f"error: gpt2np needs {', '.join(starting.NEEDED)}, which {sys.executable} has not; "
                       f"{remedy.replace('gpt2np.text', f'gpt2np.{name}')}\n")
    assert python("-c", "import gpt2np; print(gpt2np.__version__)", cwd=tmp_path, bare=True)[:2] == (
        0, gpt2np.__version__ + "\n")                   # it is said to who types a command, and to nobody else


@pytest.mark.parametrize("path", ["gpt2np", "gpt2np/__main__.py", "gpt2np/generate.py", "gpt2np/train.py",
                                  "gpt2np/translate.py", "gpt2np/average.py",
                                  "gpt2np/evaluate.py", "gpt2np/convert.py", "gpt2np/download.py",
                                  "gpt2np/train_tokenizer.py", "gpt2np/text", "gpt2np/text/__main__.py",
                                  "gpt2np/gradcheck", "gpt2np/gradcheck/__main__.py"])
@pytest.mark.parametrize("bare", [False, True])
def test_a_file_that_is_run_by_its_path(path, bare):
    module = path.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
    assert python(ROOT / path, bare=bare) == (
        1, "", f"error: a file of gpt2np, which is run as: python3 -m {module}\n")
