"""What a recording names is what transformers says of the same model (tests/golden/make_inside.py)."""

from pathlib import Path

import numpy as np
import pytest

from gpt2np.interpret.taps import Recording, activations, tapped
from tests.models.test_golden import golden, model_of, relative  # noqa: F401    golden is a fixture

L = 2


def theirs():
    with np.load(Path(__file__).parents[1] / "golden" / "inside.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def our_name(name):
    """h.0.attn.p for attentions.0; a hidden state is a block's input, and the last one what ln_f gives."""
    kind, _, i = name.partition(".")
    if kind == "attentions":
        return f"h.{i}.attn.p"
    if kind == "hidden_states":
        return ["h.0.in", *(f"h.{l}.out" for l in range(L - 1)), "ln_f"][int(i)]
    return f"{name}.out" if name in {f"h.{l}" for l in range(L)} else {"logits": "lm_head"}.get(name, name)


@pytest.mark.parametrize("dtype, limit", [(np.float64, 1e-11), (np.float32, 1e-4)])
def test_all_that_transformers_gives_has_its_name_here(golden, dtype, limit):      # noqa: F811
    """Attentions, hidden states, what each sub-layer gives, and the gradients of the loss by them."""
    model, expected = model_of(golden, dtype), theirs()
    with tapped(model, Recording()) as seen:
        model.loss_and_gradients(golden["tokens"], golden["targets"])
    ours = activations(model, seen)
    with tapped(model, Recording()) as seen:            # head and loss in one give no logits
        model.forward(golden["tokens"])
    ours["lm_head"] = activations(model, seen)["lm_head"]
    compared = set()
    for name, array in expected.items():
        name, grad, _ = name.partition(".grad")
        if name == "logits" and grad:
            continue
        called = our_name(name) + grad
        assert ours[called].dtype == dtype and relative(ours[called], array) < limit, called
        compared.add(called)
    block = {"attn.p", *(f"{name}{grad}" for grad in ("", ".grad") for name in (
        "ln_1", "attn.c_attn", "attn.c_proj", "attn", "ln_2", "mlp.c_fc", "mlp.c_proj", "mlp", "out"))}
    assert compared == {f"h.{i}.{name}" for i in range(L) for name in block} | {
        "h.0.in", "h.0.in.grad", "ln_f", "ln_f.grad", "lm_head"}
