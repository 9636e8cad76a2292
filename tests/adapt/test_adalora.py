"""AdaLoRA's scores, budget and masks against the paper's algorithm 1 in plain loops, and the penalty on its own."""

import numpy as np
import pytest

from gpt2np.adapt.adalora import AdaLoRALinear, RankBudget, add_adalora, orthogonality_forward
from gpt2np.adapt.replacing import AdaptError, added, merge, replacements
from gpt2np.training.adamw import AdamW

from .models import batch_for, gpt2, transformer

STEPS, WARMUP, FINAL, EVERY = 24, 4, 6, 3


def trained(model, budget, steps, first=1, optimizer=None, watch=None):
    """Steps of training, as a run does them."""
    optimizer = optimizer or AdamW(model, weight_decay=0.0)
    for step in range(first, steps + 1):
        model.loss_and_gradients(*batch_for(model))
        if watch:
            watch.before()
        budget.before_update()
        optimizer.step(0.02)
        budget.after_update(step)
        if watch:
            watch.after(step)
    return optimizer


class Algorithm1:
    """The paper's, number by number: gradients and weights before the step, then the mask of the weights after it."""

    def __init__(self, model, budget):
        self.layers, self.b = list(replacements(model).values()), budget
        self.I, self.U, self.kept = {}, {}, None

    def before(self):
        self.penalty, seen = 0.0, []
        for at, layer in enumerate(self.layers):
            for name in ("p", "e", "q"):
                w, g = getattr(layer, name).value, getattr(layer, name).grad.copy()
                if name == "p":
                    g += self.b.gamma * 4 * w @ (w.T @ w - np.eye(w.shape[1]))
                elif name == "q":
                    g += self.b.gamma * 4 * (w @ w.T - np.eye(len(w))) @ w
                for i in np.ndindex(w.shape):
                    seen.append(((at, name, i), abs(w[i] * g[i])))
        for key, now in seen:
            self.I[key] = 0.85 * self.I.get(key, 0.0) + 0.15 * now
            self.U[key] = 0.85 * self.U.get(key, 0.0) + 0.15 * abs(now - self.I[key])

    def after(self, step):
        end = STEPS - FINAL
        if step <= WARMUP:
            assert all((layer.e.value != 0).all() for layer in self.layers)
            return
        if step < end and (step - WARMUP) % EVERY:
            return
        if step <= end:
            self.kept = self.chosen(step)
        for at, layer in enumerate(self.layers):
            for k, number in enumerate(layer.e.value):
                assert (number != 0) == ((at, k) in self.kept), (step, at, k)

    def chosen(self, step):
        first, last = 5 * len(self.layers), 2 * len(self.layers)
        s = (step - WARMUP) / (STEPS - FINAL - WARMUP)
        n, scores = int(last + (first - last) * (1 - s) ** 3), []
        for at, layer in enumerate(self.layers):
            for k in range(5):
                column = [self.I[at, "p", (i, k)] * self.U[at, "p", (i, k)] for i in range(len(layer.p.value))]
                row = [self.I[at, "q", (k, o)] * self.U[at, "q", (k, o)] for o in range(layer.q.value.shape[1])]
                own = self.I[at, "e", (k,)] * self.U[at, "e", (k,)]
                scores.append((own + sum(column) / len(column) + sum(row) / len(row), at, k))
        return {(at, k) for _, at, k in sorted(scores, reverse=True)[:n]}


@pytest.mark.parametrize("make", [gpt2, transformer])
def test_algorithm_1(make):
    model = make()
    add_adalora(model, ["*.*.attn.c_attn", "*.*.mlp.c_fc"], r=5)
    budget = RankBudget(model, 2, STEPS, WARMUP, FINAL, EVERY)
    trained(model, budget, STEPS, watch=Algorithm1(model, budget))
    left = [np.count_nonzero(layer.e.value) for layer in replacements(model).values()]
    assert sum(left) == 2 * len(left) and len(set(left)) > 1                # not the same everywhere: that is the point
    loss = model.loss(*batch_for(model))
    merge(model)
    assert abs(model.loss(*batch_for(model)) - loss) < 1e-12


def test_the_budget_falls_from_all_to_the_target():
    model = gpt2()
    add_adalora(model, r=5)
    budget = RankBudget(model, 0, STEPS, WARMUP, FINAL)                     # in the end, none at all
    counts = [budget.budget(step) for step in range(STEPS + 1)]
    assert counts[:WARMUP + 1] == [10] * (WARMUP + 1) and counts[-FINAL - 1:] == [0] * (FINAL + 1)
    assert counts == sorted(counts, reverse=True)
    base = gpt2().loss(*batch_for(model))
    trained(model, budget, STEPS)
    assert model.loss(*batch_for(model)) == base                            # all ranks are cut away
    merge(model)
    assert model.loss(*batch_for(model)) == base


def test_the_penalty_is_in_the_gradient_once():
    model = gpt2()
    add_adalora(model, r=3)
    for p in added(model).values():
        p.value = np.random.default_rng(0).standard_normal(p.shape)
    budget = RankBudget(model, 2, STEPS, WARMUP, FINAL, gamma=0.3)
    for p in added(model).values():
        p.grad = np.zeros(p.shape)
    penalty, h = budget.before_update(), 1e-6
    layer: AdaLoRALinear = model.h[0].attn.c_attn
    assert abs(penalty - 0.3 * sum(orthogonality_forward(a.p.value, a.q.value)[0] for a in budget.layers.values())) \
        < 1e-12 * penalty
    v = np.random.default_rng(1).standard_normal(layer.p.shape)
    sides = [0.3 * orthogonality_forward(layer.p.value + s * v, layer.q.value)[0] for s in (h, -h)]
    assert abs((sides[0] - sides[1]) / (2 * h) - (layer.p.grad * v).sum()) < 1e-6 * abs((layer.p.grad * v).sum())
    assert not layer.e.grad.any()


def test_a_budget_goes_on_where_it_was():
    """Stopped after 11 steps, and gone on with by what was saved: the same ranks and numbers, to the bit."""
    whole, parts = gpt2(), gpt2()
    add_adalora(whole, r=5)
    add_adalora(parts, r=5)
    trained(whole, RankBudget(whole, 2, STEPS, WARMUP, FINAL, EVERY), STEPS)
    first = RankBudget(parts, 2, STEPS, WARMUP, FINAL, EVERY)
    optimizer = trained(parts, first, 11)
    state = {name: array.copy() for name, array in first.state().items()}
    second = RankBudget(parts, 2, STEPS, WARMUP, FINAL, EVERY)
    second.restore(state)
    trained(parts, second, STEPS, first=12, optimizer=optimizer)
    for path, p in added(whole).items():
        assert (p.value == added(parts)[path].value).all(), path


@pytest.mark.parametrize("change, said", [
    ({"target": 5}, "target: expected fewer ranks than the 10"), ({"target": -1}, "target: expected fewer"),
    ({"steps": 10}, "steps: expected more than warmup and final"), ({"warmup": -1}, "steps: expected"),
    ({"final": -1}, "steps: expected"), ({"every": 0}, "steps: expected"), ({"warmup": 18}, "steps: expected")])
def test_a_run_that_never_cuts_anything_away_is_refused(change, said):
    model = gpt2()
    add_adalora(model, r=5)
    RankBudget(model, target=4, steps=STEPS, warmup=17, final=FINAL)
    with pytest.raises(AdaptError, match=said):
        RankBudget(model, **{"target": 2, "steps": STEPS, "warmup": WARMUP, "final": FINAL} | change)
    with pytest.raises(AdaptError, match="the 0 that the model's 0 layers"):
        RankBudget(gpt2(), 2, STEPS, WARMUP, FINAL)
