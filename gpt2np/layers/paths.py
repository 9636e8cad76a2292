"""Parts of a model by the paths of its parameters: which ones a pattern names.

A pattern goes component by component, `*` stands for any one component, and what it names brings all that is below:

    ln_f                  ln_f.g, ln_f.b
    h.11                  all of the last of twelve blocks, and not h.1
    h.*.attn.c_attn       a matrix and a bias in each block

Chapter: S000 8.2; S002 2.3, 3.2; S004 3.2, 3.3.
"""

import difflib
import re
from collections.abc import Iterable, Sequence

from ..errors import Gpt2npError
from .module import Module

SHOWN = 16                      # names in a message


def fits(pattern: str, path: str) -> bool:
    """Whether a pattern names a path, or something that it is below."""
    wanted, there = pattern.split("."), path.split(".")
    return len(wanted) <= len(there) and all(w in ("*", t) for w, t in zip(wanted, there))


def chosen(patterns: Sequence[str], paths: Iterable[str]) -> list[str]:
    """The paths that one of the patterns names, in their order; Gpt2npError for a pattern that names none of them."""
    paths = list(paths)
    for pattern in patterns:
        if not any(fits(pattern, path) for path in paths):
            raise Gpt2npError(f"expected a pattern that names something of the model, got {pattern!r}; there are "
                              f"{near(pattern, paths)}")
    return [path for path in paths if any(fits(pattern, path) for pattern in patterns)]


def near(pattern: str, paths: Iterable[str]) -> str:
    """Patterns that fit, for a message: first those like this one, then what has a name at all, each kind once."""
    parts = [path.split(".") for path in paths]
    names = dict.fromkeys(".".join(p[:n]) for p in parts for n in range(1, len(p) + 1))
    kinds = dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in names)
    above = {kind.rpartition(".")[0] for kind in kinds}
    plain = [kind for kind in kinds if f"{kind}.*" not in kinds and (kind in above or "." not in kind)]
    alike = difflib.get_close_matches(pattern, names if re.search(r"\d", pattern) else kinds, 3)
    shown = list(dict.fromkeys([*alike, *plain]))
    return ", ".join(shown[:SHOWN]) + ", ..." * (len(shown) > SHOWN)


def freeze_all_but(model: Module, patterns: Sequence[str]) -> None:
    """Leave all parameters of a model as they are from now on but those that the patterns name.

    Gpt2npError for a pattern that names none; then nothing is changed.
    """
    parameters = dict(model.named_parameters())
    trained = set(chosen(patterns, parameters))
    for path, p in parameters.items():
        p.trainable = path in trained
