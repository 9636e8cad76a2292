"""Laws of what is wired from layers: attention with its projections, the blocks, and a stack of them."""

from collections.abc import Iterator

import numpy as np

from ...blocks.kv_cache import KVCache, Memory
from ...blocks.stack import Stack
from ...hints import Array, Rng
from ...layers.activations import gelu_erf_forward, gelu_forward, relu_forward, tanh_forward
from ...layers.attention import split_heads
from ..checks import (
    Arguments,
    CheckFailed,
    ModuleSubject,
    Subject,
    calls_of,
    close,
    identical,
    memory_of,
    refused,
    upstream,
    with_generators,
)
from .common import EXACT

# ---- attention and blocks


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


def heads_divide_the_width(subject: ModuleSubject, rng: Rng) -> None:
    """A width that the heads do not divide is refused, and so are 0 heads; one head is fine."""
    module, options = type(subject.module), {"causal": True} if hasattr(subject.module, "causal") else {}
    for n_embd, n_head in ((5, 3), (6, 0), (6, -3), (3, 6)):
        refused(f"{n_head} heads in a width of {n_embd}", module, n_embd, n_head, rng, **options)
    module(3, 1, rng, **options)
    refused("splitting a width of 5 into 3", split_heads, np.zeros((1, 1, 5)), 3)


def a_past_holds_the_memory(subject: ModuleSubject, rng: Rng) -> None:
    """A decoder's block, token by token, with the memory's keys and values made once: the same as in one forward."""
    block, x, memory = subject.module, subject.arguments["x"], subject.arguments["memory"]
    (B, T, _), rows = x.shape, [*range(len(x))][::-1] * 2
    for mask in (subject.arguments["memory_padding_mask"], None):
        y, _ = block.forward(x, memory, memory_padding_mask=mask)
        past = block.new_past(B, T, memory, mask)
        parts = [block.forward(x[:, t:t + 1], keep_cache=False, past=past)[0] for t in range(T)]
        close("y token by token", np.concatenate(parts, axis=1), y, EXACT, floor=1.0)
        refused("one token too many", block.forward, x[:, :1], keep_cache=False, past=past)
        chosen = block.new_past(B, T, memory, mask).select(rows)
        close("y of selected rows", block.forward(x[rows], keep_cache=False, past=chosen)[0], y[rows], EXACT, floor=1.0)
        for last in range(T + 1):
            wanted, _ = block.forward(x, memory, memory_padding_mask=mask, keep_cache=False, last=last)
            close(f"y of the last {last} alone", wanted, y[:, T - last:], EXACT, floor=1.0)


def a_memory_or_its_keys(subject: ModuleSubject, rng: Rng) -> None:
    """Cross-attention is given a memory, or for inference its keys and values: not both, not neither; and says p."""
    module, x, memory = subject.module, subject.arguments["x"], subject.arguments["memory"]
    (k, v), _ = module.keys_values(memory)
    past = Memory(k, v, subject.arguments["padding_mask"])
    y, cache = subject.forward(subject.arguments)
    close("y of the keys", module.forward(x, past=past, keep_cache=False)[0], y, EXACT, floor=1.0)
    refused("neither memory nor keys", module.forward, x)
    refused("memory and keys", module.forward, x, memory, past=past, keep_cache=False)
    refused("keys, with a cache for backward", module.forward, x, past=past)
    p = module.weights(cache)
    shape = (len(x), module.n_head, x.shape[1], memory.shape[1])
    identical("the shape of p", p.shape, shape)
    close("row sums of p", p.sum(axis=-1), np.ones(shape[:-1]), EXACT)
    hidden = np.broadcast_to(~past.padding_mask[:, None, None], shape) if past.padding_mask is not None else p < 0
    identical("p at padding", p[hidden], np.zeros(int(hidden.sum())))


def a_past_is_the_full_forward(subject: ModuleSubject, rng: Rng) -> None:
    """With the first tokens in a KVCache, the rest gives what it gives in one forward; bit for bit if none is there."""
    x = subject.arguments["x"]
    B, T, _ = x.shape
    y, _ = subject.forward(subject.arguments)
    for first in range(T):
        past = subject.module.new_past(B, T)
        parts = [subject.module.forward(x[:, :first], keep_cache=False, past=past)[0]] if first else []
        for t in range(first, T):
            parts.append(subject.module.forward(x[:, t:t + 1], keep_cache=False, past=past)[0])
        close(f"y after {first} tokens at once", np.concatenate(parts, axis=1), y, EXACT)
        refused("one token too many", subject.module.forward, x[:, :1], keep_cache=False, past=past)
    for last in range(T + 1):
        wanted, _ = subject.module.forward(x, keep_cache=False, last=last)
        close(f"y of the last {last} alone", wanted, y[:, T - last:], EXACT)
    past = subject.module.new_past(B, T)
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


# ---- a stack of blocks, h of its module


def frozen_blocks_cost_nothing(subject: ModuleSubject, rng: Rng) -> None:
    """Where nothing below the stack needs a gradient, the blocks below the lowest one with a parameter to train keep no
    array, run in the forms for inference and have no backward; the rest is what it is, to the bit.

    For all choices of blocks to freeze, and where a single parameter is trained; stored and recomputed.
    """
    blocks, weights = subject.module.h, [p.value for p in subject.values.values()]
    x, dy = subject.inputs["x"], upstream(subject.inputs["x"], rng)
    for recompute in (False, True):
        stack = Stack(blocks, recompute)
        y, free_cache = stack.forward(x, **_others(subject))
        free_cache = list(free_cache)
        subject.module.zero_grad()
        free_dx = stack.backward(dy, list(free_cache))
        free = subject.gradients()
        for frozen in _choices(subject, rng):
            lowest = next((i for i in range(len(blocks)) if not _below(subject, i) <= frozen), len(blocks))
            for needs_dx in (False, True):
                first, what = 0 if needs_dx else lowest, f"with {len(frozen)} of {len(free)} parameters frozen"
                subject.module.zero_grad()
                with (subject.frozen(frozen), calls_of(type(blocks[0]).backward) as backwards,
                      calls_of(gelu_forward, gelu_erf_forward, relu_forward, tanh_forward) as slopes):
                    y_frozen, cache = stack.forward(x, needs_dx=needs_dx, **_others(subject))
                    kept = list(cache)
                    dx = stack.backward(dy, cache)
                    gradients = subject.gradients()
                if [c is None for c in kept] != [i < first for i in range(len(blocks))]:
                    raise CheckFailed(f"caches {what}: expected None for {first} blocks, got {kept}")
                if memory_of(kept, weights) > memory_of(free_cache[first:], weights):
                    raise CheckFailed(f"caches {what}: expected no array of the {first} blocks below")
                if [call.first for call in backwards] != list(reversed(blocks[first:])):
                    raise CheckFailed(f"backward {what}: expected {len(blocks) - first} calls, got {len(backwards)}")
                if len(slopes) != len(blocks) - first:
                    raise CheckFailed(f"{what}: expected slopes from {len(blocks) - first} blocks, got {len(slopes)}")
                if first and dx is not None:
                    raise CheckFailed(f"dx {what}: expected None, since nothing needs it, got shape {dx.shape}")
                if not first:
                    identical(f"dx {what}", dx, free_dx)
                identical(f"y {what}", y_frozen, y)
                for path, gradient in gradients.items():
                    identical(f"d{path} {what}", gradient, free[path])


def _choices(subject: ModuleSubject, rng: Rng) -> Iterator[set[str]]:
    """Paths to freeze: of every choice of blocks; then all but one parameter, of each block in turn."""
    n = len(subject.module.h)
    for chosen in np.ndindex(*(2,) * n):
        yield {path for i in range(n) if chosen[i] for path in _below(subject, i)}
    for i in range(n):
        yield set(subject.parameters) - {str(rng.choice(sorted(_below(subject, i))))}


def _below(subject: ModuleSubject, i: int) -> set[str]:
    """The paths of the parameters of block i."""
    return {path for path in subject.parameters if path.startswith(f"h.{i}.")}


def _others(subject: ModuleSubject) -> Arguments:
    """The inputs of a stack beside x: masks, generators."""
    return with_generators({name: a for name, a in subject.inputs.items() if name not in ("x", "needs_dx")})


def recomputed_is_stored(subject: ModuleSubject, rng: Rng) -> None:
    """With recompute, of each block only its input is kept; y and the gradients are the same, to the bit."""
    x, found = subject.inputs["x"], list[dict[str, Array]]()
    dy = upstream(x, rng)
    for recompute in (False, True):
        stack = Stack(subject.module.h, recompute)
        y, cache = stack.forward(x, **_others(subject))
        if recompute:
            kept = memory_of(cache, [a for a in subject.arguments.values() if isinstance(a, np.ndarray) and a is not x])
            identical("numbers kept of the blocks", kept, len(stack) * x.size)
        subject.module.zero_grad()
        dx = stack.backward(dy, cache)
        found.append({"y": y, **({} if dx is None else {"dx": dx}), **subject.gradients()})
    for name, stored in found[0].items():
        identical(f"{name}, recomputed", found[1][name], stored)


def a_cache_serves_once(subject: ModuleSubject, rng: Rng) -> None:
    """backward frees the caches of the blocks on its way: a second time, or without a cache, it is refused."""
    stack, x = subject.module.h, subject.inputs["x"]
    for frozen in (set(), set(subject.parameters)):
        with subject.frozen(frozen):
            y, cache = stack.forward(x, needs_dx=False, **_others(subject))
            stack.backward(upstream(y, rng), cache)
        identical("caches after backward", len(cache), 0)
        refused("a cache that has been used", stack.backward, y, cache)
    y, cache = stack.forward(x, **_others(subject))
    refused("a dy of another shape", stack.backward, y[..., :1, None], cache)
    refused("a cache after a backward that was refused", stack.backward, y, cache)
    _, cache = stack.forward(x, keep_cache=False, **_others(subject))
    refused("the cache of inference", stack.backward, y, cache)
