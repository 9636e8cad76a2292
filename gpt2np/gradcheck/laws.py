"""What must hold for one layer in particular, whatever its numbers: sums, invariances, causality, limits.

Gradient checks cannot see a mask that is off by one, since forward and backward agree on it.  A law can.
Each is a function of (subject, rng) that raises CheckFailed where the law is broken.
"""

import dataclasses
import math

import numpy as np

from ..blocks.kv_cache import KVCache
from ..hints import Array, Rng
from ..layers import activations, cross_entropy, dropout, embedding, lm_head
from ..layers.attention import split_heads
from ..layers.module import Parameter
from ..layers.tiles import TILE
from .checks import (
    Arguments,
    CheckFailed,
    ModuleSubject,
    PairSubject,
    Subject,
    arrays_of,
    close,
    identical,
    refused,
    upstream,
    with_generators,
)

EXACT = 1e-13                   # float64, where only rounding differs


# ---- any subject


def inference_is_forward(subject: Subject, rng: Rng) -> None:
    """With keep_cache=False, y is the same (to the bit, unless another form of an activation makes it), and no more."""
    y, _ = subject.forward(subject.arguments)
    inferred, cache = subject.forward(subject.arguments | {"keep_cache": False})
    close("y without a cache", inferred, y, EXACT)
    if cache is not None:
        raise CheckFailed(f"the cache for inference: expected None, got {type(cache).__name__}")


def rows_are_independent(subject: Subject, rng: Rng) -> None:
    """The rows of the batch do not see each other: each alone gives the same."""
    y, _ = subject.forward(subject.arguments)
    for b in range(len(y)):
        alone, _ = subject.forward(subject.arguments | {"x": subject.arguments["x"][b:b + 1]})
        close(f"y of row {b} alone", alone, y[b:b + 1], EXACT)


def gradient_rows_sum_to_0(subject: Subject, rng: Rng) -> None:
    """A constant added to a row of x changes nothing, so the gradient of the row sums to 0."""
    y, cache = subject.forward(subject.arguments)
    name, dx = next(iter(subject.backward(upstream(y, rng), cache).items()))
    close(f"row sums of d{name}", dx.sum(axis=-1), np.zeros(dx.shape[:-1]), EXACT, scale=max(1.0, np.abs(dx).max()))


def finite_at_10000(subject: Subject, rng: Rng) -> None:
    """Numbers of 10^4, where exp overflows, give finite results, in float64 and in float32."""
    first = next(iter(subject.arguments))
    for dtype in (np.float64, np.float32):
        changed: Arguments = {name: a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype == float else a
                              for name, a in subject.arguments.items()}
        y, cache = subject.forward(changed | {first: changed[first] * dtype(1e4)})
        for name, a in {"y": y, **subject.backward(upstream(y, rng), cache)}.items():
            if not np.isfinite(a).all():
                raise CheckFailed(f"{name} at {first} times 10^4 in {dtype.__name__}: expected finite numbers, got {a}")


def many_tiles_are_one(subject: Subject, rng: Rng) -> None:
    """More rows than a tile holds give what each row gives alone, forward and backward."""
    x = subject.arguments["x"]
    n = TILE // x.shape[-1] + 2
    big = rng.standard_normal((n, x.shape[-1]))
    y, cache = subject.forward(subject.arguments | {"x": big})
    dy = upstream(y, rng)
    dx = subject.backward(dy, cache)["x"]
    for i in (0, n - 3, n - 1):
        alone, cache = subject.forward(subject.arguments | {"x": big[i:i + 1]})
        close(f"y of row {i} of {n}", y[i:i + 1], alone, EXACT)
        close(f"dx of row {i} of {n}", dx[i:i + 1], subject.backward(dy[i:i + 1], cache)["x"], EXACT)


# ---- softmax, log_softmax


def probabilities(subject: Subject, rng: Rng) -> None:
    """Every row sums to 1, and x + c gives the same as x."""
    y, _ = subject.forward(subject.arguments)
    close("row sums", y.sum(axis=-1), np.ones(y.shape[:-1]), EXACT)
    shifted, _ = subject.forward({"x": subject.arguments["x"] + 100})
    close("y of x + 100", shifted, y, EXACT)


def log_probabilities(subject: Subject, rng: Rng) -> None:
    """exp of every row sums to 1, and x + c gives the same as x: however large c is, it costs no digits."""
    y, _ = subject.forward(subject.arguments)
    close("row sums of exp(y)", np.exp(y).sum(axis=-1), np.ones(y.shape[:-1]), EXACT)
    eighths = np.round(8 * subject.arguments["x"]) / 8          # so that eighths + 2^20 is not rounded
    y, _ = subject.forward({"x": eighths})
    shifted, _ = subject.forward({"x": eighths + 2 ** 20})
    close("y of x + 2^20", shifted, y, EXACT)


# ---- layernorm


def normalised(subject: Subject, rng: Rng) -> None:
    """With g = 1 and b = 0 every row has mean 0 and variance var / (var + eps)."""
    x, g, b = (subject.arguments[name] for name in ("x", "g", "b"))
    y, _ = subject.forward({"x": x, "g": np.ones_like(g), "b": np.zeros_like(b)})
    var = ((x - x.mean(axis=-1, keepdims=True)) ** 2).mean(axis=-1)
    close("mean of y", y.mean(axis=-1), np.zeros_like(var), EXACT, scale=1.0)
    close("variance of y", (y * y).mean(axis=-1), var / (var + 1e-5), EXACT, scale=1.0)


def affine_invariant(subject: Subject, rng: Rng) -> None:
    """a x + c gives what x gives, with eps scaled by a^2."""
    y, _ = subject.forward(subject.arguments)
    moved = subject.arguments | {"x": subject.arguments["x"] * 8 - 3, "eps": 64e-5}
    close("y of 8 x - 3", subject.forward(moved)[0], y, 1e-12)


def accurate_far_from_0(subject: Subject, rng: Rng) -> None:
    """In float32, rows around 1000 keep their digits: the variance is not a difference of two large numbers."""
    x = rng.standard_normal((8, 64))
    arguments = {"x": x + 1000, "g": np.ones(64), "b": np.zeros(64)}
    y, _ = subject.forward(arguments)
    y_32, _ = subject.forward({name: a.astype("f") for name, a in arguments.items()})
    close("y in float32, far from 0", y_32, y, 1e-3)


def gain_and_bias_have_a_shape(subject: Subject, rng: Rng) -> None:
    """A gain or bias of another length is refused, not broadcast."""
    for name in ("g", "b"):
        refused(f"{name} of shape (1, C)", subject.forward,
                subject.arguments | {name: subject.arguments[name][None]})


# ---- linear


def one_column(subject: Subject, rng: Rng) -> None:
    """A matrix of one column, and one of one row, are matrices."""
    for n_in, n_out in ((1, 3), (3, 1)):
        arguments = {"x": rng.standard_normal((4, n_in)), "w": rng.standard_normal((n_in, n_out)),
                     "b": rng.standard_normal(n_out)}
        y, cache = subject.forward(arguments)
        close("y", y, (arguments["x"][:, :, None] * arguments["w"]).sum(axis=1) + arguments["b"], EXACT)
        dy = upstream(y, rng)
        close("db", subject.backward(dy, cache)["b"], dy.sum(axis=0), EXACT)


def bias_has_a_shape(subject: Subject, rng: Rng) -> None:
    """A bias of another length is refused, not broadcast."""
    refused("b of shape (1, O)", subject.forward, subject.arguments | {"b": subject.arguments["b"][None]})


# ---- activations


def gelu_limits(subject: Subject, rng: Rng) -> None:
    """gelu(x) is 0 far to the left and x far to the right, with slopes 0 and 1; gelu(0) = 0 with slope 1/2."""
    for dtype, limit in ((np.float64, EXACT), (np.float32, 1e-6)):
        x = np.array([[-1e4, -30, 0, 30, 1e4]], dtype)
        y, cache = subject.forward({"x": x})
        close("gelu far out", y, np.array([[0, 0, 0, 30, 1e4]], dtype), limit, scale=1.0)
        slope = subject.backward(np.ones_like(x), cache)["x"]
        close("slope of gelu far out", slope, np.array([[0, 0, 0.5, 1, 1]], dtype), limit, scale=1.0)


def gelu_splits_x(subject: Subject, rng: Rng) -> None:
    """gelu(x) - gelu(-x) = x, since the two weights s(x) and s(-x) add to 1."""
    x = subject.arguments["x"]
    y, _ = subject.forward({"x": x})
    mirrored, _ = subject.forward({"x": -x})
    close("gelu(x) - gelu(-x)", y - mirrored, x, EXACT)


def slope_keeps_its_digits(subject: Subject, rng: Rng) -> None:
    """In float32 too, the slope is right to its last digits where it nears 1: no difference of two large numbers."""
    x = np.linspace(2, 10, 801, dtype=np.float32)[None]
    slope_32, slope = (subject.backward(np.ones_like(a), subject.forward({"x": a})[1])["x"]
                       for a in (x, x.astype(np.float64)))
    close("slope in float32", slope_32, slope, 3e-7)


def small_tail_keeps_its_digits(subject: Subject, rng: Rng) -> None:
    """Phi(x) at x = -6 is 10^-9: computed without cancellation."""
    x = np.array([[-1.0, -3.0, -6.0]])
    y, _ = subject.forward({"x": x})
    expected = [0.5 * a * math.erfc(-a / math.sqrt(2)) for a in x[0]]
    for i in range(3):
        close(f"gelu({x[0, i]:g})", y[0, i], expected[i], EXACT)


def without_a_cache(subject: PairSubject, rng: Rng) -> None:
    """The form for inference gives the same, and leaves x as it is."""
    x = subject.arguments["x"].copy()
    y, _ = subject.forward({"x": x})
    inference = getattr(activations, subject.name.removesuffix("_forward"))
    for layout in (np.array, np.asfortranarray):
        close("y for inference", inference(layout(x)), y, EXACT)
    identical("x after the form for inference", x, subject.arguments["x"])


# ---- embedding


def ids_outside_the_table(subject: Subject, rng: Rng) -> None:
    """Ids that indexing would wrap or that are no integers are refused."""
    ids, w = subject.arguments["ids"], subject.arguments["w"]
    for bad in (-1, len(w)):
        wrong = ids.copy()
        wrong.flat[-1:] = bad
        refused(f"an id of {bad}", subject.forward, {"ids": wrong, "w": w})
    refused("ids that are floats", subject.forward, {"ids": ids.astype(float), "w": w})


def repeated_ids_add(subject: Subject, rng: Rng) -> None:
    """The gradient of a row is the sum over its places; a row that was not looked up gets exactly 0."""
    w = subject.arguments["w"]
    y, cache = subject.forward({"ids": np.array([0, 0, 0]), "w": w})
    dy = upstream(y, rng)
    expected = np.zeros_like(w)
    expected[0] = dy[0] + dy[1] + dy[2]
    close("dw", subject.backward(dy, cache)["w"], expected, EXACT)


def small_ids_reach_far(subject: Subject, rng: Rng) -> None:
    """Ids of 16 bits, as files of tokens have them, find their rows however large the table is."""
    w, ids = np.zeros((300, 300)), np.array([0, 250, 299], np.uint16)
    y, cache = subject.forward({"ids": ids, "w": w})
    dy = upstream(y, rng)
    expected = np.zeros_like(w)
    expected[[0, 250, 299]] = dy
    close("dw", subject.backward(dy, cache)["w"], expected, EXACT)


def sums_are_not_lost_in_a_copy(subject: Subject, rng: Rng) -> None:
    """A table whose rows would be a copy, to add_rows, is refused."""
    table = np.zeros((4, 3), order="F")
    refused("a table in Fortran order", embedding.add_rows, table, np.array([1]), np.ones((1, 3)))


def many_tiles_of_ids(subject: Subject, rng: Rng) -> None:
    """More rows than a tile holds, each added to its own row of the table."""
    n = TILE // 2 ** 11 + 2
    ids, w = rng.integers(0, 5, n), np.zeros((5, 2 ** 11))
    y, cache = subject.forward({"ids": ids, "w": w})
    dy = upstream(y, rng)
    expected = np.stack([dy[ids == i].sum(axis=0) for i in range(5)])
    close("dw", subject.backward(dy, cache)["w"], expected, EXACT)


# ---- attention


def weights_sum_to_1(subject: Subject, rng: Rng) -> None:
    """The mean of equal values is that value."""
    y, _ = subject.forward(subject.arguments | {"v": np.ones_like(subject.arguments["v"])})
    close("y of v = 1", y, np.ones_like(y), EXACT)


def causal(subject: Subject, rng: Rng) -> None:
    """Query t sees no key after S - T + t: its gradient there is exactly 0, and the values there do not matter."""
    q, v = subject.arguments["q"], subject.arguments["v"]
    T, S = q.shape[2], v.shape[2]
    y, _ = subject.forward(subject.arguments)
    for t in range(T):
        _, cache = subject.forward(subject.arguments)
        dy = np.zeros_like(y)
        dy[:, :, t] = upstream(y[:, :, t], rng)
        gradients = subject.backward(dy, cache)
        for name in ("k", "v"):
            unseen = gradients[name][:, :, S - T + t + 1:]
            identical(f"d{name} after query {t}", unseen, np.zeros_like(unseen))
            if not np.abs(gradients[name][:, :, S - T + t]).max() > 0 and S - T + t > 0:
                raise CheckFailed(f"d{name} at query {t}'s own position: expected that it is seen, got 0")
        changed = v.copy()
        changed[:, :, S - T + t + 1:] += 1e6
        changed_y, _ = subject.forward(subject.arguments | {"v": changed})
        identical(f"y of query {t} with other values after it", changed_y[:, :, t], y[:, :, t])


def one_query_at_a_time(subject: Subject, rng: Rng) -> None:
    """Blocks of queries and groups of heads give what each query gives alone, over the keys that it sees."""
    causal = subject.arguments.get("causal", False)
    for B, H, T, S in ((2, 7, 150, 300), (5, 2, 130, 300), (1, 1, 257, 257), (1, 1, 2, 2)):
        q, k, v = (rng.standard_normal((B, H, n, 2)) for n in (T, S, S))
        y, cache = subject.forward({"q": q, "k": k, "v": v, "causal": causal})
        dy = upstream(y, rng)
        dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
        gradients = subject.backward(dy, cache)
        for t in range(T):
            seen = S - T + t + 1 if causal else S
            part = {"q": q[:, :, t:t + 1], "k": k[:, :, :seen], "v": v[:, :, :seen]}
            y_t, cache_t = subject.forward(part)
            d_t = subject.backward(dy[:, :, t:t + 1], cache_t)
            dq[:, :, t:t + 1] = d_t["q"]
            dk[:, :, :seen] += d_t["k"]
            dv[:, :, :seen] += d_t["v"]
            close(f"y of query {t} of {T}", y[:, :, t:t + 1], y_t, EXACT, floor=1.0)
        for name, alone in {"q": dq, "k": dk, "v": dv}.items():
            close(f"d{name} of {T} queries", gradients[name], alone, 1e-12)


def padding_is_not_seen(subject: Subject, rng: Rng) -> None:
    """Keys and values at padding do not matter, and their gradient is exactly 0; a query that sees none gives 0."""
    mask = subject.arguments["padding_mask"]
    y, cache = subject.forward(subject.arguments)
    gradients = subject.backward(upstream(y, rng), cache)
    hidden = np.broadcast_to(~mask[:, None, :, None], gradients["k"].shape)
    for name in ("k", "v"):
        identical(f"d{name} at padding", gradients[name][hidden], np.zeros(hidden.sum()))
    changed = {name: np.where(hidden, 1e3, subject.arguments[name]) for name in ("k", "v")}
    identical("y with other padding", subject.forward(subject.arguments | changed)[0], y)
    nothing = subject.arguments | {"padding_mask": np.zeros_like(mask)}
    y, cache = subject.forward(nothing)
    identical("y of queries that see nothing", y, np.zeros_like(y))
    for name, gradient in subject.backward(upstream(y, rng), cache).items():
        identical(f"d{name} of queries that see nothing", gradient, np.zeros_like(gradient))
    everything, _ = subject.forward(subject.arguments | {"padding_mask": np.ones_like(mask)})
    without, _ = subject.forward(subject.arguments | {"padding_mask": None})
    identical("y with a mask of no padding", everything, without)


def padding_of_each_query(subject: Subject, rng: Rng) -> None:
    """Groups of sequences and blocks of queries give what each query of each sequence gives alone, with its mask."""
    B, T, S, causal = 5, 130, 300, subject.arguments.get("causal", False)
    q, k, v = (rng.standard_normal((B, 2, n, 2)) for n in (T, S, S))
    mask = rng.random((B, S)) < 0.5
    y, _ = subject.forward({"q": q, "k": k, "v": v, "causal": causal, "padding_mask": mask})
    for b in range(B):
        for t in (0, 1, 127, 128, 129):
            s = slice(0, S - T + t + 1 if causal else S)
            one = {"q": q[b:b + 1, :, t:t + 1], "k": k[b:b + 1, :, s], "v": v[b:b + 1, :, s],
                   "padding_mask": mask[b:b + 1, s]}
            close(f"y of query {t} of sequence {b}", y[b:b + 1, :, t:t + 1], subject.forward(one)[0], EXACT, floor=1.0)


def nothing_kept_nothing_drawn(subject: Subject, rng: Rng) -> None:
    """Without an rng nothing is dropped, and at rate 0 nothing is drawn."""
    y, _ = subject.forward(subject.arguments)
    identical("y with a rate but no rng", subject.forward(subject.arguments | {"dropout": 0.5, "rng": None})[0], y)
    generator = np.random.default_rng(1)
    identical("y at rate 0", subject.forward(subject.arguments | {"dropout": 0.0, "rng": generator})[0], y)
    identical("the next number of the rng", generator.random(), np.random.default_rng(1).random())


def attention_refuses(subject: Subject, rng: Rng) -> None:
    """Shapes that the product would broadcast, masks of other kinds, fewer keys than causal queries."""
    q, k, v = (subject.arguments[name] for name in "qkv")
    B, H, T, D = q.shape
    S = k.shape[2]
    wide = np.concatenate([k, k], axis=0)
    for name, changed in {
        "k of another batch": {"k": wide}, "v of another batch": {"v": wide},
        "v of another length": {"v": v[:, :, :0]},
        "more causal queries than keys": {"q": np.concatenate([q] * (S + 1), axis=2), "causal": True},
        "a padding mask of the queries' shape": {"padding_mask": np.ones((B, S + 1), bool)},
        "a padding mask of numbers": {"padding_mask": np.ones((B, S))},
        "a padding mask that is a list": {"padding_mask": [[True] * S] * B},
        "no keys": {"k": k[:, :, :0], "v": v[:, :, :0]},
        "no columns": {"q": q[..., :0], "k": k[..., :0], "v": v[..., :0]},
        "no heads": {"q": q[:, :0], "k": k[:, :0], "v": v[:, :0]},
        "a dropout rate of 1": {"dropout": 1.0},
        "a dropout rate below 0": {"dropout": -0.1},
    }.items():
        refused(name, subject.forward, {"q": q, "k": k, "v": v} | changed)


# ---- dropout


def drops_and_scales(subject: Subject, rng: Rng) -> None:
    """Each element is 0 or x / (1 - rate), about `rate` of them 0; without an rng x comes back as it is."""
    x = np.ones((100, 100))
    for rate in (0.1, 0.5):
        y, _ = dropout.dropout_forward(x, rate, np.random.default_rng(1))
        kept = y != 0
        close("what is kept", y[kept], np.full(kept.sum(), 1 / (1 - rate)), EXACT)
        if not abs((1 - kept.mean()) - rate) < 0.02:
            raise CheckFailed(f"dropped: expected about {rate}, got {1 - kept.mean()}")
    for rate, generator in ((0.5, None), (0.0, np.random.default_rng(1))):
        y, cache = dropout.dropout_forward(x, rate, generator)
        if y is not x or dropout.dropout_backward(y, cache) is not y:
            raise CheckFailed("without dropout: expected x itself, and dy itself")
    for rate in (1.0, -0.1, math.nan):
        refused(f"a dropout rate of {rate}", dropout.dropout_forward, x, rate, rng)


# ---- cross-entropy


def only_the_target_gains(subject: Subject, rng: Rng) -> None:
    """A step against the gradient raises the target's logit and lowers all others."""
    loss, cache = subject.forward(subject.arguments)
    dlogits = subject.backward(np.float64(1.0), cache)["logits"]
    targets = subject.arguments["targets"]
    for n in np.ndindex(targets.shape):
        others = [d for v, d in enumerate(dlogits[n]) if v != targets[n]]
        if min(others, default=0) < 0 or (targets[n] >= 0 and dlogits[n][targets[n]] > 0):
            raise CheckFailed(f"dlogits{list(n)}: expected only the target {targets[n]} below 0, got {dlogits[n]}")


def uniform_logits_cost_log_v(subject: Subject, rng: Rng) -> None:
    """A model that knows nothing is surprised by ln V, whatever the target."""
    logits, targets = subject.arguments["logits"], subject.arguments["targets"]
    loss, _ = subject.forward(subject.arguments | {"logits": np.zeros_like(logits) + 3, "targets": np.abs(targets) * 0})
    close("loss of uniform logits", loss, math.log(logits.shape[-1]), EXACT, scale=10.0)


def a_common_offset_costs_no_digits(subject: Subject, rng: Rng) -> None:
    """The same number added to all logits, however large, changes neither the loss nor its gradient."""
    eighths = {name: np.round(8 * a) / 8 if a.dtype == float else a         # so that nothing is rounded at 2^20
               for name, a in subject.arguments.items() if isinstance(a, np.ndarray)}
    options = {name: a for name, a in subject.arguments.items() if name not in eighths}
    found = []
    for offset in (0, 2 ** 20):
        if "logits" in eighths:
            moved = {"logits": eighths["logits"] + offset}
        else:                                           # one more column of x is 1, and of wte the offset
            x, wte = eighths["x"], eighths["wte"]
            moved = {"x": np.concatenate([x, np.ones_like(x[..., :1])], axis=-1),
                     "wte": np.concatenate([wte, np.full_like(wte[:, :1], offset)], axis=-1)}
        loss, cache = subject.forward(eighths | moved | options)
        found.append((loss, next(iter(subject.backward(np.float64(1.0), cache).values()))))
    (loss, gradient), (shifted, shifted_gradient) = found
    close("loss of logits + 2^20", shifted, loss, EXACT, floor=1.0)
    close("gradient at logits + 2^20", shifted_gradient[..., :-1], gradient[..., :-1], EXACT, floor=1.0)


def ignored_targets_do_not_count(subject: Subject, rng: Rng) -> None:
    """The mean is over the targets that count; the others have gradient exactly 0; none at all costs 0."""
    loss, _ = subject.forward({"logits": np.array([[-np.inf, 1], [0, 0]]), "targets": np.array([-100, 1])})
    close("loss beside an ignored row with a logit of -inf", loss, math.log(2), EXACT)
    refused("a dloss for each row", subject.backward, np.ones(2), subject.forward(subject.arguments)[1])
    loss, _ = subject.forward({"logits": np.ones((2, 1)), "targets": np.array([-100, 0])})
    identical("loss over a vocabulary of one", loss, 0.0)
    logits = rng.standard_normal((4, 5))
    for smoothing in (0.0, 0.2):
        options = {"label_smoothing": smoothing}
        loss, cache = subject.forward({"logits": logits, "targets": np.array([1, -100, 3, -100])} | options)
        two, _ = subject.forward({"logits": logits[::2], "targets": np.array([1, 3])} | options)
        close("loss with ignored targets", loss, two, EXACT)
        dlogits = subject.backward(np.float64(1.0), cache)["logits"]
        identical("dlogits of ignored targets", dlogits[1::2], np.zeros((2, 5)))
        loss, cache = subject.forward({"logits": logits, "targets": np.full(4, -100)} | options)
        identical("loss of no targets", loss, 0.0)
        identical("dlogits of no targets", subject.backward(np.float64(1.0), cache)["logits"], np.zeros((4, 5)))


def targets_refused(subject: Subject, rng: Rng) -> None:
    """Targets of another shape, outside the vocabulary, or no integers; label smoothing outside 0 to 1."""
    targets = subject.arguments["targets"]
    V = next(a for name, a in subject.arguments.items() if name in ("logits", "wte")).shape[
        -1 if "logits" in subject.arguments else 0]
    for name, changed in {
        "targets of another shape": {"targets": targets[..., None]},
        "a target of V": {"targets": np.full_like(targets, V)},
        "a target of -1": {"targets": np.full_like(targets, -1)},
        "targets that are floats": {"targets": targets.astype(float)},
        "label smoothing below 0": {"label_smoothing": -0.1},
        "label smoothing above 1": {"label_smoothing": 1.1},
    }.items():
        refused(name, subject.forward, subject.arguments | changed)


def many_tiles_of_targets(subject: Subject, rng: Rng) -> None:
    """More rows than a tile holds: the loss is the mean over all, each with its own target."""
    V, n = 2 ** 11, TILE // 2 ** 11 + 2
    logits, targets = rng.standard_normal((n, V)), rng.integers(0, V, n)
    loss, cache = subject.forward({"logits": logits, "targets": targets})
    parts = [subject.forward({"logits": logits[i:i + 1], "targets": targets[i:i + 1]}) for i in range(n)]
    close("loss of many tiles", loss, np.mean([p[0] for p in parts]), EXACT)
    dlogits = subject.backward(np.float64(1.0), cache)["logits"]
    for i in (0, n - 3, n - 1):
        close(f"dlogits of row {i} of {n}", dlogits[i:i + 1] * n,
              subject.backward(np.float64(1.0), parts[i][1])["logits"], EXACT)


def head_and_loss_are_two_layers(subject: Subject, rng: Rng) -> None:
    """The pair equals the head followed by the cross-entropy, loss and gradients, over one tile and over many."""
    small = [subject.arguments[name] for name in ("x", "wte", "targets")]
    V = 2 ** 11
    n = TILE // V + 2
    large = [rng.standard_normal((n, 3)), rng.standard_normal((V, 3)), rng.integers(0, V, n)]
    options = {name: subject.arguments[name] for name in ("label_smoothing", "counted") if name in subject.arguments}
    for x, wte, targets in (small, large):
        b = rng.standard_normal(len(wte)) if "b" in subject.arguments else None
        loss, cache = lm_head.lm_head_loss_forward(x, wte, targets, b, **options)
        gradients = lm_head.lm_head_loss_backward(1.5, cache)
        logits, c_head = lm_head.lm_head_forward(x, wte, b)
        two_layers, c_loss = cross_entropy.cross_entropy_forward(logits, targets, **options)
        expected = lm_head.lm_head_backward(cross_entropy.cross_entropy_backward(1.5, c_loss), c_head)
        close("loss", loss, two_layers, EXACT, floor=1.0)
        for name, got, wanted in zip(("dx", "dwte", "db"), gradients, expected):
            close(name, got, wanted, EXACT, floor=1.0)


def parts_of_a_mean_add(subject: Subject, rng: Rng) -> None:
    """Losses and gradients of the parts of a batch, each told what the whole counts, are those of the whole."""
    first = "logits" if "logits" in subject.arguments else "x"
    targets, rows = subject.arguments["targets"], subject.arguments[first]
    counted = cross_entropy.count_targets(targets)
    loss, cache = subject.forward(subject.arguments | {"counted": None})
    whole = {name: a.copy() for name, a in subject.backward(np.float64(1.0), cache).items()}
    parts, losses = {name: np.zeros_like(a) for name, a in whole.items()}, np.zeros_like(loss)
    for b in range(len(targets)):
        part = {first: rows[b:b + 1], "targets": targets[b:b + 1], "counted": counted}
        loss_of_part, cache = subject.forward(subject.arguments | part)
        losses += loss_of_part
        for name, a in subject.backward(np.float64(1.0), cache).items():
            parts[name][slice(b, b + 1) if name == first else ...] += a     # rows of x are apart, weights are shared
    close("loss of the parts", losses, loss, EXACT, floor=1.0)
    for name, a in whole.items():
        close(f"d{name} of the parts", parts[name], a, EXACT, floor=1.0)


def head_has_its_loss(subject: ModuleSubject, rng: Rng) -> None:
    """LMHead.loss is forward and cross-entropy; what is frozen of table and bias gets nothing, the rest the same."""
    head, x = subject.module, subject.arguments["x"]
    targets = rng.integers(0, len(head.wte.value), x.shape[:-1])
    logits, c_logits = head.forward(x)
    expected, c_loss = cross_entropy.cross_entropy_forward(logits, targets, 0.2, 7)
    head.zero_grad()
    expected_dx = head.backward(cross_entropy.cross_entropy_backward(0.7, c_loss), c_logits)
    gradients = {path: p.grad for path, p in head.named_parameters()}
    for frozen in ((), ("wte",), ("b",), ("wte", "b")):
        head.zero_grad()
        for path, p in head.named_parameters():
            p.trainable = path not in frozen
        loss, cache = head.loss(x, targets, label_smoothing=0.2, counted=7)
        dx = head.loss_backward(0.7, cache)
        head.unfreeze()
        close("loss", loss, expected, EXACT, floor=1.0)
        close("dx", dx, expected_dx, EXACT, floor=1.0)
        for path, p in head.named_parameters():
            if path not in frozen:
                close(f"d{path} with {frozen} frozen", p.grad, gradients[path], EXACT, floor=1.0)
            elif p.grad is not None:
                raise CheckFailed(f"d{path}: expected None for a frozen parameter, got a gradient")


# ---- modules


def later_tokens_do_not_matter(subject: Subject, rng: Rng) -> None:
    """A change of x at position s leaves every output before s as it was, to the bit, and changes those from s on."""
    x = subject.arguments["x"]
    y, _ = subject.forward(subject.arguments)
    for s in range(x.shape[1]):
        changed = x.copy()
        changed[:, s] += rng.standard_normal(x[:, s].shape)
        changed_y, _ = subject.forward(subject.arguments | {"x": changed})
        identical(f"y before a change at {s}", changed_y[:, :s], y[:, :s])
        if x.shape[-1] > 1 and not np.abs(changed_y[:, s:] - y[:, s:]).max(axis=(0, 2)).min() > 0:
            raise CheckFailed(f"y from {s} on: expected that every later position sees the change, got no difference")


def every_token_matters(subject: Subject, rng: Rng) -> None:
    """Without a causal mask every position sees every other: a change anywhere changes all outputs."""
    x = subject.arguments["x"]
    y, _ = subject.forward(subject.arguments)
    for s in range(x.shape[1]):
        changed = x.copy()
        changed[:, s] += rng.standard_normal(x[:, s].shape)
        changed_y, _ = subject.forward(subject.arguments | {"x": changed})
        if x.shape[-1] > 2 and not np.abs(changed_y - y).max(axis=(0, 2)).min() > 0:
            raise CheckFailed(f"y: expected that every position sees a change at {s}, got no difference")


def padded_tokens_do_not_matter(subject: Subject, rng: Rng) -> None:
    """What stands at padding changes no other position: its keys are not seen."""
    mask, x = subject.arguments["padding_mask"], subject.arguments["x"]
    y, _ = subject.forward(subject.arguments)
    changed = np.where(mask[..., None], x, rng.standard_normal(x.shape))
    changed_y, _ = subject.forward(subject.arguments | {"x": changed})
    identical("y of real tokens with other padding", changed_y[mask], y[mask])


def padded_memory_does_not_matter(subject: Subject, rng: Rng) -> None:
    """What stands at the memory's padding changes nothing, and gets no gradient."""
    name = "memory_padding_mask" if "memory_padding_mask" in subject.arguments else "padding_mask"
    mask, memory = subject.arguments[name], subject.arguments["memory"]
    y, cache = subject.forward(subject.arguments)
    changed = np.where(mask[..., None], memory, rng.standard_normal(memory.shape))
    identical("y with other padding", subject.forward(subject.arguments | {"memory": changed})[0], y)
    dmemory = subject.backward(upstream(y, rng), cache)["memory"]
    identical("dmemory at padding", dmemory[~mask], np.zeros_like(dmemory[~mask]))


def zero_projections_are_the_identity(subject: Subject, rng: Rng) -> None:
    """With the last matrix of each sub-layer 0, a pre-norm block hands x through: nothing is in the residual's way."""
    silent = {path: np.zeros_like(a) for path, a in subject.arguments.items() if "c_proj" in path}
    y, cache = subject.forward(subject.arguments | silent)
    identical("y", y, subject.arguments["x"])
    dy = upstream(y, rng)
    identical("dx", subject.backward(dy, cache)["x"], dy)


def gradients_add(subject: ModuleSubject, rng: Rng) -> None:
    """A module that was used twice has the sum of both gradients; zero_grad forgets them."""
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    once = subject.backward(dy, cache)
    once = {name: a.copy() for name, a in once.items()}
    _, cache = subject.forward(subject.arguments)
    refused("a second backward with a wrong dy", subject.module.backward, dy[..., :1, None], cache)
    for path, parameter in subject.parameters.items():
        close(f"d{path} after a refused backward", parameter.grad, once[path], EXACT)
    _, cache = subject.forward(subject.arguments)
    subject.module.backward(dy, cache)                  # without zero_grad before
    for path, parameter in subject.parameters.items():
        close(f"d{path} after two backwards", parameter.grad, 2 * once[path], EXACT)


def frozen_parameters_get_nothing(subject: ModuleSubject, rng: Rng) -> None:
    """A frozen parameter has no gradient, those of all others are what they were, and no product is made for it."""
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    free = subject.backward(dy, cache)
    for frozen in subject.parameters:
        parameter = subject.parameters[frozen]
        parameter.trainable = False
        if parameter.value.ndim == 2:
            vars(parameter)["accumulate"] = _unwanted   # nobody should even offer a gradient that took a product
        try:
            _, cache = subject.forward(subject.arguments)
            gradients = subject.backward(dy, cache)
        finally:
            parameter.trainable = True
            vars(parameter).pop("accumulate", None)
        if frozen in gradients:
            raise CheckFailed(f"d{frozen}: expected None for a frozen parameter, got a gradient")
        for name in free:
            if name != frozen:
                close(f"d{name} with {frozen} frozen", gradients[name], free[name], EXACT)


def frozen_as_a_whole(subject: ModuleSubject, rng: Rng) -> None:
    """freeze is for all parameters below, and unfreeze undoes it."""
    for act, trainable in ((subject.module.freeze, False), (subject.module.unfreeze, True)):
        act()
        for path, parameter in subject.parameters.items():
            if parameter.trainable is not trainable:
                raise CheckFailed(f"{path} after {act.__name__}: expected trainable = {trainable}")


def _unwanted(gradient: Array) -> None:
    raise CheckFailed(f"a frozen matrix: expected that no gradient is made for it, got one of shape {gradient.shape}")


def a_replica_has_its_own_gradients(subject: ModuleSubject, rng: Rng) -> None:
    """A replica shares every value, computes the same, and leaves the original's gradients alone."""
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    before = {name: a.copy() for name, a in subject.backward(dy, cache).items()}
    replica = subject.module.replica()
    copies = dict(replica.named_parameters())
    for path, parameter in subject.parameters.items():
        if copies[path].value is not parameter.value or copies[path].grad is not None:
            raise CheckFailed(f"{path} of a replica: expected the same value, and no gradient yet")
    y_of_replica, cache = replica.forward(**with_generators(subject.inputs))
    identical("y of a replica", y_of_replica, y)
    replica.backward(dy, cache)
    for path, parameter in subject.parameters.items():
        identical(f"d{path} after the replica's backward", parameter.grad, before[path])
        close(f"d{path} of the replica", copies[path].grad, before[path], EXACT)


def a_shared_parameter_counts_once(subject: ModuleSubject, rng: Rng) -> None:
    """A parameter under two names is one parameter, under the first; one more, in a tuple, is one more."""
    paths = [path for path, _ in subject.module.named_parameters()]
    subject.module.more = (Parameter(np.zeros(1)), next(p for _, p in subject.module.named_parameters()))
    try:
        found = [path for path, _ in subject.module.named_parameters()]
        if found != [*paths, "more.0"]:
            raise CheckFailed(f"named_parameters: expected {[*paths, 'more.0']}, got {found}")
    finally:
        del subject.module.more


def heads_divide_the_width(subject: ModuleSubject, rng: Rng) -> None:
    """A width that the heads do not divide is refused, and so are 0 heads; one head is fine."""
    module, options = type(subject.module), {"causal": True} if hasattr(subject.module, "causal") else {}
    for n_embd, n_head in ((5, 3), (6, 0), (6, -3), (3, 6)):
        refused(f"{n_head} heads in a width of {n_embd}", module, n_embd, n_head, rng, **options)
    module(3, 1, rng, **options)
    refused("splitting a width of 5 into 3", split_heads, np.zeros((1, 1, 5)), 3)


# ---- GPT-2


def a_past_is_the_full_forward(subject: ModuleSubject, rng: Rng) -> None:
    """With the first tokens in a KVCache, the rest gives what it gives in one forward; bit for bit if none is there."""
    x = subject.arguments["x"]
    B, T, C = x.shape
    H = getattr(subject.module, "attn", subject.module).n_head
    y, _ = subject.forward(subject.arguments)
    for first in range(T):
        past = KVCache(B, H, T, C // H, x)
        parts = [subject.module.forward(x[:, :first], keep_cache=False, past=past)[0]] if first else []
        for t in range(first, T):
            parts.append(subject.module.forward(x[:, t:t + 1], keep_cache=False, past=past)[0])
        close(f"y after {first} tokens at once", np.concatenate(parts, axis=1), y, EXACT)
        refused("one token too many", subject.module.forward, x[:, :1], keep_cache=False, past=past)
    for last in range(T + 1):
        wanted, _ = subject.module.forward(x, keep_cache=False, last=last)
        close(f"y of the last {last} alone", wanted, y[:, T - last:], EXACT)
    past = KVCache(B, H, T, C // H, x)
    refused("a past with a cache for backward", subject.module.forward, x, past=past)
    refused("some positions, with a cache for backward", subject.module.forward, x, last=1)
    identical("the length of a past that was refused", past.length, 0)


def a_kv_cache_keeps_what_it_is_given(subject: Subject, rng: Rng) -> None:
    """What is appended comes back, what is forgotten does not, rows are chosen, and what does not fit is refused."""
    k, v = rng.standard_normal((2, 3, 2, 5, 4))
    cache = KVCache(3, 2, 5, 4, k)
    for first, last in ((0, 2), (2, 3), (3, 5)):
        k_s, v_s = cache.append(k[:, :, first:last], v[:, :, first:last])
        identical("k", k_s, k[:, :, :last])
        identical("v", v_s, v[:, :, :last])
    refused("one position too many", cache.append, k[:, :, :1], v[:, :, :1])
    chosen = cache.select([2, 0, 0, 1])
    refused("one position too many for a selection", chosen.append, k[[2, 0, 0, 1], :, :1], v[[2, 0, 0, 1], :, :1])
    cache.forget(0)
    identical("k of a selection", chosen.k, k[[2, 0, 0, 1]])
    identical("v of a selection", chosen.v, v[[2, 0, 0, 1]])
    chosen.forget(5)
    chosen.forget(1)
    k_s, v_s = chosen.append(k[[1, 1, 1, 1], :, 3:], v[[2, 2, 2, 2], :, 3:])
    identical("k after what was left", k_s[1], np.concatenate([k[0, :, :1], k[1, :, 3:]], axis=1))
    identical("v after what was left", v_s[1], np.concatenate([v[0, :, :1], v[2, :, 3:]], axis=1))
    for length in (-1, 4):
        refused(f"forget all but {length} of 3", chosen.forget, length)
    for rows in ([-1], [3], [True, True, True]):
        refused(f"a selection of {rows}", cache.select, rows)
    identical("the sequences of an empty selection", cache.select([]).k.shape[0], 0)
    refused("keys of fewer sequences", cache.append, k[:1], v)
    refused("values of fewer sequences", cache.append, k, v[:1])


def next_logits_are_the_full_forward(subject: ModuleSubject, rng: Rng) -> None:
    """Whatever part of the tokens is in the past: the last logits are those of one forward, padded or not."""
    model, tokens = subject.module, subject.arguments["tokens"]
    (B, T), n_ctx = tokens.shape, subject.module.config.n_ctx
    logits, _ = subject.forward(subject.arguments)
    for first in range(1, T):
        past = model.new_past(B, T)
        close(f"logits of the first {first}", model.next_logits(tokens[:, :first], past, last=first),
              logits[:, :first], 1e-12)
        for t in range(first, T):
            close(f"logits at {t}", model.next_logits(tokens[:, t:t + 1], past), logits[:, t:t + 1], 1e-12)
        refused("tokens beyond the past's room", model.next_logits, tokens[:, :1], past)
    close("the last logits alone", model.next_logits(tokens, model.new_past(B, T)), logits[:, -1:], 1e-12)
    close("no logits", model.next_logits(tokens, model.new_past(B, T), last=0), logits[:, :0], 1e-12)
    pads = np.minimum(np.arange(B) % 3, T - 1)          # columns of padding on the left of each row
    wide = np.stack([np.concatenate([np.zeros(p, int), row[:T - p]]) for p, row in zip(pads, tokens)])
    mask = np.arange(T) >= pads[:, None]
    past = model.new_past(B, n_ctx)
    parts = [model.next_logits(wide[:, :2], past, mask[:, :2], last=min(2, T))]
    parts += [model.next_logits(wide[:, t:t + 1], past, mask[:, :t + 1]) for t in range(2, T)]
    padded = np.concatenate(parts, axis=1)
    for b, p in enumerate(pads):
        close(f"logits of row {b}, with {p} of padding", padded[b, p:], logits[b, :T - p], 1e-12)
    past = model.new_past(B, n_ctx)
    bad_input: dict[str, Arguments] = {
        "a padding mask of the wrong length": {"padding_mask": np.ones((B, 2), bool)},
        "a padding mask of numbers": {"padding_mask": np.ones((B, 1))},
        "a padding mask that is a list": {"padding_mask": [[True]] * B},
        "more positions than tokens": {"last": 2}, "fewer positions than none": {"last": -1},
        "a past of fewer blocks": {"past": past[:-1]}, "a past of more blocks": {"past": past * 2},
    }
    for name, wrong in bad_input.items():
        refused(name, model.next_logits, **({"tokens": tokens[:, :1], "past": past} | wrong))
        identical(f"the length of the past after {name}", [layer.length for layer in past], [0] * len(past))
    one_head = type(model)(dataclasses.replace(model.config, n_head=1)).new_past(5, 1)
    if [layer.k.shape for layer in one_head] != [(5, 1, 1, model.config.n_embd)] * model.config.n_layer:
        raise CheckFailed(f"past of 5 sequences, one head, one position: got {[layer.k.shape for layer in one_head]}")
    for n in (0, n_ctx + 1):
        refused(f"a past of {n}", model.new_past, B, n)


def tokens_refused(subject: ModuleSubject, rng: Rng) -> None:
    """Tokens outside the vocabulary, no integers, none at all, too many, or without a batch axis."""
    tokens, n_ctx = subject.arguments["tokens"], subject.module.config.n_ctx
    long = np.zeros((1, n_ctx + 1), int)
    subject.forward(subject.arguments | {"tokens": long[:, :-1]})
    subject.forward(subject.arguments | {"tokens": long[:, :1]})
    for name, wrong in {
        "a token of -1": np.full_like(tokens, -1), "a token of V": tokens * 0 + subject.module.config.n_vocab,
        "tokens that are floats": tokens.astype(float), "T = 0": tokens[:, :0], "T > n_ctx": long,
        "tokens without a batch": tokens[0],
    }.items():
        refused(name, subject.forward, subject.arguments | {"tokens": wrong})
        refused(f"{name}, with a loss", subject.module.loss_and_gradients, wrong, wrong)
    refused("rows of different lengths", subject.forward, subject.arguments | {"tokens": [[1, 2], [3]]})
    refused("targets of another length for the loss alone", subject.module.loss, tokens, tokens[:, :-1])
    refused("targets of another length", subject.module.loss_and_gradients, tokens, tokens[:, :-1])
    refused("targets of another batch", subject.module.loss_and_gradients, tokens, np.concatenate([tokens, tokens]))


def later_words_do_not_matter(subject: ModuleSubject, rng: Rng) -> None:
    """A change of the token at s leaves all logits before s as they were, to the bit."""
    tokens = subject.arguments["tokens"]
    logits, _ = subject.forward(subject.arguments)
    for s in range(tokens.shape[1]):
        changed = tokens.copy()
        changed[:, s] = (changed[:, s] + 1) % subject.module.config.n_vocab
        changed_logits, _ = subject.forward(subject.arguments | {"tokens": changed})
        identical(f"logits before a change at {s}", changed_logits[:, :s], logits[:, :s])


def unused_positions_have_no_gradient(subject: Subject, rng: Rng) -> None:
    """The positions past T were not looked up: their gradient is exactly 0."""
    logits, cache = subject.forward(subject.arguments)
    dwpe = subject.backward(upstream(logits, rng), cache)["wpe"]
    T = subject.arguments["tokens"].shape[1]
    identical("dwpe past T", dwpe[T:], np.zeros_like(dwpe[T:]))


def loss_is_head_and_cross_entropy(subject: ModuleSubject, rng: Rng) -> None:
    """loss_and_gradients gives the loss and the gradients of the three steps: forward, cross-entropy, backward.

    loss gives the loss alone, without dropout.
    """
    tokens = subject.arguments["tokens"]
    targets = rng.integers(0, subject.module.config.n_vocab, tokens.shape)
    targets[0, 0] = -100
    logits, _ = subject.module.forward(tokens)
    without_dropout, _ = cross_entropy.cross_entropy_forward(logits, targets)
    close("the loss alone", subject.module.loss(tokens, targets), without_dropout, EXACT)
    logits, cache = subject.forward(subject.arguments)
    loss, c_loss = cross_entropy.cross_entropy_forward(logits, targets)
    expected = subject.backward(cross_entropy.cross_entropy_backward(1.0, c_loss), cache)
    for frozen in ("", "wte"):
        generator = np.random.default_rng(subject.arguments["rng"]) if "rng" in subject.arguments else None
        subject.module.zero_grad()
        for path, parameter in subject.parameters.items():
            parameter.trainable = path != frozen
        if frozen:
            vars(subject.parameters[frozen])["accumulate"] = _unwanted
        close("loss", subject.module.loss_and_gradients(tokens, targets, rng=generator), loss, EXACT)
        subject.module.unfreeze()
        vars(subject.parameters["wte"]).pop("accumulate", None)
        for path, parameter in subject.parameters.items():
            if path != frozen:
                close(f"d{path} of the loss", parameter.grad, expected[path], EXACT, floor=1.0)


def a_cache_serves_once(subject: ModuleSubject, rng: Rng) -> None:
    """backward frees the caches of the blocks on its way: a second time, or without a cache, it is refused."""
    logits, cache = subject.forward(subject.arguments)
    dlogits = upstream(logits, rng)
    once = {path: a.copy() for path, a in subject.backward(dlogits, cache).items()}
    refused("a cache that has been used", subject.module.backward, dlogits, cache)
    _, cache = subject.forward(subject.arguments | {"keep_cache": False})
    refused("the cache of inference", subject.module.backward, dlogits, cache)
    if subject.module.hidden(subject.arguments["tokens"], keep_cache=False)[1] is not None:
        raise CheckFailed("the cache of hidden for inference: expected None")
    for path, parameter in subject.parameters.items():
        identical(f"d{path} after two that were refused", parameter.grad, once[path])


def recomputed_is_stored(subject: ModuleSubject, rng: Rng) -> None:
    """With recompute, of each block only its input is kept; logits and gradients are the same, to the bit."""
    tokens, GPT2 = subject.arguments["tokens"], type(subject.module)
    for rate in (0.0, 0.5):
        gradients = []
        for recompute in (False, True):
            model = GPT2(subject.module.config, np.random.default_rng(0), rate, np.float64, recompute)
            logits, cache = model.forward(tokens, np.random.default_rng(1))
            kept = sum(a.size for a in arrays_of(cache[0][1]))
            if recompute and kept != len(model.h) * tokens.size * model.config.n_embd:
                raise CheckFailed(f"caches of the blocks: expected the input of each, got {kept} numbers")
            model.backward(np.sin(logits), cache)
            gradients.append({path: p.grad for path, p in model.named_parameters()})
        for path in gradients[0]:
            identical(f"d{path} with dropout {rate}", gradients[1][path], gradients[0][path])
