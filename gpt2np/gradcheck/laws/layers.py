"""Laws of the layers: of the pairs, and of the classes that own their parameters."""

import math

import numpy as np

from ...hints import Rng
from ...layers import activations, attention, cross_entropy, dropout, embedding, layernorm, linear, lm_head
from ...layers.tiles import TILE, sum_rows
from ..checks import (
    CheckFailed,
    ModuleSubject,
    PairSubject,
    Subject,
    arrays_of,
    calls_of,
    close,
    each_close,
    identical,
    refused,
    upstream,
)
from .common import EXACT

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


def small_probabilities_keep_their_digits(subject: Subject, rng: Rng) -> None:
    """Each element by itself, 10^-300 too, is what its formula gives."""
    x = np.array([[0.0, -1, -30, -300, -690]])
    total = math.fsum(math.exp(a) for a in x[0])
    y, _ = subject.forward({"x": x})
    each_close("y", y, [[math.exp(a) / total for a in x[0]]], EXACT)


# ---- layernorm


def normalised(subject: Subject, rng: Rng) -> None:
    """With g = 1 and b = 0 every row has mean 0 and variance var / (var + eps)."""
    x, g, b = (subject.arguments[name] for name in ("x", "g", "b"))
    y, _ = subject.forward(subject.arguments | {"g": np.ones_like(g), "b": np.zeros_like(b)})
    var = ((x - x.mean(axis=-1, keepdims=True)) ** 2).mean(axis=-1)
    close("mean of y", y.mean(axis=-1), np.zeros_like(var), EXACT, scale=1.0)
    close("variance of y", (y * y).mean(axis=-1), var / (var + subject.arguments.get("eps", 1e-5)), EXACT,
          scale=1.0)


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


def a_frozen_matrix_is_all_that_is_kept(subject: ModuleSubject, rng: Rng) -> None:
    """While the matrix is frozen the cache is that matrix: of x its shape is enough, whatever else is trained."""
    matrix, = (path for path, p in subject.parameters.items() if p.value.ndim == 2)
    with subject.frozen({matrix}):
        _, cache = subject.forward(subject.arguments)
    kept = list(arrays_of(cache))
    if len(kept) != 1 or kept[0] is not subject.arguments[matrix]:
        raise CheckFailed(f"cache with {matrix} frozen: expected {matrix} alone, got {[a.shape for a in kept]}")


def nothing_frozen_is_summed(subject: ModuleSubject, rng: Rng) -> None:
    """Frozen as a whole, a module makes no sum over rows: the backward of each layer is the half that gives dx."""
    with subject.frozen(subject.parameters):
        y, cache = subject.forward(subject.arguments)
        with calls_of(sum_rows, embedding.add_rows, linear.linear_backward, layernorm.layernorm_backward,
                      lm_head.lm_head_backward) as calls:
            subject.backward(upstream(y, rng), cache)
    if calls:
        raise CheckFailed(f"a frozen module: expected no sum over rows, got a call of {calls[0].name}")


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


def tail_keeps_its_digits(subject: PairSubject, rng: Rng) -> None:
    """Far to the left gelu and its slope are nearly 0, 10^-30 and less: each has all its digits."""
    erf = subject.inference is activations.gelu_erf
    for dtype, limit in ((np.float64, 1e-12), (np.float32, 1e-4)):
        x = np.array([[-1, -1.5, -2, -3, -4, -5, -6, -7, -8.5]], dtype)
        y, cache = subject.forward({"x": x})
        expected = [(_gelu_erf if erf else _gelu_tanh)(float(a)) for a in x[0]]
        each_close("gelu", y, [[value for value, _ in expected]], limit)
        slope = subject.backward(np.ones_like(x), cache)["x"]
        each_close("slope", slope, [[slope for _, slope in expected]], limit)


def _gelu_tanh(x: float) -> tuple[float, float]:
    """gelu and its slope, for x < 0: s = 1 / (1 + exp(-u)) = exp(u) / (1 + exp(u))."""
    a = 2 * math.sqrt(2 / math.pi)
    u, du = a * (x + 0.044715 * x ** 3), a * (1 + 3 * 0.044715 * x * x)
    s = math.exp(u) / (1 + math.exp(u))
    return x * s, s * (1 + x * du / (1 + math.exp(u)))


def _gelu_erf(x: float) -> tuple[float, float]:
    """gelu and its slope: Phi = erfc(-x / sqrt(2)) / 2, and phi its density."""
    Phi, phi = math.erfc(-x / math.sqrt(2)) / 2, math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return x * Phi, Phi + x * phi


def without_a_cache(subject: PairSubject, rng: Rng) -> None:
    """The form for inference gives the same, also far out and over many tiles, and leaves x as it is."""
    if subject.inference is None:
        raise CheckFailed("inference: expected the pair's form without a cache, got None")
    x = subject.arguments["x"].copy()
    many = rng.standard_normal((TILE // x.shape[-1] + 2, x.shape[-1]))
    many[-1] = 1e4 * np.sign(many[-1])
    for values in (x, many):
        y, _ = subject.forward({"x": values})
        for layout in (np.array, np.asfortranarray):
            close("y for inference", subject.inference(layout(values)), y, EXACT)
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


def many_repeated_ids_add(subject: Subject, rng: Rng) -> None:
    """Thousands of places of three ids, in rows of more than 64: each is added once, to what is there already too."""
    ids, table = rng.integers(0, 3, 5003), embedding.Embedding(3, 70, None, dtype=np.float64)
    y, cache = subject.forward({"ids": ids, "w": table.value})
    dy = upstream(y, rng)
    expected = np.stack([dy[ids == i].sum(axis=0) for i in range(3)])
    close("dw", subject.backward(dy, cache)["w"], expected, 1e-12)
    for times in (1, 2, 3):
        _, cache = table.forward(ids)
        table.backward(dy, cache)
        close(f"dw of {times} backwards", table.grad, times * expected, 1e-12)


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


def weights_are_those_of_the_forward(subject: Subject, rng: Rng) -> None:
    """attention_weights gives p: y = p v, each row sums to 1, and 0 stands where a query may not look."""
    options = {name: a for name, a in subject.arguments.items() if name not in ("q", "k", "v", "padding_mask")}
    large = {name: rng.standard_normal((2, 3, n, 2)) for name, n in (("q", 130), ("k", 260), ("v", 260))}
    for arguments in (subject.arguments, large | options):
        y, cache = subject.forward(arguments)
        p = attention.attention_weights(cache)
        close("p v", p @ arguments["v"], y, EXACT, floor=1.0)
        close("row sums of p", p.sum(axis=-1), np.ones(p.shape[:-1]), EXACT)
        (T, S), causal = p.shape[2:], arguments.get("causal", False)
        unseen = p[..., np.triu(np.ones((T, S), bool), S - T + 1)] if causal else p[..., :0, 0]
        identical("p after each query", unseen, np.zeros_like(unseen))


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


def a_constant_of_all_scores_changes_nothing(subject: Subject, rng: Rng) -> None:
    """The same number added to all scores, -10^5 or 10^5, changes nothing: one more column of q and k adds it."""
    D = subject.arguments["q"].shape[-1]
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    gradients = subject.backward(dy, cache)
    longer = math.sqrt((D + 1) / D)                     # the scores are divided by the root of the width
    for c in (-1e5, 1e5):
        columns = {"q": c * math.sqrt(D + 1), "k": 1.0, "v": 0.0}
        wide = {name: np.concatenate([a, np.full_like(a[..., :1], columns[name])], axis=-1)
                for name, a in (("q", subject.arguments["q"] * longer), ("k", subject.arguments["k"]),
                                ("v", subject.arguments["v"]))}
        y_wide, cache = subject.forward(subject.arguments | wide)
        close(f"y of scores {c:+.0e}", y_wide[..., :D], y, 1e-9, floor=1.0)
        wide_gradients = subject.backward(np.concatenate([dy, np.zeros_like(dy[..., :1])], axis=-1), cache)
        for name, gradient in gradients.items():
            got = wide_gradients[name][..., :D] * (longer if name == "q" else 1.0)
            close(f"d{name} of scores {c:+.0e}", got, gradient, 1e-9, floor=1.0)


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
    first = next(name for name in ("logits", "x", "y") if name in subject.arguments)
    targets, rows = subject.arguments["targets"], subject.arguments[first]
    counted = targets.size if first == "y" else cross_entropy.count_targets(targets)
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
    for n in (0, 1, 2):                                 # where none counts the sum is 0, and stays so
        divided, _ = subject.forward(subject.arguments | {"counted": n})
        close(f"loss where {n} count", divided * max(n, 1), loss * max(counted, 1), EXACT, floor=1.0)


def head_has_its_loss(subject: ModuleSubject, rng: Rng) -> None:
    """LMHead.loss is forward and cross-entropy; what is frozen of table and bias gets nothing, the rest the same."""
    head, x = subject.module, subject.arguments["x"]
    targets = rng.integers(0, len(head.wte.value), x.shape[:-1])
    logits, c_logits = head.forward(x)
    expected, c_loss = cross_entropy.cross_entropy_forward(logits, targets, 0.2, 7)
    head.zero_grad()
    expected_dx = head.backward(cross_entropy.cross_entropy_backward(0.7, c_loss), c_logits)
    gradients = subject.gradients()
    for frozen in ((), ("wte",), ("b",), ("wte", "b")):
        head.zero_grad()
        with (subject.frozen(frozen),
              calls_of(lm_head.lm_head_loss_backward, lm_head.lm_head_loss_bias_backward) as calls):
            loss, cache = head.loss(x, targets, label_smoothing=0.2, counted=7)
            dx = head.loss_backward(0.7, cache)
            trained = subject.gradients()
        close("loss", loss, expected, EXACT, floor=1.0)
        close("dx", dx, expected_dx, EXACT, floor=1.0)
        for path, gradient in trained.items():
            close(f"d{path} with {frozen} frozen", gradient, gradients[path], EXACT, floor=1.0)
        least = {("wte",): ["lm_head_loss_bias_backward"], ("wte", "b"): []}.get(frozen, ["lm_head_loss_backward"])
        if [call.name for call in calls] != least:
            raise CheckFailed(f"with {frozen} frozen: expected no more than {least}, got {calls}")


# ---- binary cross-entropy, mean squared error


def what_is_true_gains(subject: Subject, rng: Rng) -> None:
    """A step against the gradient raises the logit of what is true, and lowers that of what is not."""
    _, cache = subject.forward(subject.arguments)
    dlogits, targets = subject.backward(np.float64(1.0), cache)["logits"], subject.arguments["targets"]
    for t, wrong in ((1, dlogits >= 0), (0, dlogits <= 0), (-100, dlogits != 0)):
        if (wrong & (targets == t)).any():
            raise CheckFailed(f"dlogits of targets that are {t}: got {dlogits[targets == t]}")


def between_is_a_mixture(subject: Subject, rng: Rng) -> None:
    """A target of 1/4 costs a quarter of what 1 costs, and three quarters of what 0 costs; so does its gradient."""
    z, found = rng.standard_normal(5) * 3, []
    for t in (0.25, 1.0, 0.0):
        loss, cache = subject.forward({"logits": z, "targets": np.full(5, t)})
        found.append((loss, subject.backward(np.float64(1.0), cache)["logits"]))
    for name, (quarter, one, none) in zip(("loss", "dlogits"), zip(*found)):
        close(f"{name} at 1/4", quarter, 0.25 * one + 0.75 * none, EXACT)


def a_coin_costs_log_2(subject: Subject, rng: Rng) -> None:
    """Who knows nothing says 1/2, and is surprised by ln 2, whatever is true."""
    loss, cache = subject.forward(subject.arguments | {"logits": np.zeros_like(subject.arguments["logits"])})
    counts = subject.arguments["targets"] != -100
    close("loss of logits of 0", loss, math.log(2) * counts.any(), EXACT, floor=1.0)
    slope = np.where(counts, 0.5 - subject.arguments["targets"], 0) / max(1, counts.sum())
    close("dlogits at 0", subject.backward(np.float64(1.0), cache)["logits"], slope, EXACT, floor=1.0)


def two_logits_are_one(subject: Subject, rng: Rng) -> None:
    """It is the cross-entropy of two classes with the logits 0 and z, where each label is true or not."""
    z, truths = rng.standard_normal(9) * 5, rng.integers(0, 2, 9)
    loss, cache = subject.forward({"logits": z, "targets": truths})
    two, c_two = cross_entropy.cross_entropy_forward(np.stack([0 * z, z], axis=1), truths)
    close("loss", loss, two, EXACT)
    close("dlogits", subject.backward(np.float64(1.0), cache)["logits"],
          cross_entropy.cross_entropy_backward(1.0, c_two)[:, 1], EXACT)


def truths_that_do_not_count(subject: Subject, rng: Rng) -> None:
    """The mean is over the targets that count; the others have gradient exactly 0; none at all costs 0."""
    z, targets = rng.standard_normal((2, 3)), np.array([[1, -100, 0.5], [-100, -100, 0]])
    loss, cache = subject.forward({"logits": z, "targets": targets})
    counts = targets != -100
    three, _ = subject.forward({"logits": z[counts], "targets": targets[counts]})
    close("loss with ignored targets", loss, three, EXACT)
    identical("dlogits of ignored targets", subject.backward(np.float64(1.0), cache)["logits"][~counts], np.zeros(3))
    loss, cache = subject.forward({"logits": z, "targets": np.full((2, 3), -100)})
    identical("loss of no targets", loss, 0.0)
    identical("dlogits of no targets", subject.backward(np.float64(1.0), cache)["logits"], np.zeros((2, 3)))
    loss, _ = subject.forward({"logits": np.array([np.inf, -np.inf, 0]), "targets": np.array([-100, -100, 1])})
    close("loss beside ignored logits of inf", loss, math.log(2), EXACT)


def far_logits_keep_their_digits(subject: Subject, rng: Rng) -> None:
    """Where the answer is all but certain, loss and gradient are small, and right in all their digits."""
    for z in (-40.0, -1.0, 0.0, 1.0, 40.0):
        for t in (0.0, 1.0):
            wrong = z if t == 0 else -z                 # the logit of what is not so
            loss, cache = subject.forward({"logits": np.array([z]), "targets": np.array([t])})
            each_close(f"loss at {z} of {t}", loss, math.log1p(math.exp(wrong)), EXACT)
            slope = math.exp(wrong) / (1 + math.exp(wrong)) if wrong < 0 else 1 / (1 + math.exp(-wrong))
            each_close(f"dlogits at {z} of {t}", subject.backward(np.float64(1.0), cache)["logits"],
                       [slope if t == 0 else -slope], EXACT)


def right_numbers_cost_nothing(subject: Subject, rng: Rng) -> None:
    """y = targets costs 0, and 1 beside them costs 1; -100 is a number like any other."""
    targets = np.array([[-100.0, 3, 1e4]])
    for beside in (0.0, 1.0):
        loss, cache = subject.forward({"y": targets + beside, "targets": targets})
        identical(f"loss of numbers {beside} beside", loss, beside)
        close("dy", subject.backward(np.float64(1.0), cache)["y"], np.full((1, 3), 2 / 3 * beside), EXACT, floor=1.0)


def a_common_offset_of_both_changes_nothing(subject: Subject, rng: Rng) -> None:
    """Only the differences cost."""
    eighths = {name: np.round(8 * subject.arguments[name]) / 8 for name in ("y", "targets")}
    loss, _ = subject.forward(eighths)
    moved, _ = subject.forward({name: a + 2 ** 20 for name, a in eighths.items()})
    identical("loss of both + 2^20", moved, loss)


def numbers_refused(subject: Subject, rng: Rng) -> None:
    """Targets of another shape, which broadcasting would hide, and what is no number; a dloss for each row."""
    targets = subject.arguments["targets"]
    (first, y), *_ = subject.arguments.items()
    for name, wrong in {
        "targets (B, T) against (B, T, K)": targets[..., 0], "targets of one row": targets[:1, :1, :1][0],
        "targets (N,) against (N, 1)": None, "a target that is no number": np.full(targets.shape, np.nan),
        "an infinite target": np.full(targets.shape, np.inf), "targets that are texts": np.full(targets.shape, "1"),
    }.items():
        if wrong is None:
            refused(name, subject.forward, {first: y.reshape(-1, 1), "targets": targets.reshape(-1)})
        else:
            refused(name, subject.forward, subject.arguments | {"targets": wrong})
    refused("a dloss for each row", subject.backward, np.ones(2), subject.forward(subject.arguments)[1])
    one = targets * 1.0                                 # wrong at a single place, which is named
    one.flat[-1:] = np.inf
    where, what = tuple(n - 1 for n in one.shape), "finite numbers" if first == "y" else "numbers from 0 to 1"
    try:
        subject.forward(subject.arguments | {"targets": one})
    except ValueError as error:
        if str(error) != f"targets: expected {what}, got inf at index {where}":
            raise CheckFailed(f"an infinite target at {where}: expected {what}, got the message {error}") from None
    else:
        raise CheckFailed("an infinite target: expected ValueError")


def truths_refused(subject: Subject, rng: Rng) -> None:
    """Targets below 0 and above 1."""
    targets = subject.arguments["targets"]
    for wrong in (-0.1, 1.1, -1, 2, -99):
        refused(f"a target of {wrong}", subject.forward, subject.arguments | {"targets": np.full(targets.shape, wrong)})
    for right in (0, 1):
        subject.forward(subject.arguments | {"targets": np.full(targets.shape, right)})
