"""GPT-2 in NumPy alone: every layer's forward pass, its hand-written backward pass, and proof that both are right.

    print(gpt2np.generate("Once upon a time"))              the demo model goes on
    model, tokenizer = gpt2np.load("124M")                  a name, or the path of a model's folder
    gpt2np.save("my_model", model, tokenizer)
    gpt2np.trace(model, [tokenizer.encode("Hello")])        its forward pass, step by step
"""

import sys

if sys.version_info < (3, 10):      # noqa: UP036    said before an older Python meets what it cannot read
    raise SystemExit("gpt2np needs Python 3.10 or newer, and this is {}.{}".format(*sys.version_info))

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"]:          # python -m gpt2np.generate: before any of it is read that needs NumPy
    from .interrupts import end_at_once_if_this_runs
    end_at_once_if_this_runs()                      # the first import is the one that lets Ctrl-C be answered
    from .starting import expect_to_start
    expect_to_start()

TYPE_CHECKING = False                               # as in typing, whose import takes longer than all that is here
if TYPE_CHECKING:                                   # for editors and mypy, which do not run __getattr__
    from .checkpoints.loading import save
    from .generate import CallableModule
    from .model_names import load
    from .tracing import trace

    generate: CallableModule

__all__ = ["generate", "load", "save", "trace"]
WHERE = {"load": "model_names", "save": "checkpoints.loading", "trace": "tracing"}


def __getattr__(name: str) -> object:               # only now: `import gpt2np` reads no other file
    from importlib import import_module
    if name == "generate":                          # a module that can be called: see there
        return import_module(".generate", __name__)
    if name in WHERE:
        return getattr(import_module(f".{WHERE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()} - {"TYPE_CHECKING", "WHERE", "sys"})
