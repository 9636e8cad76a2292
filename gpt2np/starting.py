"""What is looked at before a command begins: whether there is one, and what it needs.  Nothing here needs NumPy."""

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from .interrupts import module_that_runs
from .nearest import did_you_mean

COMMANDS = {
    "generate": "let a model write",
    "translate": "translate texts, from Chinese to English",
    "fill": "let a BERT fill the gaps of a text",
    "similar": "say which texts mean the same",
    "serve": "let other programs ask a model, over HTTP",
    "train": "train a model on text files",
    "finetune": "fine-tune a model on labelled examples, and report",
    "label": "label new texts with a model that was fine-tuned",
    "evaluate": "measure how well a model predicts, translates or labels",
    "score": "let a model choose, and measure how often it is right",
    "average": "average the weights of several checkpoints",
    "quantize": "make a model smaller by fewer bits, and see what it costs",
    "trim": "make a model smaller by fewer blocks, heads or tokens",
    "text": "show how a text becomes tokens, merge by merge",
    "train_tokenizer": "learn a vocabulary from text files",
    "download": "fetch one of OpenAI's models",
    "convert": "write a model in another layout of files",
    "interpret": "show on one page what a run computes",
    "oracle": "write every number of one step, for a port to compare with",
    "gradcheck": "check every gradient, and print the table",
}
NEEDED = ("numpy", "regex", "requests", "threadpoolctl", "tqdm")


def expect_to_start() -> None:
    """End with a sentence where what stands behind python -m is no part of gpt2np, or cannot run.

    It is called while Python imports gpt2np, on its way to gpt2np.generate: later would be too late.
    """
    module = module_that_runs()
    package, _, name = module.partition(".")
    if package != "gpt2np":
        return
    if missing := [needed for needed in NEEDED if find_spec(needed) is None]:
        sys.exit(f"error: gpt2np needs {', '.join(missing)}, which {sys.executable} has not; {remedy(module)}")
    if name and find_spec(module) is None:
        wrong_command(name)


def remedy(module: str) -> str:
    """What to type instead, where this Python has not what gpt2np needs."""
    clone = Path(__file__).parents[1]
    pythons = [path for path in (clone / ".venv/bin/python", clone / ".venv/Scripts/python.exe") if path.exists()]
    if pythons:
        return f"the one in .venv has it: {shlex.quote(os.path.relpath(pythons[0]))} -m {module}"
    if (clone / "Makefile").exists():
        return f"make generate, once, puts it into .venv; then: .venv/bin/python -m {module}"
    return f"install it: {shlex.quote(sys.executable)} -m pip install {' '.join(NEEDED)}"


def wrong_command(name: str) -> NoReturn:
    """End with status 2 for a command that there is not."""
    print(f"error: expected a command of gpt2np, got {name}{did_you_mean(name, COMMANDS)}\nSee python -m gpt2np.",
          file=sys.stderr)
    sys.exit(2)
