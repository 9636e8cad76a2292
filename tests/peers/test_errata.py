"""The listings of S000 do in PyTorch itself what they do in tests/errata, in NumPy: `make test-peers` installs it."""

import os

import numpy as np
import pytest

from tests.errata.reading import definitions, listing, run
from tests.errata.torch_like import tensor, torch_like

pytestmark = pytest.mark.skipif(not os.environ.get("GPT2NP_PEERS"), reason="opt-in: make test-peers")


@pytest.fixture
def both():
    """What the listing of 4.4 defines, in PyTorch and in NumPy."""
    torch = pytest.importorskip("torch")
    modules = {"torch": torch, "torch.nn": torch.nn, "torch.nn.functional": torch.nn.functional}
    torch.manual_seed(0)
    code = definitions(listing("S000-4.4"))
    return torch, run(code, modules), run(code, torch_like(np.random.default_rng(0)))


def copy(theirs, ours):
    """The weights of a module of PyTorch into the same one in NumPy, in their order."""
    for p, a in zip(theirs.parameters(), ours.parameters().values(), strict=True):
        a[...] = p.detach().numpy()


@pytest.mark.parametrize("T, H", [(6, 6), (8, 8), (6, 3), (10, 8), (1, 3), (6, 1)])
def test_self_attention(both, T, H):
    torch, theirs, ours = both
    theirs, ours = theirs["SelfAttention"](4 * H, H).double(), ours["SelfAttention"](4 * H, H)
    copy(theirs, ours)
    x = np.random.default_rng(1).standard_normal((2, T, 4 * H))
    if H in (1, T):
        # 1e-8: PyTorch takes the root of the width, an integer, in float32
        np.testing.assert_allclose(theirs(torch.tensor(x)).detach().numpy(), ours(tensor(x)), rtol=0, atol=1e-8)
    else:
        for module, error in ((lambda: theirs(torch.tensor(x)), RuntimeError), (lambda: ours(tensor(x)), ValueError)):
            with pytest.raises(error):
                module()


def test_the_model(both):
    torch, theirs, ours = both
    theirs, ours = theirs["TransformerModel"](3, 8, 1, 0.0).double(), ours["TransformerModel"](3, 8, 1, 0.0)
    copy(theirs, ours)
    x = np.random.default_rng(1).standard_normal((2, 5, 8))
    np.testing.assert_allclose(theirs(torch.tensor(x)).detach().numpy(), ours(tensor(x)), rtol=0, atol=1e-8)


def test_initial_weights(both):
    """Uniform, with the same bound: so the same deviation, from enough of them."""
    _, theirs, ours = both
    theirs, ours = theirs["TransformerModel"](1, 96, 4, 0.0), ours["TransformerModel"](1, 96, 4, 0.0)
    for p, a in zip(theirs.parameters(), ours.parameters().values(), strict=True):
        if a.ndim > 1 and len(a) > 1:
            np.testing.assert_allclose(np.asarray(a).std(), p.detach().numpy().std(), rtol=0.02)


def test_gpt2_has_no_gradient(both):
    """The log-softmax over one number of 5.2."""
    torch, theirs, _ = both
    modules = {"torch": torch, "torch.nn": torch.nn}
    code = "import torch.nn as nn\n" + definitions(listing("S000-5.2-GPT2"))
    model = run(code, modules, TransformerBlock=theirs["TransformerBlock"])["GPT2"](12, 1, 0.0, 2)
    y = model(torch.randn(2, 5, 12))
    y.sum().backward()
    assert not y.any() and not any(p.grad.any() for p in model.parameters())
