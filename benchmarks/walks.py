"""How many files and functions of gpt2np four walks pass through:  python -m benchmarks.walks

A reader who follows what happens, from a command or a call to its result, has to open that many.
"""

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable
from types import FrameType

import numpy as np

import gpt2np
from gpt2np import generate, gradcheck
from gpt2np.gradcheck import __main__ as report
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.training.parallel import DataParallel

HERE = os.path.dirname(gpt2np.__file__)


def walked(run: Callable[[], object]) -> set[tuple[str, str]]:
    """The functions of the package that are entered while run() runs, on all its threads, as (file, name)."""
    seen: set[tuple[str, str]] = set()

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(HERE) and not code.co_name.startswith("<"):
            seen.add((code.co_filename, f"{code.co_firstlineno} {code.co_name}"))

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)          # type: ignore[arg-type]
    return seen


def a_prompt() -> None:
    """From a prompt to its printed text."""
    generate.main(["Once upon a time", "--max-new-tokens", "20", "--seed", "1"])


MODEL, TOKENS = GPT2(GPT2Config(50, 16, 24, 2, 2), np.random.default_rng(0)), np.arange(4 * 17).reshape(4, 17) % 50


def a_gradient() -> None:
    """From a batch, with two threads, to the gradient of wte."""
    with DataParallel(MODEL, 2) as parallel:
        try:
            parallel.loss_and_gradients((TOKENS[:, :-1], TOKENS[:, 1:]))
        except TypeError:                                   # before a batch was a tuple
            parallel.loss_and_gradients(TOKENS[:, :-1], TOKENS[:, 1:])


def a_folder() -> None:
    """From a model's folder to the model."""
    gpt2np.load("demo")


def a_row() -> None:
    """A row of the table of gradcheck."""
    case = next(case for case in report.CASES if case.name == "linear")
    list(gradcheck.checks.examine(case))


for walk in (a_prompt, a_gradient, a_folder, a_row):
    functions = walked(walk)
    files = {file for file, _ in functions}
    print(f"{walk.__doc__.strip():<55} {len(files):3} files, {len(functions):3} functions")
    if "--files" in sys.argv:
        for file in sorted(files):
            names = sorted(name.split()[1] for f, name in functions if f == file)
            print(f"    {os.path.relpath(file, HERE):28} {', '.join(names)}")
