"""Ctrl-C at any moment of a command: a sentence and its status, never a traceback, and no step is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count

import pytest

from gpt2np import follow, train
from gpt2np.models.gpt2 import GPT2
from gpt2np.text.bpe import Tokenizer
from gpt2np.training import language_modelling, run_folder
from gpt2np.training.adamw import AdamW
from gpt2np.training.run_folder import checkpoints
from tests.checkpoints.tiny import MERGES
from tests.training.conftest import TEXT
from tests.training.test_commands import arguments
from tests.training.test_loop import contents, records

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for another process")


def python(tmp_path, *arguments, modules=None):
    """(status, standard output, standard error) of Python, for which these modules stand in for those of their name."""
    for name, code in (modules or {}).items():
        (tmp_path / f"{name}.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": path})
    return done.returncode, done.stdout, done.stderr


PRESSED = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise SystemExit('nothing has happened')\n"


@pytest.mark.parametrize("command, modules", [
    ("train", ["argparse", "numpy", "tqdm", "threadpoolctl"]), ("evaluate", ["argparse", "numpy", "regex"]),
    ("generate", ["shlex", "difflib", "argparse", "numpy", "regex"]), ("train_tokenizer", ["regex", "tqdm"]),
    ("convert", ["numpy"]),
    ("download", ["requests"]), ("text", ["regex"]), ("gradcheck", ["numpy"])])
def test_while_a_command_is_imported(tmp_path, command, modules):
    for module in modules:
        folder = tmp_path / module
        folder.mkdir()
        assert python(folder, "-m", f"gpt2np.{command}", "--help", modules={module: PRESSED}) == (
            130, "", "interrupted\n")


def test_an_import_leaves_signals_alone(tmp_path):
    script = ("import signal; before = [signal.getsignal(n) for n in (2, 15)]\n"
              "import gpt2np, gpt2np.train, gpt2np.evaluate, gpt2np.interrupts\n"
              "assert before == [signal.getsignal(n) for n in (2, 15)]\n"
              "gpt2np.interrupts.raise_again(); signal.signal(2, signal.SIG_IGN); gpt2np.interrupts.raise_again()\n"
              "assert signal.getsignal(2) is signal.SIG_IGN")
    assert python(tmp_path, "-c", script) == (0, "", "")


def test_the_end_does_not_wait_for_what_nobody_wants(tmp_path):
    script = ("import threading, time; from gpt2np.interrupts import leave\n"
              "threading.Thread(target=time.sleep, args=(50,)).start(); print('all is said', end=''); leave(3)")
    began = time.monotonic()
    assert python(tmp_path, "-c", script) == (3, "all is said", "")
    assert time.monotonic() - began < 40
    assert python(tmp_path, "-c", "from gpt2np.interrupts import leave; leave(4)") == (4, "", "")


def press(times, number=signal.SIGINT):
    """From outside, as a terminal does it: what a thread of this process sends may reach that thread alone."""
    for _ in range(times):                              # no Popen, which a signal in its midst would leave half made
        os.waitpid(os.posix_spawnp("sh", ["sh", "-c", f"kill -{number:d} {os.getpid()}"], os.environ), 0)
        time.sleep(0.15)                                # two at once would be one


def at_call(n, function, happens):
    """The function, before whose n-th call, counted from 1, something happens."""
    calls = count(1)

    def watched(*arguments, **options):
        if next(calls) == n:
            happens()
        return function(*arguments, **options)

    return watched


@pytest.fixture(autouse=True)
def no_lasting_settings(monkeypatch):
    monkeypatch.setattr(train, "keep_freed_memory", lambda: None)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    Tokenizer(MERGES).save(folder / "vocabulary")
    return str(folder / "text.txt")


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "keep_freed_memory", lambda: None)
        assert train.main(arguments(text, out, 6)) == 0
    return out


def stopped(out, status, step, printed):
    """The run was stopped after a step, which is saved; and goes on as if it had not been."""
    assert status in (130, 143) and checkpoints(out)[-1].name == f"step-{step:08d}"
    assert printed.out.endswith(f"stopped after step {step}, and saved. To go on:\n"
                                f"    python -m gpt2np.train --resume {out}\n")
    assert "Traceback" not in printed.err
    assert train.main(["--resume", str(out)]) == 0


def same(out, whole):
    assert records(out) == records(whole)
    for name in ("step-00000006", "best"):
        assert contents(out / name) == contents(whole / name)


@pytest.mark.parametrize("times, place, step", [
    (1, "gradients", 3), (2, "gradients", 2), (1, "update", 3), (2, "update", 3), (5, "log", 3), (1, "evaluation", 3),
    (3, "best", 3), (2, "save", 3), (2, "state", 3)])
def test_in_any_part_of_a_run_no_step_is_lost(text, tmp_path, capsys, monkeypatch, whole, times, place, step):
    """Of the third step, or of the evaluation and the checkpoint after it."""
    out = tmp_path / "run"
    owner, name, n = {
        "gradients": (GPT2, "loss_and_gradients", 2 * 2 + 1), "update": (AdamW, "update", 3 * 12),
        "log": (run_folder, "append_log", 1 + 2 * 2 + 1), "evaluation": (language_modelling, "evaluate", 4),
        "best": (run_folder, "save_best", 4), "save": (run_folder, "save", 5), "state": (run_folder, "write_text", 5),
    }[place]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, at_call(n, getattr(owner, name), lambda: press(times)))
        status = train.main(arguments(text, out, 6))
        stopped(out, status, step, capsys.readouterr())
    assert status == 130
    same(out, whole)


def test_twice_is_at_once_also_where_a_step_is_long(text, tmp_path, capsys, monkeypatch, whole):
    out, release = tmp_path / "run", threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(GPT2, "loss_and_gradients",
                      at_call(5, GPT2.loss_and_gradients, lambda: (press(2), release.wait(60))))
        status = train.main(arguments(text, out, 6))
        release.set()                                   # a thread that is still at its share of the step
        stopped(out, status, 2, capsys.readouterr())
    same(out, whole)


def test_a_request_to_end_is_143(text, tmp_path, capsys, monkeypatch, whole):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(AdamW, "step", at_call(2, AdamW.step, lambda: press(1, signal.SIGTERM)))
        status = train.main(arguments(text, out, 6))
        assert status == 143
        stopped(out, status, 2, capsys.readouterr())
    same(out, whole)


def test_what_comes_when_all_is_kept_comes_too_late(text, tmp_path, capsys, monkeypatch, whole):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(AdamW, "step", at_call(2, AdamW.step, lambda: press(1)))
        patch.setattr(follow, "draw", at_call(3, follow.draw, lambda: press(2)))      # of steps 0, 1; and in the end
        status = train.main(arguments(text, out, 6))
        stopped(out, status, 2, capsys.readouterr())
    same(out, whole)


def test_before_a_run_has_begun_there_is_nothing_to_keep(text, tmp_path, capsys, monkeypatch):
    for place in ("write_tokens", "tokens_of"):
        with monkeypatch.context() as patch:
            patch.setattr(language_modelling, place, lambda *_: press(1))
            assert train.main(arguments(text, tmp_path / "run", 6)) == 130
        assert capsys.readouterr() == ("", "interrupted\n") and not (tmp_path / "run").exists()


def test_signals_are_as_before_when_a_run_has_ended(text, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert train.main(arguments(text, tmp_path / "run", 1)) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_ranks_leave_an_evaluation_at_the_same_place():
    class World:
        size = 2

        def gather(self, value):
            return [value, signal.SIGTERM]              # it has come to the other one

    class Trainer:
        world, doing = World(), "evaluation"

    class Bar:
        def set_postfix_str(self, words):
            assert words == "measuring, 3 of 1,200"

    interrupt = follow.Interrupt(Trainer())
    with pytest.raises(follow.Stopped):
        follow.show_progress(interrupt, Bar(), 3, 1200)
    assert interrupt.number == signal.SIGTERM
    interrupt.came(signal.SIGINT)                       # one of several may not leave it alone
    with pytest.raises(KeyboardInterrupt):
        interrupt.came(signal.SIGINT)
