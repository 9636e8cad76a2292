"""Laws of what takes the places of layers: it begins as they are, and is merged without a change."""

from typing import Any

import numpy as np

from ...adapt.adalora import AdaLoRALinear, RankBudget, add_adalora, orthogonality_backward, orthogonality_forward
from ...adapt.adapter import Adapter, AdapterLinear, add_adapters, block_adapter
from ...adapt.lora import LoRALinear, LowRank, add_lora, columns_of, lora_forward
from ...adapt.narrow import (
    BFloat16Linear,
    Float16Linear,
    Int8ActivationsLinear,
    Int8Linear,
    plant_outlier,
    quantize,
    scheme_of,
)
from ...adapt.prefix import PrefixSelfAttention, add_prefix, flattened
from ...adapt.replacing import added, replacements, restore
from ...adapt.trimming import make_smaller
from ...blocks.multihead import SelfAttention
from ...hints import Rng
from ...layers.attention import split_heads
from ...layers.linear import Linear
from ...layers.tiles import TILE
from ...models.bert import BERT, BertForPreTraining
from ...models.config import BertConfig, GPT2Config, TransformerConfig
from ...models.gpt2 import GPT2
from ...models.transformer import Transformer
from ..checks import CheckFailed, ModuleSubject, Subject, arrays_of, close, identical, refused, upstream
from ..references import adapt as slow
from .common import EXACT

LAST = ("u", "e", "adapter.up.w", "adapter.up.b")       # what is 0 at first


# ---- the pairs


def ranks_add(subject: Subject, rng: Rng) -> None:
    """The product of rank r is the sum of r products of rank 1; and with u = 0 it is 0."""
    x, a, u, scale = (subject.arguments[name] for name in ("x", "a", "u", "scale"))
    y, _ = subject.forward(subject.arguments)
    parts = [lora_forward(x, a[:, k:k + 1], u[k:k + 1], scale)[0] for k in range(a.shape[1])]
    close("y as a sum over ranks", sum(parts), y, EXACT, floor=1.0)
    identical("y for u = 0", lora_forward(x, a, 0 * u, scale)[0], np.zeros_like(y))
    refused("a u of another rank", subject.forward, subject.arguments | {"u": np.concatenate([u, u])})


def a_diagonal_of_ones_is_lora(subject: Subject, rng: Rng) -> None:
    """With e = 1 it is LoRA; a rank with e = 0 may be taken out; and all may."""
    x, p, e, q, scale = (subject.arguments[name] for name in ("x", "p", "e", "q", "scale"))
    ones, _ = subject.forward(subject.arguments | {"e": np.ones_like(e)})
    close("y for e = 1", ones, lora_forward(x, p, q, scale)[0], EXACT, floor=1.0)
    cut = e.copy()
    cut[0] = 0
    without, _ = subject.forward(subject.arguments | {"e": cut})
    fewer = {"p": p[:, 1:], "e": e[1:], "q": q[1:]}
    close("y without a rank", subject.forward(subject.arguments | fewer)[0], without, EXACT, floor=1.0)
    none, cache = subject.forward(subject.arguments | {"p": p[:, :0], "e": e[:0], "q": q[:0]})
    identical("y without any", none, np.zeros_like(none))
    identical("dx without any", subject.backward(upstream(none, rng), cache)["x"], np.zeros_like(x))
    refused("a p of another rank", subject.forward, subject.arguments | {"p": np.concatenate([p, p], axis=1)})
    refused("a q of another rank", subject.forward, subject.arguments | {"q": np.concatenate([q, q])})


def orthonormal_costs_nothing(subject: Subject, rng: Rng) -> None:
    """It is 0 where the columns of p and the rows of q are orthonormal, and the same for a turned p."""
    p, q = subject.arguments["p"], subject.arguments["q"]
    r = p.shape[1]
    loss, _ = subject.forward(subject.arguments)
    turn = np.linalg.qr(rng.standard_normal((r, r)))[0]
    turned, _ = subject.forward({"p": p @ turn, "q": turn @ q})
    close("the loss, turned", turned, loss, 1e-12)
    wide = r + 2
    of_p, of_q = (np.linalg.qr(rng.standard_normal((wide, r)))[0] for _ in range(2))
    exact = {"p": of_p, "q": of_q.T}
    loss, cache = subject.forward(exact)
    close("the loss of orthonormal ones", loss, 0.0, EXACT, scale=1.0)
    for name, gradient in subject.backward(1.0, cache).items():
        close(f"d{name} of orthonormal ones", gradient, np.zeros_like(gradient), EXACT, scale=1.0)


def the_prefix_comes_first(subject: Subject, rng: Rng) -> None:
    """What was given stands behind, to the bit; a prefix of no rows changes nothing; a width of another is refused."""
    k, prefix = subject.arguments["k"], subject.arguments["prefix"]
    y, _ = subject.forward(subject.arguments)
    identical("what was given", y[:, :, len(prefix):], k)
    identical("y with an empty prefix", subject.forward({"k": k, "prefix": prefix[:0]})[0], k)
    refused("a prefix of another width", subject.forward, {"k": k, "prefix": np.concatenate([prefix] * 2, axis=1)})


# ---- layers


def begins_as_the_base(subject: ModuleSubject, rng: Rng) -> None:
    """With what is 0 at first, y is that of the layer that was there, to the bit."""
    layer = subject.module
    base: Any = next(kind for kind in type(layer).__mro__ if kind.__module__.split(".")[1] in ("layers", "blocks"))
    silent = {path: np.zeros_like(a) for path, a in subject.arguments.items() if _is_last(path)}
    expected, _ = base.forward(layer, **{name: a for name, a in subject.inputs.items() if name != "rng"})
    inputs = {name: a for name, a in subject.arguments.items() if name != "rng"}
    identical("y at first", subject.forward(inputs | silent)[0], expected)


def _is_last(path: str) -> bool:
    return any(path == last or path.endswith(f".{last}") for last in LAST)


def merged_is_unmerged(subject: ModuleSubject, rng: Rng) -> None:
    """The merged layer is a plain one, and gives the same y; the matrix of the base is what it was."""
    layer, w = subject.module, subject.module.w.value.copy()
    merged = layer.merged()
    if type(merged) is not Linear:
        raise CheckFailed(f"merged: expected a Linear, got {type(merged).__name__}")
    y, _ = layer.forward(subject.inputs["x"])
    close("y of the merged layer", merged.forward(subject.inputs["x"])[0], y, EXACT, floor=1.0)
    identical("w of the base", layer.w.value, w)
    again = type(layer)(Linear(w.shape[0], w.shape[1], None, dtype=w.dtype), **layer.options())
    for (path, p), (other, q) in zip(layer.named_parameters(), again.named_parameters()):
        identical(f"the shape of {path} of a layer with the same options", q.shape, p.shape)
        if path != other:
            raise CheckFailed(f"a layer with the same options: expected {path}, got {other}")


def a_frozen_factor_keeps_no_input(subject: ModuleSubject, rng: Rng) -> None:
    """x is kept for da alone, and x a for du."""
    x = subject.inputs["x"]
    for frozen, kept in (({"a"}, False), ({"u"}, True)):
        with subject.frozen(frozen):
            _, cache = subject.forward(subject.arguments)
        if any(a is x for a in arrays_of(cache)) is not kept:
            raise CheckFailed(f"the cache with {frozen} frozen: expected x in it: {kept}")


def a_frozen_part_keeps_nothing(subject: ModuleSubject, rng: Rng) -> None:
    """Of p, e and q each frozen one leaves an array less in the cache: x, x p, or the same times e."""
    x, r = subject.inputs["x"], subject.module.r
    rows = x.size // x.shape[-1]
    sizes = {"p": x.size, "e": rows * r, "q": rows * r}
    with subject.frozen({"w"}):                         # which needs x for itself
        whole = sum(a.size for a in arrays_of(subject.forward(subject.arguments)[1]))
        for path, size in sizes.items():
            with subject.frozen({path}):
                kept = sum(a.size for a in arrays_of(subject.forward(subject.arguments)[1]))
            identical(f"numbers in the cache with {path} frozen", kept, whole - size)


def what_lora_cannot_be(subject: ModuleSubject, rng: Rng) -> None:
    """Ranks of 0 and above the width, an alpha that is none, columns that overlap or are not there, no Linear."""
    def add(**other: Any) -> None:
        LoRALinear(Linear(6, 4, None), **({"r": 2, "alpha": 4.0} | other))

    for r in (0, 5, -1, 2.0, True):
        refused(f"a rank of {r}", add, r=r)
    for alpha in (0, -1.0, float("nan"), float("inf"), "16"):
        refused(f"an alpha of {alpha}", add, alpha=alpha)
    for columns in ([], [(0, 5)], [(2, 2)], [(0, 3), (2, 4)], [(-1, 2)], [3], "qv"):
        refused(f"columns {columns}", add, columns=columns)
    refused("a dropout of 1", add, dropout=1.0)
    refused("no Linear", LoRALinear, SelfAttention(6, 2, None, causal=True), 2, 4.0)
    refused("a second LoRA", LoRALinear, subject.module, 1, 1.0)
    identical("columns where none are named", LoRALinear(Linear(6, 4, None), 1, 1.0).columns, [(0, 4)])
    identical("columns of q and v", columns_of("qv", Linear(2, 6, None)), [(0, 2), (4, 6)])
    identical("columns of v", columns_of("v", Linear(2, 4, None)), [(2, 4)])
    for parts, n_out in (("qv", 4), ("q", 2), ("qq", 6), ("x", 6), ("", 6), ("q", 7)):
        refused(f"parts {parts!r} of 2 x {n_out}", columns_of, parts, Linear(2, n_out, None))
    refused("parts of what is no Linear", columns_of, "q", SelfAttention(6, 2, None, causal=True))
    model = GPT2(GPT2Config(7, 6, 4, 2, 1), None)
    add_lora(model, r=1)
    identical("columns without parts", replacements(model)["h.0.attn.c_attn"].columns, [(0, 12)])
    for r, stabilised, scale in ((2, False, 2.0), (4, True, 2.0)):
        layer = LoRALinear(Linear(6, 4, None), r, 4.0, rank_stabilised=stabilised)
        identical("the scale", layer.lora[0].scale, scale)
    drawn = LowRank(3000, 2, 8, 1.0, rng).a.value
    if not 0.9 < drawn.std() / (1 / 3 / 3000) ** 0.5 < 1.1:
        raise CheckFailed(f"the first a: expected a standard deviation of 1 / sqrt(3 I), got {drawn.std()}")


def what_adalora_cannot_be(subject: ModuleSubject, rng: Rng) -> None:
    """Ranks below 0 and above the width, an alpha that is none; its scale is that of the r in the beginning."""
    def add(**other: Any) -> Any:
        return AdaLoRALinear(Linear(6, 4, None), **({"r": 2, "alpha": 4.0} | other))

    for r in (-1, 5, 2.0):
        refused(f"a rank of {r}", add, r=r)
    refused("an alpha of 0", add, alpha=0)
    refused("a dropout of 1", add, dropout=1.0)
    refused("no Linear", AdaLoRALinear, SelfAttention(6, 2, None, causal=True), 2, 4.0)
    identical("the scale", add().scale, 4.0 / 2.00001)
    identical("the scale of an r of 0, once 2", add(r=0, first_r=2).scale, 4.0 / 2.00001)
    drawn = AdaLoRALinear(Linear(6, 4, None, dtype=np.float64), 3, 1.0, rng=np.random.default_rng(5))
    again = np.random.default_rng(5)
    p, q = again.standard_normal((6, 3)) * 0.02, again.standard_normal((3, 4)) * 0.02
    identical("the first p, N(0, 0.02^2)", drawn.p.value, p)
    identical("the first q, N(0, 0.02^2)", drawn.q.value, q)


def what_an_adapter_cannot_be(subject: ModuleSubject, rng: Rng) -> None:
    """Widths of 0, what is no block, and what has one already."""
    for width in (0, -1, 2.0, True):
        refused(f"a width of {width}", type(subject.module), Linear(3, 3, None), width)
    refused("an adapter after what is no block", block_adapter, Linear(3, 3, None), 2)
    refused("a second adapter", type(subject.module), subject.module, 2)


def the_budget_is_algorithm_1(subject: ModuleSubject, rng: Rng) -> None:
    """Penalty, importance and masks of a run are those of the paper's algorithm in plain loops, and go on where they
    were; a schedule that cuts nothing away is refused.
    """
    for warmup, final, every, target in ((2, 3, 3, 1), (0, 0, 1, 0), (3, 1, 3, 2)):
        model = _three_layers(rng)
        layers = list(replacements(model).values())
        options: dict[str, Any] = {"target": target, "steps": 9, "warmup": warmup, "final": final, "every": every,
                                   "gamma": 0.3}
        budget = RankBudget(model, **options, beta1=0.7, beta2=0.6)
        seen: list[list[dict[str, Any]]] = [[], [], []]
        left = np.ones(9, bool)
        for t in range(1, 10):
            expected = 0.0
            for layer, of_layer in zip(layers, seen):
                own = {name: getattr(layer, name) for name in layer.own}
                for p in own.values():
                    p.value, p.grad = p.value + 0, rng.standard_normal(p.shape)
                data = {name: p.grad.copy() for name, p in own.items()}
                loss, cache = orthogonality_forward(layer.p.value, layer.q.value)
                dp, dq = orthogonality_backward(0.3, cache)
                expected += 0.3 * float(loss)
                data["p"] += dp
                data["q"] += dq
                of_layer.append({name: (p.value.copy(), data[name]) for name, p in own.items()})
            if t == 4:                                  # as after a crash
                again = RankBudget(model, **options, beta1=0.7, beta2=0.6)
                again.restore(budget.state())
                budget = again
            close(f"the penalty of step {t}", budget.before_update(), expected, EXACT)
            for layer, of_layer in zip(layers, seen):
                for name in layer.own:
                    close(f"d{name} of step {t}", getattr(layer, name).grad, of_layer[-1][name][1], EXACT)
                    getattr(layer, name).value = rng.standard_normal(getattr(layer, name).shape)
            budget.after_update(t)
            s = (t - warmup) / (9 - final - warmup)
            last = 3 * target
            n = 9 if t <= warmup else last if t >= 9 - final else int(last + (9 - last) * (1 - s) ** 3)
            identical(f"the budget of step {t}", budget.budget(t), n)
            if warmup < t <= 9 - final and ((t - warmup) % every == 0 or t == 9 - final):
                scores = np.concatenate([slow.importance(of_layer, 0.7, 0.6) for of_layer in seen])
                close(f"the importance of step {t}", np.concatenate(list(budget.scores().values())), scores, EXACT)
                left = np.isin(np.arange(9), np.argsort(-scores)[:n])
                cut = True
            else:
                cut = t > 9 - final
            e = np.concatenate([layer.e.value for layer in layers])
            identical(f"which ranks are left after step {t}", (e != 0).astype(int),
                      (left if cut else np.ones(9, bool)).astype(int))
    right = {"target": 1, "steps": 9, "warmup": 0, "final": 0}
    for wrong in ({"target": 3}, {"target": -1}, {"warmup": 6, "final": 3}, {"warmup": -1}, {"final": -1},
                  {"every": 0}):
        refused(f"a budget with {wrong}", RankBudget, _three_layers(rng), **(right | wrong))
    RankBudget(_three_layers(rng), 2, 9, 5, 3)


def _three_layers(rng: Rng) -> GPT2:
    """What a budget is for."""
    model = GPT2(GPT2Config(7, 6, 4, 2, 3), rng, dtype=np.float64)
    add_adalora(model, r=3, alpha=2.0)
    return model


def is_added_by_paths(subject: ModuleSubject, rng: Rng) -> None:
    """What is added to a GPT-2 stands where the paths say, with the options that were asked for; it alone is trained,
    begins as the base, follows from the generator, and is taken out again.
    """
    add, options, expected = ADDED[type(subject.module)]
    found = []
    for generator in (None, np.random.default_rng(0), np.random.default_rng(1)):
        model = GPT2(GPT2Config(7, 6, 4, 2, 2), np.random.default_rng(2), dtype=np.float64)
        logits, _ = model.forward([[1, 2, 3]])
        old = add(model, rng=generator, **options)
        layers = replacements(model)
        if not list(layers) == list(old) == expected["layers"]:
            raise CheckFailed(f"what was replaced: expected {expected['layers']}, got {list(old)}")
        for layer in layers.values():
            if {name: layer.options()[name] for name in expected["options"]} != expected["options"]:
                raise CheckFailed(f"options: expected {expected['options']}, got {layer.options()}")
        if {path for path, p in model.named_parameters() if p.trainable} != set(added(model)):
            raise CheckFailed("what is trained: expected what was added alone")
        found.append({path: p.value for path, p in added(model).items()})
        if type(subject.module) is not PrefixSelfAttention:
            identical("logits at first", model.forward([[1, 2, 3]])[0], logits)
        restore(model, old)
        identical("logits at last", model.forward([[1, 2, 3]])[0], logits)
    for path, value in found[0].items():
        identical(f"{path} without a generator", found[1][path], value)
    if all((found[2][path] == value).all() for path, value in found[0].items()):
        raise CheckFailed("what is added: expected that it follows from the generator")


ADDED: dict[type, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    LoRALinear: (add_lora, {"paths": "h.1.attn.c_attn", "r": 2, "alpha": 3.0, "dropout": 0.5, "parts": "qv",
                            "rank_stabilised": True},
                 {"layers": ["h.1.attn.c_attn"],
                  "options": {"r": 2, "alpha": 3.0, "dropout": 0.5, "columns": [[0, 4], [8, 12]],
                              "rank_stabilised": True}}),
    AdaLoRALinear: (add_adalora, {"paths": "h.*.mlp.c_fc", "r": 2, "alpha": 3.0, "dropout": 0.5},
                    {"layers": ["h.0.mlp.c_fc", "h.1.mlp.c_fc"],
                     "options": {"r": 2, "alpha": 3.0, "dropout": 0.5, "first_r": 2}}),
    AdapterLinear: (add_adapters, {"width": 2}, {
        "layers": ["h.0.attn.c_proj", "h.0.mlp.c_proj", "h.1.attn.c_proj", "h.1.mlp.c_proj"], "options": {"width": 2}}),
    Adapter: (add_adapters, {"paths": "h.*", "width": 3}, {"layers": ["h.0", "h.1"], "options": {"width": 3}}),
    PrefixSelfAttention: (add_prefix, {"paths": "h.1.attn", "length": 2},
                          {"layers": ["h.1.attn"], "options": {"length": 2}})}


# ---- a prefix


def flattened_is_the_same(subject: ModuleSubject, rng: Rng) -> None:
    """Of a GPT-2 whose prefix an MLP makes: without it the logits are the same, to the bit; tokens make one too."""
    model = GPT2(GPT2Config(7, 6, 4, 2, 2), np.random.default_rng(2), dtype=np.float64)
    base, _ = model.forward([[5, 6, 1, 2, 3]])
    old = add_prefix(model, length=2, hidden=3, rng=rng)
    tables = [path for path in added(model) if path.endswith("table")]
    identical("the number of tables, of two blocks", len(tables), 1)
    for path, p in added(model).items():
        if path.endswith((".w", "table")) and not np.abs(p.value).min() > 0:
            raise CheckFailed(f"the first {path}: expected numbers that are drawn")
    refused("a file of a prefix with its MLP", next(iter(replacements(model).values())).options)
    logits, _ = model.forward([[1, 2, 3]])
    flattened(model)
    identical("logits without the MLP", model.forward([[1, 2, 3]])[0], logits)
    if any(type(layer) is not PrefixSelfAttention for layer in replacements(model).values()):
        raise CheckFailed("flattened: expected a plain prefix in every block")
    restore(model, old)
    add_prefix(model, length=2, tokens=[5, 6])
    close("logits behind tokens", model.forward([[1, 2, 3]])[0], base[:, 2:], EXACT)
    padded = model.next_logits([[0, 1, 2, 3]], model.new_past(1, 4), np.arange(4)[None] > 0, last=3)
    close("logits of a padded row behind tokens", padded, base[:, 2:], EXACT)
    fresh = GPT2(GPT2Config(7, 6, 4, 2, 2), rng, dtype=np.float64)
    for wrong in ({"length": 6}, {"length": 0}, {"length": "2"}, {"length": 2, "tokens": [1]},
                  {"length": 1, "tokens": [1], "hidden": 2}):
        refused(f"a prefix with {wrong}", add_prefix, fresh, **wrong)
    add_prefix(fresh, length=5)
    identical("positions that are left", fresh.n_ctx, 1)


def the_text_begins_behind_the_prefix(subject: ModuleSubject, rng: Rng) -> None:
    """Behind a prefix of P that nobody looks at, each model is the one whose table of positions begins at P; and a text
    has so many positions less.
    """
    n_ctx, C, P = 6, 4, 2
    sizes = n_ctx, C, 2, 1
    gpt2 = GPT2(GPT2Config(7, *sizes), rng, dtype=np.float64)
    bert = BERT(BertConfig(7, *sizes, 5), rng, dtype=np.float64)
    both = Transformer(TransformerConfig(7, *sizes, 5), rng, dtype=np.float64)
    pretraining = BertForPreTraining(BertConfig(7, *sizes, 5), rng, dtype=np.float64)

    def written(model: Transformer, source: list, tokens: list) -> Any:
        given = model.given(source)
        identical("positions of what is written", given.n_ctx, model.n_ctx)
        return given.next_logits(tokens, given.new_past(1, model.n_ctx), last=len(tokens[0]))

    runs: list[tuple[Any, Any, Any]] = [
        (gpt2, gpt2.wpe, lambda t: gpt2.forward(t)[0]), (bert, bert.wpe, lambda t: bert.forward(t)[0]),
        (pretraining, pretraining.bert.wpe, lambda t: pretraining.forward(t)[0].words),
        (both, both.positions, lambda t: both.forward(t[:, :3], None, t)[0]),
        (both, both.positions, lambda t: both.forward(t, None, t[:, :3])[0]),
        (both, both.positions, lambda t: written(both, t, t))]
    for model, table, run in runs:
        for path, layer in model.named_modules():
            if path.endswith(".attn"):                  # every q looks away from a k far below 0
                layer.c_attn.b.value = np.concatenate([np.full(C, 10.0), layer.c_attn.b.value[C:]])
        tokens, rows = rng.integers(0, 7, (1, n_ctx - P)), table.value
        table.value = np.concatenate([rows[P:], rows[:P]])
        expected = run(tokens)
        table.value = rows
        old = add_prefix(model, length=P)
        for path, p in added(model).items():
            p.value = np.full(p.shape, -1e6) if path.endswith("_k") else rng.standard_normal(p.shape)
        close(f"{type(model).__name__} behind a prefix", run(tokens), expected, EXACT)
        identical("positions that are left", model.n_ctx, n_ctx - P)
        refused("a text that is longer", run, np.zeros((1, n_ctx - P + 1), int))
        restore(model, old)
    refused("a longer source", both.forward, [[1] * 7], None, [[1]])


def a_prefix_of_tokens_is_the_tokens(subject: ModuleSubject, rng: Rng) -> None:
    """Where the prefix is the keys and values of what came before, the rest is what it is behind that."""
    layer, x = subject.module, subject.inputs["x"][:1]
    B, T, C = x.shape
    before = rng.standard_normal((B, layer.P, C))
    base = SelfAttention.forward(layer, np.concatenate([before, x], axis=1))[0]
    k, v = np.split(before @ layer.c_attn.w.value + layer.c_attn.b.value, 3, axis=-1)[1:]
    read = PrefixSelfAttention(_plain(layer), layer.P)
    read.prefix_k.value, read.prefix_v.value = k[0], v[0]
    close("y behind tokens", read.forward(x)[0], base[:, layer.P:], EXACT, floor=1.0)


def all_look_at_the_prefix(subject: ModuleSubject, rng: Rng) -> None:
    """p has a column for each position of the prefix, and of the text; none of the first ones is 0; rows sum to 1."""
    layer, x = subject.module, subject.inputs["x"]
    y, cache = layer.forward(x)
    p = layer.weights(cache)
    identical("the shape of p", p.shape, (len(x), layer.n_head, x.shape[1], layer.P + x.shape[1]))
    close("row sums of p", p.sum(axis=-1), np.ones(p.shape[:-1]), EXACT)
    if not (p[..., :layer.P] > 0).all():
        raise CheckFailed("p: expected that every position looks at the whole prefix")
    identical("what comes before the text", layer.before, layer.P)


def a_past_has_the_prefix(subject: ModuleSubject, rng: Rng) -> None:
    """The prefix is in a past from the start, is not counted, is never forgotten, and goes with the rows."""
    layer, x = subject.module, subject.inputs["x"]
    B, T, C = x.shape
    past = layer.new_past(B, T)
    identical("the length of a past of no tokens", past.length, 0)
    y, _ = layer.forward(x, keep_cache=False, past=past)
    identical("the length of a past of all", past.length, T)
    for wrong in (-1, T + 1):
        refused(f"a past of {wrong} tokens", past.forget, wrong)
    past.forget(0)
    close("y after all was forgotten", layer.forward(x, keep_cache=False, past=past)[0], y, EXACT, floor=1.0)
    past.forget(1)
    identical("the length of a past of one", past.length, 1)
    past.forget(0)
    rows = [*range(B)][::-1] * 2
    chosen = past.select(rows)
    identical("whether a past is on the host", int(chosen.on_host), 1)
    close("y of selected rows", layer.forward(x[rows], keep_cache=False, past=chosen)[0], y[rows], EXACT, floor=1.0)
    prefix_k, prefix_v = layer.prefixes()[0]
    k, v = past.append(*(np.zeros((B, layer.n_head, 1, C // layer.n_head)),) * 2)
    for name, got, prefix in (("k", k, prefix_k), ("v", v, prefix_v)):
        expected = np.broadcast_to(split_heads(prefix[None], layer.n_head), got[:, :, :-1].shape)
        identical(f"{name} of a past", got[:, :, :-1], expected)


def what_a_prefix_cannot_be(subject: ModuleSubject, rng: Rng) -> None:
    """Lengths of 0, what is no self-attention, a second prefix; and no matrix can stand for one."""
    for length in (0, -1, 2.0, True):
        refused(f"a length of {length}", PrefixSelfAttention, _plain(subject.module), length)
    drawn, again = PrefixSelfAttention(_plain(subject.module), 1, np.random.default_rng(5)), np.random.default_rng(5)
    for name, prefix in (("prefix_k", drawn.prefix_k), ("prefix_v", drawn.prefix_v)):
        identical(f"the first {name}, N(0, 0.02^2)", prefix.value, again.standard_normal(prefix.shape) * 0.02)
    refused("a prefix for a Linear", PrefixSelfAttention, Linear(3, 3, None), 2)
    refused("a second prefix", PrefixSelfAttention, subject.module, 2)
    refused("a merged prefix", subject.module.merged)


def _plain(layer: PrefixSelfAttention) -> SelfAttention:
    """The attention that is in a layer, without its prefix."""
    plain = SelfAttention.__new__(SelfAttention)
    vars(plain).update({name: value for name, value in vars(layer).items() if name not in (*layer.own, "P")})
    return plain


def what_fewer_heads_cannot_have(subject: ModuleSubject, rng: Rng) -> None:
    """A prefix, and LoRA on parts of c_attn: of three heads without one, C -> 2 C looks like k and v."""
    refused("a prefix", PrefixSelfAttention, subject.module, 2)
    model = GPT2(GPT2Config(3, 2, 6, 3, 1), rng)
    make_smaller(model.h[0].attn, [0], np.float32)
    refused("LoRA on v alone", add_lora, model, r=1, parts="v")
    if not add_lora(model, r=1):
        raise CheckFailed("LoRA on whole matrices is for models of any heads")


# ---- narrow matrices


def is_made_from_its_arrays(subject: ModuleSubject, rng: Rng) -> None:
    """The matrix that it stands for becomes the same codes again; and with the arrays of a file it is the same."""
    module, (I, O) = subject.module, subject.module.codes.value.shape
    layer = Linear(I, O, None, dtype=np.float64)
    layer.b = module.b
    arrays = {name: constant.value for name, constant in module.named_constants()}
    if {name: (a.shape, a.dtype) for name, a in arrays.items()} != module.shapes(I, O):
        raise CheckFailed(f"arrays: expected {module.shapes(I, O)}, got {arrays}")
    identical("y", type(module)(layer, arrays).forward(subject.arguments["x"])[0],
              module.forward(subject.arguments["x"])[0])
    layer.w = module.w
    for name, constant in type(module)(layer).named_constants():
        close(f"{name} of its w", constant.value, arrays[name], 1e-6)
    refused("a layer that is narrow already", type(module), module)


def rounds_to_the_nearest(subject: ModuleSubject, rng: Rng) -> None:
    """No code is nearer to a number than the one that stands for it; what does not fit is refused."""
    kind = type(subject.module)
    w = rng.uniform(0.01, 0.02, (9, 4))                 # float16 has fewer bits below 6e-5
    w[:4] = np.array([[1.0], [0.5], [-1.0], [0.25]]) * (1 + np.array([1, 3, 5, 511]) / 256)     # half-way, with 8 bits
    w[:, 0] *= 0.1
    w = w.astype(np.float32)
    layer = Linear(9, 4, None)
    layer.w.value = w
    wide = kind(layer)
    if issubclass(kind, Int8Linear):
        step = wide.scale.value.astype(np.float64)
        top = np.abs(wide.codes.value.astype(int)).max(axis=0)
        too_far, fewest = np.abs(wide.w.value - w) > step * 0.50001, top.max() if len(step) == 1 else top.min()
        if too_far.any() or fewest != 127:
            raise CheckFailed(f"codes: expected from -127 to 127, each within half a step, got {wide.codes.value}")
    else:
        bits = 8 if kind is BFloat16Linear else 11
        identical("w", wide.w.value, np.vectorize(lambda a: slow.nearest(a, bits))(w).astype(np.float32))
    if wide.w.trainable:
        raise CheckFailed("w: expected that it is not trained")
    for what in (np.nan, np.finfo(np.float32).max) if kind in (Float16Linear, BFloat16Linear) else (np.nan,):
        layer.w.value = np.full((9, 4), what, np.float32)
        refused(f"a w of {what}", kind, layer)


def many_tiles_of_a_matrix_are_one(subject: ModuleSubject, rng: Rng) -> None:
    """A matrix of more rows than a tile holds."""
    I, O = 2 * (TILE // 64) + 3, 64
    module = type(subject.module)(Linear(I, O, rng, dtype=np.float64))
    x, dy, w = rng.standard_normal((2, I)), rng.standard_normal((2, O)), module.w.value.astype(np.float64)
    y, cache = module.forward(x)
    close("y", y, x @ w, 1e-6, scale=1.0)               # w is rounded to float32, and its codes were not
    close("dx", module.backward(dy, cache), dy @ w.T, 1e-6, scale=1.0)


def what_comes_in_is_rounded(subject: ModuleSubject, rng: Rng) -> None:
    """Int8ActivationsLinear is Int8Linear of multiples of one step, of which the largest number has 127."""
    layer = Linear(5, 3, rng, dtype=np.float64)
    exact, rounding = Int8Linear(layer), Int8ActivationsLinear(layer)
    for x in (rng.standard_normal((2, 5)) * 0.01, rng.standard_normal((3, 5)) * 100, np.zeros((1, 5))):
        step = max(abs(float(a)) for a in x.ravel()) / 127
        multiples = np.vectorize(lambda a, step=step: step * round(a / step) if step else 0.0)(x)
        close("y", rounding.forward(x)[0], exact.forward(multiples)[0], EXACT, floor=1.0)
    refused("a gradient", rounding.backward, np.ones((1, 3)), (1, 5))


def narrow_is_all_of_a_gpt2(subject: ModuleSubject, rng: Rng) -> None:
    """All matrices of the blocks are replaced, and restored; a planted outlier changes nothing before."""
    model = GPT2(GPT2Config(7, 6, 4, 2, 2), rng)
    logits, w = model.forward([[1, 2, 3]])[0], model.h[0].mlp.c_fc.w.value.copy()
    plant_outlier(model, 8.0, 1)
    identical("logits with an outlier", model.forward([[1, 2, 3]])[0], logits)
    identical("ln_2.g", model.h[0].ln_2.g.value, np.array([1, 8, 1, 1], np.float32))
    identical("c_fc.w", model.h[0].mlp.c_fc.w.value * np.array([[1], [8], [1], [1]], np.float32), w)
    old = quantize(model, subject.module.kind)
    if len(old) != 8 or scheme_of(model) != subject.module.kind:
        raise CheckFailed(f"what is narrow: expected 8 layers, got {list(old)}")
    restore(model, old)
    identical("logits at last", model.forward([[1, 2, 3]])[0], logits)
    refused("another scheme", quantize, model, "int4")
