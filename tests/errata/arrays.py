"""The formula that all texts share, as it stands; and what is asked of one: what sees what, and what it costs."""

import numpy as np

from gpt2np.layers.attention import attention_forward
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention(q, k, v):
    r"""\text{softmax}(\frac{QK^T}{\sqrt{d_k}})V of S000 4.2, S001 4.1 and S002 4.2, which is right as it stands."""
    return softmax(q @ k.T / np.sqrt(k.shape[-1])) @ v


def ours(q, k, v, causal=False):
    """The same by this package, for one sequence and one head."""
    return attention_forward(q[None, None], k[None, None], v[None, None], causal=causal)[0][0, 0]


def of_one(forward, *others):
    """A forward of this package, (B, T, C) -> (y, cache), as a function of one sequence (T, C)."""
    return lambda x: forward(x[None], *others)[0][0]


def sees(f, x):
    """(outputs, inputs): True where output t changes when input s does. x (T, ...), f(x) (any number, ...)."""
    y, seen = f(x), []
    for s in range(len(x)):
        changed = x.copy()
        changed[s] = int(x[s] == 0) if x.dtype.kind == "i" else x[s] + np.linspace(1, 2, x[s].size)
        seen.append(np.abs(f(changed) - y).max(axis=-1) > 1e-12)
    return np.array(seen).T


def lower(n):
    """Row t sees the columns up to t, and all of them."""
    return np.tri(n, dtype=bool)


def small(rng, n_vocab=11, n_ctx=8, n_embd=12, n_head=3, n_layer=2):
    """A GPT-2 whose weights are large enough for every one to matter."""
    return filled(GPT2(GPT2Config(n_vocab, n_ctx, n_embd, n_head, n_layer), dtype=np.float64), rng)


def filled(module, rng):
    for _, p in module.named_parameters():
        p.value[...] = rng.standard_normal(p.value.shape) / 2
    return module


def zero(*linears):
    """Sub-layers that add nothing: their last layer gives 0."""
    for linear in linears:
        linear.w.value[...] = linear.b.value[...] = 0


def names(module):
    """path -> array, for every parameter."""
    return {path: p.value for path, p in module.named_parameters()}


def matrix_products(f, *arrays):
    """(multiplications, products) of all the matrix products that f(*arrays) takes."""
    sizes = []

    class Counted(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
            if out is not None:
                options["out"] = tuple(np.asarray(a) for a in out)
            result = getattr(ufunc, method)(*(np.asarray(a) for a in inputs), **options)
            if ufunc is np.matmul:
                sizes.append(result.size * inputs[0].shape[-1])
            return out[0] if out is not None else np.asarray(result).view(Counted)

    f(*(a.view(Counted) for a in arrays))
    return sum(sizes), len(sizes)
