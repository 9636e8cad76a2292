"""Times every pair beside a naive listing of the same equation, and beside PyTorch where it is installed.

    python -m benchmarks.layers [--quick] [--only NAME]

Two comparisons, each interleaved in one run (ours, theirs, ours, ...), medians of the rounds, forward + backward:

    naive   the equation written down in NumPy, whole arrays; both on one thread
    torch   PyTorch's own layer and autograd; both on the same cores: PyTorch with its threads, we with as many Python
            threads, each on its share of the batch with BLAS at one thread, as in training
"""

import argparse
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.timing import interleaved, medians
from gpt2np.layers import activations, attention, cross_entropy, embedding, layernorm, linear, lm_head, softmax

try:
    import torch
    from torch.nn import functional
except ImportError:
    torch = None

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


# ---- naive NumPy: what a listing in a book would be, forward and backward in one


def naive_linear(dy, x, w, b):
    y = x @ w + b
    return y, dy @ w.T, np.einsum("bti,bto->io", x, dy), dy.sum(axis=(0, 1))


def naive_layernorm(dy, x, g, b):
    mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    xhat = (x - mean) / np.sqrt(var + 1e-5)
    y = g * xhat + b
    dxhat = g * dy
    dx = (dxhat - dxhat.mean(axis=-1, keepdims=True) - xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)) \
        / np.sqrt(var + 1e-5)
    return y, dx, (dy * xhat).sum(axis=(0, 1)), dy.sum(axis=(0, 1))


def naive_gelu(dy, x):
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (x + 0.044715 * x * x * x))
    y = 0.5 * x * (1 + t)
    return y, dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x))


def naive_softmax(dy, x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    return p, p * (dy - (dy * p).sum(axis=-1, keepdims=True))


def naive_attention(dy, q, k, v):
    T, D = q.shape[-2:]
    scores = q @ k.swapaxes(2, 3) / math.sqrt(D)
    scores = np.where(np.tri(T, dtype=bool), scores, np.float32(-1e10))
    p, _ = naive_softmax(scores, scores)
    y = p @ v
    dp = dy @ v.swapaxes(2, 3)
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) / math.sqrt(D)
    return y, ds @ k, ds.swapaxes(2, 3) @ q, p.swapaxes(2, 3) @ dy


def naive_embedding(dy, ids, w):
    y, dw = w[ids], np.zeros_like(w)
    np.add.at(dw, ids, dy)
    return y, dw


def naive_cross_entropy(dloss, logits, targets):
    n, row = targets.size, np.arange(targets.size)
    z = logits.reshape(n, -1)
    z = z - z.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    d = np.exp(log_p)
    d[row, targets.reshape(-1)] -= 1
    return -log_p[row, targets.reshape(-1)].mean(), (d * (dloss / n)).reshape(logits.shape)


def naive_head_loss(dloss, x, targets, wte):
    loss, dlogits = naive_cross_entropy(dloss, x @ wte.T, targets)
    return loss, dlogits @ wte, np.einsum("btv,btc->vc", dlogits, x, optimize=True)


# ---- ours: a pair, forward and backward in one


def pair(forward, backward, dy, *arguments):
    y, cache = forward(*arguments)
    return y, backward(dy, cache)


def causal(q, k, v):
    return attention.attention_forward(q, k, v, causal=True)


def head_loss(x, targets, wte):
    return lm_head.lm_head_loss_forward(x, wte, targets)


# ---- PyTorch's layer and autograd


def torch_run(function, dy, *arguments):
    leaves = [a.requires_grad_() if a.is_floating_point() else a for a in arguments]
    y = function(*leaves)
    return y.detach(), torch.autograd.grad(y, [a for a in leaves if a.requires_grad], dy)


def torch_functions():
    return {
        "linear": lambda x, w, b: torch.addmm(b, x.flatten(0, 1), w).view(*x.shape[:2], -1),
        "layernorm": lambda x, g, b: functional.layer_norm(x, (x.shape[-1],), g, b),
        "gelu": lambda x: functional.gelu(x, approximate="tanh"),
        "gelu_erf": functional.gelu,
        "softmax": lambda x: functional.softmax(x, dim=-1),
        "causal attention": lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True),
        "embedding": lambda ids, w: functional.embedding(ids, w),
        "cross-entropy": lambda z, t: functional.cross_entropy(z.flatten(0, 1), t.flatten()),
        "head and loss": lambda x, t, w: functional.cross_entropy(x.flatten(0, 1) @ w.T, t.flatten()),
    }


class Row(NamedTuple):
    """One line of the table: what is run, on a batch that the threads share out and weights that they do not."""

    name: str
    forward: Callable
    backward: Callable
    naive: Callable | None
    dy: np.ndarray
    batch: tuple
    weights: tuple = ()

    def ours(self):
        return pair(self.forward, self.backward, self.dy, *self.batch, *self.weights)

    def theirs_naively(self):
        return self.naive(self.dy, *self.batch, *self.weights)

    def part(self, cut):
        """One thread's share of the batch; a loss is a mean, so each share counts for its part of it."""
        dy = self.dy[cut] if self.dy.ndim else self.dy / CORES
        return pair(self.forward, self.backward, dy, *(a[cut] for a in self.batch), *self.weights)

    def ours_on_all_cores(self, pool):
        """As in training: the gradients of the weights are added up at the end."""
        n = len(self.batch[0])
        parts = list(pool.map(self.part, [slice(i * n // CORES, (i + 1) * n // CORES) for i in range(CORES)]))
        for i in range(1, len(self.weights) + 1):
            totals = [gradients[-i] if isinstance(gradients, tuple) else gradients for _, gradients in parts]
            for other in totals[1:]:
                totals[0] += other
        return parts

    def tensors(self):
        """dy and the arguments for PyTorch, in the memory layout that a model would give it."""
        heads = self.name == "causal attention"         # of one (B, T, C)
        return [torch.from_numpy(a.swapaxes(1, 2).copy()).transpose(1, 2) if heads else
                torch.from_numpy(np.array(a)) for a in (self.dy, *self.batch, *self.weights)]


def rows_of(quick):
    """The table's rows at GPT-2 124M's shapes, with a batch of 2 for two threads to share."""
    rng = np.random.default_rng(0)
    B, T, C, H, V = 2, 256 if quick else 1024, 768, 12, 5000 if quick else 50257

    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    def heads():
        return normal(B, T, H, C // H).swapaxes(1, 2)

    one, wte = np.array(1, np.float32), normal(V, C) * 0.02
    ids, targets = rng.integers(0, V, (B, T)), rng.integers(0, V, (B, T // 4))
    yield Row("linear", linear.linear_forward, linear.linear_backward, naive_linear,
              normal(B, T, 4 * C), (normal(B, T, C),), (normal(C, 4 * C) * 0.02, normal(4 * C)))
    yield Row("layernorm", layernorm.layernorm_forward, layernorm.layernorm_backward, naive_layernorm,
              normal(B, T, C), (normal(B, T, C),), (normal(C), normal(C)))
    yield Row("gelu", activations.gelu_forward, activations.gelu_backward, naive_gelu,
              normal(B, T, 4 * C), (normal(B, T, 4 * C),))
    yield Row("gelu_erf", activations.gelu_erf_forward, activations.gelu_erf_backward, None,
              normal(B, T, 4 * C), (normal(B, T, 4 * C),))
    yield Row("softmax", softmax.softmax_forward, softmax.softmax_backward, naive_softmax,
              normal(B * H, T, T), (normal(B * H, T, T),))
    yield Row("causal attention", causal, attention.attention_backward, naive_attention,
              heads(), (heads(), heads(), heads()))
    yield Row("embedding", embedding.embedding_forward, embedding.embedding_backward, naive_embedding,
              normal(B, T, C), (ids,), (wte,))
    yield Row("cross-entropy", cross_entropy.cross_entropy_forward, cross_entropy.cross_entropy_backward,
              naive_cross_entropy, one, (normal(B, T // 4, V), targets))
    yield Row("head and loss", head_loss, lm_head.lm_head_loss_backward, naive_head_loss,
              one, (normal(B, T // 4, C), targets), (wte,))


def times_on_all_cores(row, pool, rounds):
    """The seconds of each side, by its name.  BLAS has one thread."""
    runs = {"ours": partial(row.ours_on_all_cores, pool)}
    if torch:
        torch.set_num_threads(CORES)
        runs["torch"] = partial(torch_run, torch_functions()[row.name], *row.tensors())
    return dict(zip(runs, interleaved(rounds, list(runs.values()))))


def line(row, pool, rounds):
    """The figures of one row, as text."""
    with threadpool_limits(1, "blas"):
        text = f"{row.name:17s}"
        if row.naive:
            mine, other = medians(rounds, [row.ours, row.theirs_naively])
            text += f"{mine * 1e3:9.1f} {other * 1e3:9.1f} {other / mine:6.2f}"
        else:
            text += f"{medians(rounds, [row.ours])[0] * 1e3:9.1f} {'':16s}"
        if torch:
            mine, other = map(statistics.median, times_on_all_cores(row, pool, rounds).values())
            text += f"  {mine * 1e3:8.1f} {other * 1e3:8.1f} {other / mine:6.2f}"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller shapes, fewer rounds")
    parser.add_argument("--only", metavar="NAME", help="only the pairs whose name has NAME in it")
    options = parser.parse_args()
    print(f"{platform.machine()}, {CORES} cores, Python {platform.python_version()}, NumPy {np.__version__}, "
          + (f"PyTorch {torch.__version__}" if torch else "PyTorch is not installed: its columns are left out"))
    print("float32, forward + backward, milliseconds; a ratio above 1 says that we are faster\n")
    print(f"{'':17s}{'1 thread':>26s}" + (f"{f'{CORES} cores':>26s}" if torch else ""))
    print(f"{'':17s}{'ours':>9s} {'naive':>9s} {'ratio':>6s}" + (f"  {'ours':>8s} {'torch':>8s} {'ratio':>6s}"
                                                                 if torch else ""))
    with ThreadPoolExecutor(CORES) as pool:
        for row in rows_of(options.quick):
            if not options.only or options.only in row.name:
                print(line(row, pool, 3 if options.quick else 7), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
