"""Every check of the table, on every pair and module, over sizes that Hypothesis draws."""

import inspect
import pkgutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpt2np
from gpt2np.adapt.narrow import Int8ActivationsLinear
from gpt2np.blocks.stack import Stack
from gpt2np.gradcheck import checks
from gpt2np.gradcheck.cases import CASES
from gpt2np.gradcheck.cases.blocks import Stacked
from gpt2np.gradcheck.cases.models import SideBySide
from gpt2np.layers.embedding import Embedding
from gpt2np.layers.module import Module
from gpt2np.training.mixed import HalfLinear

PAIRS = [c for c in CASES if isinstance(c.make(np.random.default_rng(0)), checks.PairSubject)]
MODULES = [c for c in CASES if c not in PAIRS]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
seeds = st.integers(0, 2 ** 32 - 1)


def examples(n):
    """So many of each hundred examples that the profile asks for: a forward by scalar loops is slow."""
    return settings(max_examples=n * settings.default.max_examples // 100)


@st.composite
def sizes(draw, case, smallest=1):
    """Other values for the sizes in a case's signature: the batch, the sequence, the heads ..."""
    largest = 5 if case in PAIRS else 3
    names = [n for n, p in inspect.signature(case.make).parameters.items() if type(p.default) is int]
    # Two numbers are normalised to +1 and -1 whatever they are: the gradient is what eps leaves of it, 10^-5 of the
    # terms that it is the difference of, and has that many digits less.  With three that is still likely to happen
    # somewhere in a stack.
    narrow, drawn = (2,) if case in PAIRS else (2, 3), {}
    for n in names:
        choices = range(0 if n == "past" else smallest, largest + 1)
        if n in ("C", "D"):
            heads = drawn.get("H", 1)
            widest = 25 if case in PAIRS else 6         # of a module every element of every matrix is moved
            choices = [c for c in range(smallest, 6) if heads * c not in narrow and heads * c <= widest]
        drawn[n] = draw(st.sampled_from(choices), label=n)
    return drawn


def fresh(seed):
    """A generator for dy and the directions: not the one that the arguments were drawn from."""
    return np.random.default_rng([seed, 1])


@every_case
@examples(15)
@given(data=st.data(), seed=seeds, scale=st.sampled_from([1e-3, 1.0, 30.0]))
def test_adjoint_linearity_and_reference(case, data, seed, scale):
    subject = case.make(np.random.default_rng(seed), **data.draw(sizes(case)))
    if case in PAIRS:                                   # a deep stack of large numbers only adds their rounding errors
        for name in checks.floating(subject.arguments):
            subject.arguments[name] = subject.arguments[name] * scale
    rng = fresh(seed)
    known = checks.linearised(subject, rng)
    for name in subject.differentiable():
        checks.adjoint(subject, name, rng, known)
    checks.linearity(subject, rng)
    checks.reference(subject, rng)


@every_case
@examples(15)
@given(data=st.data(), seed=seeds)
def test_contract(case, data, seed):
    drawn = data.draw(sizes(case))
    rng = fresh(seed)
    subject, empty = case.make(rng, **drawn), case.make(rng, **(drawn | {"B": 0}))
    for check in checks.CONTRACT:
        check(subject, rng)
    checks.contract_empty_batch(empty, rng)


@every_case
@examples(3)
@given(data=st.data(), seed=seeds)
def test_differences(case, data, seed):
    subject, rng = case.make(np.random.default_rng(seed), **data.draw(sizes(case))), fresh(seed)
    known = checks.linearised(subject, rng)
    for name in subject.differentiable():
        checks.differences(subject, name, rng, known)


@every_case
@examples(3)
@given(data=st.data(), seed=seeds)
def test_order(case, data, seed):
    subject = case.make(np.random.default_rng(seed), **data.draw(sizes(case, smallest=2)))
    for name in subject.movable():
        checks.order(subject, name, fresh(seed))


@every_case
@examples(3)
@given(data=st.data(), seed=seeds)
def test_laws(case, data, seed):
    subject = case.make(np.random.default_rng(seed), **data.draw(sizes(case)))
    trainable = {path: p.trainable for path, p in subject.parameters.items()}
    for law in case.laws:
        law(subject, fresh(seed))
        assert {path: p.trainable for path, p in subject.parameters.items()} == trainable, law.__name__


def submodules():
    for info in pkgutil.walk_packages(gpt2np.__path__, "gpt2np."):
        if not info.name.endswith("__main__"):
            yield __import__(info.name, fromlist=["_"])


def test_every_backward_has_a_case():
    checked = {c.make(np.random.default_rng(0)).backward_pass for c in PAIRS}
    for module in submodules():
        for name, function in vars(module).items():
            if inspect.isfunction(function) and name.endswith("_backward"):
                assert function in checked, f"{module.__name__}.{name} has no row in gpt2np/gradcheck/cases/"


def test_every_module_has_a_case():
    """A Stack is none, but a list: its row is that of a module that has nothing else; a BERT's two answers are put
    side by side."""
    modules = [c.make(np.random.default_rng(0)).module for c in MODULES]
    checked = {type(m) for m in modules} | {type(m.h) for m in modules if type(m) is Stacked}
    checked |= {type(m.model) for m in modules if type(m) is SideBySide}
    checked |= {Int8ActivationsLinear, HalfLinear}      # they round what comes in, which has no gradient
    for module in submodules():
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and issubclass(kind, (Module, Embedding, Stack)) and kind is not Module:
                assert kind in checked, f"{module.__name__}.{name} has no row in gpt2np/gradcheck/cases/"
