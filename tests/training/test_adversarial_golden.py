"""FGM and PGD against PyTorch's autograd: where texts are moved to, both losses, every gradient
(tests/golden/make_adversarial.py)."""

import numpy as np
import pytest

from gpt2np.checkpoints import loading
from gpt2np.models.heads import SOFTMAX
from gpt2np.training.adversarial import Attack, adversarially, attacked, moved, norms
from gpt2np.training.parallel import DataParallel, plainly
from tests.models.test_heads_golden import ARCHITECTURES, FOLDER, batch_of, gradients

EPSILON, ALPHA = 0.7, 0.4
ATTACKS = {"fgm": Attack(EPSILON, 1, EPSILON), "pgd": Attack(EPSILON, 3, ALPHA)}
NAMES = pytest.mark.parametrize("name", ["BertForSequenceClassification", "GPT2ForSequenceClassification"])
LIMIT = 1e-11


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER.with_name("adversarial.npz"), allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def heads():
    with np.load(FOLDER.with_suffix(".npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def case(heads, name):
    model, _ = loading.load(FOLDER / name, np.float64)
    model.objective = SOFTMAX
    return model, batch_of(heads, name, SOFTMAX.name)


def close(got, expected):
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < LIMIT * max(1.0, np.abs(expected).max())


@NAMES
def test_the_gradient_by_the_embeddings(golden, heads, name):
    model, batch = case(heads, name)
    with moved(model) as tap:
        plainly(model, batch, None, None)
    (g,) = tap.g
    close(g, golden[f"{name}: g"])
    assert (norms(g) > 1e-3).all()


@NAMES
@pytest.mark.parametrize("attack", ATTACKS)
def test_each_step_of_an_attack(golden, heads, name, attack):
    model, batch = case(heads, name)
    its = ATTACKS[attack]
    for step in range(1, its.steps + 1):
        (r,) = attacked(its._replace(steps=step), model, batch)
        close(r, golden[f"{name}, {attack}: r {step}"])
        assert (norms(r) <= EPSILON * (1 + 1e-14)).all()
        assert np.isclose(norms(r), EPSILON).any() == (its.size * step >= EPSILON)      # what has left the ball is back


@NAMES
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_both_losses_and_every_gradient(golden, heads, name, attack, threads):
    """Alone, and as a run has it done, in threads."""
    model, batch = case(heads, name)
    if threads:
        with DataParallel(model, threads) as parallel:
            losses, _ = parallel.loss_and_gradients(batch, learn=lambda *work: adversarially(ATTACKS[attack], *work))
    else:
        losses = adversarially(ATTACKS[attack], model, batch, None, None)
    expected = golden[f"{name}, {attack}: losses"]
    close(losses, expected)
    assert expected[1] > expected[0]
    got, before = gradients(model, ARCHITECTURES[name].head), f"{name}, {attack}: grad "
    assert got.keys() == {path.removeprefix(before) for path in golden if path.startswith(before)}
    for path, gradient in got.items():
        close(gradient, golden[before + path])
