"""What follows from a recorded run: where the heads look, what each layer would say, what each part contributed.

Everything here is read off the model's own run, or is the model's own run with something put in its place.

    ours                 TransformerLens               the chapter
    h.3.attn.p           blocks.3.attn.hook_pattern    attention weights
    h.3.attn.z           blocks.3.attn.hook_z          what the heads give, side by side
    h.3.attn             blocks.3.hook_attn_out        output of the attention sub-layer
    h.3.mid              blocks.3.hook_resid_mid       after the first residual connection
    h.3.mlp.activation   blocks.3.mlp.hook_post        after the activation function
    h.3.mlp              blocks.3.hook_mlp_out         output of the feed-forward network
    h.3.out              blocks.3.hook_resid_post      output of the layer, hidden state
    h.0.in               blocks.0.hook_resid_pre       word embedding and position together
    ln_f                 ln_final.hook_normalized, times g and plus b     final layer normalisation

There, a part of each LayerNorm is folded into the matrix behind it by default, so ln_1 and ln_2 differ from its hooks.

Chapter: S000 3.3.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..hints import Array
from ..layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from ..layers.module import Module
from ..models.gpt2 import GPT2
from .taps import InterpretError, Patch, Recording, activations, tapped


def attention_maps(model: Module, *inputs: Any) -> dict[str, Array]:
    """The weights of every head in a forward pass, by the path of its attention: p (B, H, T, S), rows sum to 1.

    inputs   of model.forward: tokens (B, T); of a Transformer, source, its mask, and tokens

    They are put together of what the attention keeps for its backward: h.3.attn -> p[b, h, t, s] says how much of what
    position s has to say goes to position t.  With a cross-attention, s counts the source's positions.
    """
    return maps_of(model, recorded(model, *inputs)[0])


def maps_of(model: Module, seen: Recording) -> dict[str, Array]:
    """The same of a run that was recorded."""
    parts: dict[str, Any] = dict(model.named_modules())
    return {path: parts[path].weights(cache) for path, cache in seen.cache.items()
            if path in parts and hasattr(parts[path], "weights")}


def recorded(model: Module, *inputs: Any) -> tuple[Recording, Array]:
    """One forward pass with its caches: the recording, and the logits."""
    with tapped(model, Recording()) as seen:
        logits, _ = model.forward(*inputs)              # type: ignore[attr-defined]
    return seen, logits


def logit_lens(model: GPT2, tokens: ArrayLike) -> Array:
    """What each layer would say if it were the last: the last norm and the head on the stream before and behind blocks.

        lens[0] = head(ln_f(h.0.in))        lens[l] = head(ln_f(h.l-1.out))

    returns  (L + 1, B, T, V); the last one is the model's own logits, to the bit

    nostalgebraist 2020, interpreting GPT: the logit lens.
    """
    _check_gpt2(model)
    return lens_of(model, recorded(model, tokens)[0])


def lens_of(model: GPT2, seen: Recording) -> Array:
    """The same of a run that was recorded."""
    stream = [seen.x["h.0"], *(seen.y[f"h.{i}"] for i in range(len(model.h)))]
    return np.stack([model.lm_head.forward(model.ln_f.forward(x)[0])[0] for x in stream])


def residual_norms(model: Module, *inputs: Any) -> dict[str, Array]:
    """How long the vectors are that run through the blocks, and those that each part adds: |x| (B, T), by name.

    h.0.in, then for each block attn, mid, mlp and out, of a model with the norms first.
    """
    return norms_of(model, recorded(model, *inputs)[0])


def norms_of(model: Module, seen: Recording) -> dict[str, Array]:
    """The same of a run that was recorded."""
    named = activations(model, seen)
    return {name: np.sqrt((x * x).sum(axis=-1)) for name, x in named.items()
            if name.rpartition(".")[2] in ("in", "attn", "cross_attn", "mid", "mid_2", "mlp", "out") and
            name not in ("wte.in", "wpe.in") and np.ndim(x) == 3}


def direct_attribution(model: GPT2, tokens: ArrayLike, position: int, token: int,
                       against: int | None = None) -> dict[str, float]:
    """What each part has written, by itself, into the logit of a token: the parts sum to it.

        logit = (x - mean(x)) / std g w' + b w'             of the last stream x, with w = wte[token]

    x is a sum: of both embeddings, and of what each head and each MLP has added.  With the std of the whole x the
    equation is linear in x, and each summand has its part.

    position   of the one text, from which the logit is read; -1 for the last
    against    another token: the parts of the difference of their logits then
    returns    wte, wpe, h.0.attn.0 for a head, h.0.attn.b for the bias behind the heads, h.0.mlp, ln_f.b

    In float32 the sum is the difference but for rounding.
    Elhage et al. 2021, A Mathematical Framework for Transformer Circuits.
    """
    _check_gpt2(model)
    tokens = _one_text(tokens)
    _check_token(model, token)
    if against is not None:
        _check_token(model, against)
    return attribution_of(model, recorded(model, tokens)[0], _position(position, tokens.shape[1]), token, against)


def attribution_of(model: GPT2, seen: Recording, position: int, token: int,
                   against: int | None = None) -> dict[str, float]:
    """The same of a run of one text that was recorded."""
    w = model.wte.value[token] - (0 if against is None else model.wte.value[against])
    g, b = model.ln_f.g.value, model.ln_f.b.value
    inv_std = seen.cache["ln_f"][1][0, position, 0]
    direction = g * w                                   # what is left of a vector's mean is taken off:
    direction = (direction - direction.mean()) * inv_std
    found = {"wte": seen.y["wte"][0, position] @ direction, "wpe": seen.y["wpe"][position] @ direction}
    for i, block in enumerate(model.h):
        z, c_proj = seen.x[f"h.{i}.attn.c_proj"][0, position], block.attn.c_proj
        D = len(z) // block.attn.n_head
        for h in range(block.attn.n_head):
            columns = slice(h * D, (h + 1) * D)
            found[f"h.{i}.attn.{h}"] = z[columns] @ (c_proj.w.value[columns] @ direction)
        found[f"h.{i}.attn.b"] = c_proj.b.value @ direction
        found[f"h.{i}.mlp"] = seen.y[f"h.{i}.mlp"][0, position] @ direction
    found["ln_f.b"] = b @ w
    return {name: float(value) for name, value in found.items()}


# ---- a number to explain: how it is read off the logits, and its gradient

Metric = Callable[[Array], tuple[float, Array]]         # logits (B, T, V) -> the number, and its gradient by the logits


def logit_difference(position: int, token: int, against: int | None = None) -> Metric:
    """The logit of a token at a position of the first text; or what it has more than another token's."""
    def metric(logits: Array) -> tuple[float, Array]:
        dlogits = np.zeros_like(logits)
        dlogits[0, position, token] += 1
        if against is not None:
            dlogits[0, position, against] -= 1
        return float((logits[0, position] * dlogits[0, position]).sum()), dlogits
    return metric


def log_probability(position: int, token: int) -> Metric:
    """ln p of a token at a position of the first text."""
    def metric(logits: Array) -> tuple[float, Array]:
        dlogits = np.zeros_like(logits)
        loss, cache = cross_entropy_forward(logits[0, position][None], np.array([token]))
        dlogits[0, position] = cross_entropy_backward(-1.0, cache)[0]
        return -float(loss), dlogits
    return metric


def gradient_times_input(model: GPT2, tokens: ArrayLike, metric: Metric) -> Array:
    """How much a number changes with each token's vector, to first order: sum over the columns of x dmetric/dx, (T,).

    x is the sum of both embeddings, h.0.in.  Denil et al. 2014, arXiv:1412.6815.
    """
    _check_gpt2(model)
    x, gradient, _ = _gradient_at(model.replica(), _one_text(tokens), metric)
    return (x * gradient).sum(axis=-1)[0]


def gauss_legendre(n: int) -> tuple[Array, Array]:
    """n places from 0 to 1 and their weights, with which the integral of any polynomial of degree 2 n - 1 is exact."""
    places, weights = np.polynomial.legendre.leggauss(n)
    return (places + 1) / 2, weights / 2


def midpoints(n: int) -> tuple[Array, Array]:
    """The middles of n equal parts of 0 to 1, all of one weight: what others take; its error falls as 1 / n^2."""
    return (np.arange(n) + 0.5) / n, np.full(n, 1 / n)


def integrated_gradients(model: GPT2, tokens: ArrayLike, metric: Metric, nodes: int = 512,
                         rule: Callable[[int], tuple[Array, Array]] = gauss_legendre) -> tuple[Array, float]:
    """The same, as the mean over all points on the way from 0 to x: the parts of the tokens sum to the whole change.

        part_t = x_t . integral from 0 to 1 of dmetric/dx_t at a x, da        sum of parts = metric(x) - metric(0)

    nodes     of the rule for the integral; the layers are analytic, so Gauss and Legendre's converges fast.
              Near 0 the norms turn quickly: of the demo, 128 leave 2e-2, 256 leave 4e-5, 512 leave 2e-8 (float64)
    returns   parts (T,), and how far their sum is from the change

    Sundararajan, Taly, Yan 2017, arXiv:1703.01365, eq. 1 and proposition 1.
    """
    if nodes < 1:
        raise InterpretError(f"nodes: expected at least 1, got {nodes}")
    _check_gpt2(model)
    tokens = _one_text(tokens)
    replica = model.replica()
    x, _, there = _gradient_at(replica, tokens, metric)
    _, _, nothing = _gradient_at(replica, tokens, metric, 0 * x)
    total = np.zeros_like(x, dtype=np.float64)
    for a, weight in zip(*rule(nodes)):
        _, gradient, _ = _gradient_at(replica, tokens, metric, (a * x).astype(x.dtype))
        total += weight * gradient
    parts = (x * total).sum(axis=-1)[0]
    return parts, float(parts.sum() - (there - nothing))


def _gradient_at(replica: GPT2, tokens: Array, metric: Metric, x: Array | None = None) -> tuple[Array, Array, float]:
    """The stream before the first block, or x in its place; the gradient of a metric by it; and the metric.

    replica   of a model, since it gets gradients by its parameters too
    """
    patch = Patch({} if x is None else {"h.0.in": x})
    with tapped(replica, Recording()) as seen, tapped(replica, patch):
        hidden, c_hidden = replica.hidden(tokens, needs_dx=True)
        logits, c_head = replica.lm_head.forward(hidden)
        value, dlogits = metric(logits)
        dx = replica.hidden_backward(replica.lm_head.backward(dlogits, c_head), c_hidden)
    assert dx is not None
    return seen.x["h.0"], dx, value


# ---- what happens if

def patching(model: Module, tokens: ArrayLike, corrupted: ArrayLike, metric: Metric,
             names: Sequence[str]) -> Array:
    """A number of the run on `corrupted`, with what one part gave at one position taken from the run on `tokens`.

    tokens, corrupted   two texts of one length, (T,) or (1, T)
    names               of taps.Patch: h.3 for the stream behind a block, h.3.attn or h.3.mlp for what is added to it
    returns             (len(names), T)

    Where the clean value brings the clean answer back, there the difference of the two texts was carried on.
    Meng et al. 2022, arXiv:2202.05262, section 2.
    """
    clean, dirty = _one_text(tokens), _one_text(corrupted)
    if clean.shape != dirty.shape:
        raise InterpretError(f"corrupted: expected as many tokens as the other text has, {clean.shape[1]}, got "
                             f"{dirty.shape[1]}: a position of one has to stand for the same of the other")
    seen, _ = recorded(model, clean)
    found = np.empty((len(names), clean.shape[1]))
    for i, name in enumerate(names):
        value = seen.value(name)
        for t in range(clean.shape[1]):
            with tapped(model, Patch({name: value}, np.s_[:, t])):
                found[i, t] = metric(model.forward(dirty, keep_cache=False)[0])[0]      # type: ignore[attr-defined]
    return found


def without_heads(model: GPT2, tokens: ArrayLike, metric: Metric) -> Array:
    """A number with one head switched off, its part of attn.z set to 0, for each of them: (L, H).

    Michel, Levy, Neubig 2019, arXiv:1905.10650, section 3.1.
    """
    _check_gpt2(model)
    tokens = _one_text(tokens)
    H = model.config.n_head
    D = model.config.n_embd // H
    zeros = np.zeros_like(model.wte.value, shape=(*tokens.shape, model.config.n_embd))
    found = np.empty((len(model.h), H))
    for i in range(len(model.h)):
        for h in range(H):
            with tapped(model, Patch({f"h.{i}.attn.z": zeros}, np.s_[..., h * D:(h + 1) * D])):
                found[i, h] = metric(model.forward(tokens, keep_cache=False)[0])[0]
    return found


# ---- what is asked for

def _check_gpt2(model: object) -> None:
    if not isinstance(model, GPT2):
        raise InterpretError(f"expected a GPT2, whose stream runs from the embeddings to ln_f, got a "
                             f"{type(model).__name__}")
    expect_all_heads(model)


def expect_all_heads(model: GPT2) -> None:
    """InterpretError for a model without some of its heads: maps and names count them by the config."""
    if without := [i for i, block in enumerate(model.h) if block.attn.gone]:
        raise InterpretError(f"expected a model with all its heads, got one without some of block {without[0]}'s: one "
                             "in which they are zero can be looked into")


def _one_text(tokens: ArrayLike) -> Array:
    """tokens (T,) or (1, T) -> (1, T)"""
    found = np.atleast_2d(np.asarray(tokens))
    if found.ndim != 2 or len(found) != 1 or not found.size:
        raise InterpretError(f"tokens: expected one text, (T,) or (1, T), got shape {np.shape(tokens)}")
    return found


def _position(position: int, T: int) -> int:
    if not -T <= position < T:
        raise InterpretError(f"position: expected from {-T} to {T - 1}, got {position}")
    return position % T


def _check_token(model: GPT2, token: int) -> None:
    if not 0 <= token < model.n_vocab:
        raise InterpretError(f"token: expected from 0 to {model.n_vocab - 1}, got {token}")

