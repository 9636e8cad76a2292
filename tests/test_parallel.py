"""docs/parallel.md: the parts of an attention and of an MLP add up to the whole, and a text over ranks is the same.

The listing is the page's; that the rest of the page runs, and prints what stands there, tests/test_pages.py shows.
"""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpt2np.blocks.feedforward import MLP
from gpt2np.blocks.multihead import SelfAttention
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from tests.training.test_mpi import mpiexec, needs_mpi, on_ranks

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "parallel.md").read_text(encoding="utf-8")
LISTING, *_, WRITE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
B, T, C, H = 2, 5, 16, 4
PARTS = {"attention": lambda rng: SelfAttention(C, H, rng, causal=True, dtype=np.float64),
         "mlp": lambda rng: MLP(C, rng, n_inner=24, dtype=np.float64)}


def names_of_the_page():
    names = {}
    exec(LISTING, names)
    return names


def test_the_listing_is_short():
    assert len(LISTING.splitlines()) <= 30 and max(map(len, LISTING.splitlines())) <= 120


def with_biases(module):
    """The same with biases that are not 0, as in a model that has learned."""
    rng = np.random.default_rng(1)
    for _, p in module.named_parameters():
        if p.value.ndim == 1:
            p.value = rng.standard_normal(p.value.shape)
    return module


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * max(1, abs(expected).max()))


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("name", PARTS)
def test_shares_add_up_to_the_whole(name, size):
    """y, dx and every gradient; each gradient of a weight lies with its part of the weight, one part beside another."""
    Share, whole = names_of_the_page()["Share"], with_biases(PARTS[name](np.random.default_rng(0)))
    x, dy = np.random.default_rng(2).standard_normal((2, B, T, C))
    y, cache = whole.forward(x)
    dx = whole.backward(dy, cache)
    sent = []

    def on_rank(comm):
        def all_reduce(part):
            if comm.rank == 0:
                sent.append(part.nbytes)
            return sum(comm.allgather(part))
        mine = Share(copy.deepcopy(whole), comm.rank, size, all_reduce)
        mine.zero_grad()
        got, its = mine.forward(x)
        return got, mine.backward(dy, its), mine.part

    results = on_ranks(size, on_rank)
    for got, by_x, _ in results:
        close(got, y)
        close(by_x, dx)
    assert sent == [B * T * C * 8] * 2                  # one all-reduce forward, and one backward
    parts = [part for _, _, part in results]
    first = "c_attn" if name == "attention" else "c_fc"
    for kind in "wb":
        shares = [np.split(getattr(getattr(part, first), kind).grad, 3 if name == "attention" else 1, axis=-1)
                  for part in parts]
        close(np.concatenate([share for column in zip(*shares) for share in column], axis=-1),
              getattr(getattr(whole, first), kind).grad)
    close(np.concatenate([part.c_proj.w.grad for part in parts]), whole.c_proj.w.grad)
    close(parts[0].c_proj.b.grad, whole.c_proj.b.grad)
    assert all(part.c_proj.b.grad is None for part in parts[1:])
    assert sum(p.value.size for part in parts for _, p in part.named_parameters()) == \
        sum(p.value.size for _, p in whole.named_parameters()) + (size - 1) * C


def test_a_model_is_the_whole_one():
    """Loss, and the gradients of what every rank has, the embedding among them; four sums in each block."""
    cut, config = names_of_the_page()["cut"], GPT2Config(11, 8, C, H, 3)
    whole = with_biases(GPT2(config, np.random.default_rng(0), dtype=np.float64))
    tokens = np.random.default_rng(1).integers(0, 11, (2, 6))
    targets = np.roll(tokens, -1, axis=1)
    before = copy.deepcopy(whole)
    loss, counts = whole.loss_and_gradients(tokens, targets), [0, 0]

    def on_rank(comm):
        def all_reduce(part):
            counts[comm.rank] += 1
            return sum(comm.allgather(part))
        mine = cut(copy.deepcopy(before), comm.rank, 2, all_reduce)
        return mine.loss_and_gradients(tokens, targets), dict(mine.named_parameters())

    expected = dict(whole.named_parameters())
    for its, parameters in on_ranks(2, on_rank):
        assert its == pytest.approx(loss, rel=1e-12)
        for path, p in parameters.items():
            if ".part." not in path:
                close(p.grad, expected[path].grad)
    assert counts == [4 * config.n_layer] * 2


@needs_mpi
@pytest.mark.slow
def test_a_text_over_two_ranks(tmp_path):
    """The page's program, as it stands there, prints one text, the same alone and on two ranks."""
    (tmp_path / "write.py").write_text(LISTING + "\n\n" + WRITE, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    printed = [subprocess.run([*launcher, sys.executable, str(tmp_path / "write.py")], capture_output=True, text=True,
                              check=True, timeout=120, env=environment).stdout
               for launcher in ([], [mpiexec(), "-n", "2"], [mpiexec(), "-n", "4"])]
    assert printed[0] in PAGE and len(printed[0]) > 50 and set(printed) == {printed[0]}
