"""The table once more, at large sizes: a mistake that begins at a size is not seen at 2, 3, 4 and 5.

Each size of each row is taken alone, the others as in the table, far beyond what it is there and beyond the blocks of
rows, queries and heads that the code works in; then all at once as in GPT-2 124M.  What only a whole tile of 2^18
numbers shows, laws ask for: it takes no large case.
"""

import inspect
from collections.abc import Iterator

import numpy as np

from ..hints import Rng
from .checks import (
    CONTRACT,
    LIMIT_ADJOINT,
    Case,
    CheckFailed,
    Outcome,
    PairSubject,
    Seed,
    Subject,
    derivative,
    direction,
    linearity,
    outcome,
    reference,
    upstream,
)

# Beyond 64, and mostly beyond 128; of a module less, since its matrices grow with the square, and references are slow;
# for the laws less again, since many go through all positions, or all parameters.
OF_A_PAIR = {"T": 150, "H": 70}
OF_A_MODULE = {"B": 100, "T": 150, "S": 150, "C": 150, "H": 70, "D": 70, "L": 5, "below": 4}
OF_A_LAW = {"L": 5, "below": 4}
ONE_BLOCK = 100                 # positions where attention drops: it draws a mask for each 128 queries, the loops one
GPT2_VOCABULARY = 50257
GPT2_124M = {"B": 1, "T": 130, "S": 200, "past": 70, "H": 12, "D": 64, "C": 768, "F": 3072}


def sizes_of(case: Case) -> dict[str, int]:
    """The sizes of a case in the table, by name."""
    return {name: p.default for name, p in inspect.signature(case.make).parameters.items() if type(p.default) is int}


def large(case: Case) -> Iterator[tuple[str, dict[str, int], dict[str, int] | None, bool]]:
    """The large sizes of a case: every size alone, then those of GPT-2 124M, as

        (what to call them, the sizes, those for the laws or None, whether scalar loops follow, which are slow)
    """
    usual, subject = sizes_of(case), case.make(np.random.default_rng(0))
    of_a_pair, drops = isinstance(subject, PairSubject), any(isinstance(a, Seed) for a in subject.arguments.values())
    for name in usual:
        n = ONE_BLOCK if drops and name == "T" else (OF_A_PAIR if of_a_pair else OF_A_MODULE).get(name, 300)
        yield f"{name} = {n}", {name: n}, {name: OF_A_LAW.get(name, 70)}, True
    if of_a_pair and "V" in usual:
        yield f"V = {GPT2_VOCABULARY}", {"V": GPT2_VOCABULARY}, None, False
    if usual.keys() <= GPT2_124M.keys() and (of_a_pair or case.name == "PreNormBlock"):
        yield "GPT-2 124M", {name: GPT2_124M[name] for name in usual}, None, False


def examine_large(case: Case, seed: int = 0) -> Iterator[Outcome]:
    """Yield the Outcome of every check at every large size, but differences and order; its argument names the size."""
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        for name, sizes, of_laws, loops in large(case):
            subject = case.make(np.random.default_rng(seed), **sizes)
            yield outcome("adjoint", adjoint_of_all, seed, subject, about=name)
            for check in CONTRACT:
                yield outcome("contract", check, seed, subject, about=name)
            for check in (linearity, reference) if loops else (linearity,):
                yield outcome("law", check, seed, subject, about=name)
            if of_laws is not None:
                subject = case.make(np.random.default_rng(seed), **of_laws)
                for law in case.laws:
                    yield outcome("law", law, seed, subject, about=name)


def adjoint_of_all(subject: Subject, rng: Rng) -> float:
    """adjoint, as all arguments move at once: one forward instead of one for each.  Returns the relative error."""
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    gradients = subject.backward(dy, cache)
    vs = {name: direction(subject.arguments[name], rng) for name in gradients}
    forward, backward = derivative(subject, vs) * dy, {name: v * gradients[name] for name, v in vs.items()}
    scale = np.abs(forward).sum() + sum(np.abs(a).sum() for a in backward.values())
    error = abs(forward.sum() - sum(a.sum() for a in backward.values())) / scale if scale != 0 else 0.0
    if not error <= LIMIT_ADJOINT:
        for name, v in vs.items():
            one, got = (derivative(subject, {name: v}) * dy).sum(), backward[name].sum()
            if not abs(one - got) <= LIMIT_ADJOINT * scale:
                raise CheckFailed(f"d{name}: expected <Jv, dy> = {one:.15g}, got <v, J'dy> = {got:.15g}")
        raise CheckFailed(f"expected <Jv, dy> = <v, J'dy> for all arguments at once, got a difference of {error:.1e}")
    return float(error)
