"""A new user's first commands: what make does before anything is there, and what an installation contains.

No network: make meets a stand-in for Python, which makes no virtual environment but writes down what it was asked for.
"""

import configparser
import fnmatch
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Fails at what $FAILS names. In the environment that it makes it goes by the name of bin/python.
PYTHON = """#!/bin/sh
case "$*" in *"sys.version_info"*) test "$FAILS" != version; exit ;; esac
case "$*" in *"import pip"*|*"pip --version") exit 0 ;; esac
case "$*" in "-m pytest "*) echo "-m pytest" ;; *) echo "$*" ;; esac >>asked
case "$*" in
*"-m venv"*) for folder; do :; done; mkdir -p "$folder/bin"; touch "$folder/pyvenv.cfg"; test "$FAILS" != venv || exit 1
             ln -sf "$PWD/python" "$folder/bin/python" ;;
*"pip install"*) test "$FAILS" != pip || { echo "  ERROR: No matching distribution found"; echo chatter; exit 1; } ;;
esac
"""

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")


@pytest.fixture
def folder(tmp_path):
    """A clone, as far as make can see, on a path that is not everyone's."""
    folder = tmp_path / "a clone 目录"
    folder.mkdir()
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    return folder


def make(folder, *arguments, fails=""):
    """make's exit status, what it says, and what it asked Python for."""
    (folder / "asked").write_text("")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "PYTHON=./python", *arguments], cwd=folder, env=environment | {"FAILS": fails},
                          capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, (folder / "asked").read_text().splitlines()


CREATE = "-m venv .venv"
INSTALL = "-m pip install --disable-pip-version-check --editable ."
GENERATE, TEST = "-m gpt2np.generate --min-new-tokens 30", "-m pytest"


@needs_make
def test_everything_is_installed_once(folder):
    assert make(folder, "generate")[2] == [CREATE, INSTALL, GENERATE]
    assert make(folder, "generate")[2] == [GENERATE]
    assert make(folder, "test")[2] == [INSTALL + "[test]", TEST]
    assert make(folder, "-j4", "generate", "test")[2] == [GENERATE, TEST]


@needs_make
@pytest.mark.parametrize("arguments, asked", [
    (["generate", 'ARGS="To be" --seed 1'], "-m gpt2np.generate To be --seed 1"),
    (["gradcheck", "LAYER=attention, causal"], "-m gpt2np.gradcheck --layer attention, causal"),
    (["gradcheck", "LAYER=gelu", "ARGS=--seed 1"], "-m gpt2np.gradcheck --layer gelu --seed 1"),
    (["gradcheck"], "-m gpt2np.gradcheck")])
def test_what_stands_behind_a_target_is_passed_on(folder, arguments, asked):
    assert make(folder, *arguments)[2][2:] == [asked]


@needs_make
def test_two_targets_do_not_install_at_once(folder):
    assert make(folder, "-j4", "generate", "test")[2] == [CREATE, INSTALL, GENERATE, INSTALL + "[test]", TEST]


@needs_make
def test_a_change_of_setup_cfg_installs_again(folder):
    make(folder, "test")
    later = (folder / ".venv" / "installed-test").stat().st_mtime + 10
    os.utime(folder / "setup.cfg", (later, later))
    assert make(folder, "test")[2] == [INSTALL + "[test]", TEST]


@needs_make
def test_a_python_that_is_gone(folder):
    """The system has another one now: the environment is made anew, and all is installed again."""
    make(folder, "generate")
    python = folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert make(folder, "generate")[2] == ["-m venv --clear .venv", INSTALL, GENERATE]


@needs_make
def test_an_environment_of_the_users_own_is_kept(folder):
    (folder / "mine" / "bin").mkdir(parents=True)
    (folder / "mine" / "bin" / "python").symlink_to(folder / "python")
    assert make(folder, "generate", "VENV=mine")[2] == [INSTALL, GENERATE]


@needs_make
@pytest.mark.parametrize("fails, begins, reason, says", [
    ("version", [], "", "gpt2np needs Python 3.10 or newer; './python' is missing or older."),
    ("venv", [CREATE], "", "No virtual environment could be made: install Python's venv module"),
    ("pip", [CREATE, INSTALL], "  ERROR: No matching distribution found\n", "gpt2np could not be installed: it needs"),
])
def test_what_fails_is_said_and_can_be_tried_again(folder, fails, begins, reason, says):
    """The second try succeeds, whatever the first one has left behind."""
    status, out, asked = make(folder, "generate", fails=fails)
    assert (status, asked) == (2, begins)
    assert reason + says in out and "chatter" not in out
    status, _, asked = make(folder, "generate")
    assert status == 0
    assert asked[-2:] == [INSTALL, GENERATE] and all("venv" in line for line in asked[:-2])


@needs_make
def test_a_python_that_is_missing(folder):
    status, out, _ = make(folder, "generate", "PYTHON=./missing")
    assert status == 2 and "'./missing' is missing or older.  Name another: make PYTHON=" in out
    assert not (folder / ".venv").exists()


@needs_make
def test_make_alone_names_every_target(folder):
    status, out, asked = make(folder)
    targets = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY")).split()
    assert (status, asked) == (0, [])
    assert [line.split()[1] for line in out.splitlines() if line.startswith("  make ")] == targets[2:]


# ---- what is installed


def test_every_package_and_every_file_of_data_is_in_the_wheel():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    packages = {path.parent.relative_to(ROOT) for path in ROOT.glob("gpt2np/**/__init__.py")}
    named = settings["options"]["packages"].split()
    models = {"gpt2np.demo", "gpt2np.demo_zh", "gpt2np.fill", "gpt2np.translation"}
    assert set(named) == {".".join(path.parts) for path in packages} | models
    patterns = [f"{package.replace('.', '/')}/{pattern}" for package, names in settings["options.package_data"].items()
                for pattern in names.split()]
    missing = [path for path in ROOT.glob("gpt2np/**/*") if path.is_file() and path.suffix not in (".py", ".pyc")
               and path.name[0] != "." and not any(path.match(pattern) for pattern in patterns)]
    embedded = {f"gpt2np/{name}/*" for name in ("demo", "demo_zh", "fill", "translation")}
    assert missing == [] and embedded <= set(patterns)


def test_every_file_of_the_repository_is_in_the_source_distribution():
    """MANIFEST.in, and what setuptools adds of itself: the packages, their data, and the files of the build."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True) \
        if shutil.which("git") and (ROOT / ".git").exists() else None
    if listed is None or listed.returncode:
        pytest.skip("needs git and a clone, to know what belongs to the repository")
    patterns = ["gpt2np/*", "setup.cfg", "pyproject.toml", "LICENSE", "MANIFEST.in"]
    for line in (ROOT / "MANIFEST.in").read_text().splitlines():
        command, *rest = line.split()
        patterns += [f"{name}/*" for name in rest] if command == "graft" else rest if command == "include" else []
    missing = [name for name in listed.stdout.split("\0")[:-1]
               if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    assert missing == []
