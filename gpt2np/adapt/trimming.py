"""A smaller GPT-2 or BERT out of a larger one: blocks and heads that go, and the tokens that stay.

        x      = h_L(... h_2(h_1(x)))               without some of the h_i, the others in the order that they had
        attn   = sum over heads of z_h W_h + b      without some of the terms; z_h W_h is what head h adds to the stream
        logits = ln_f(x) wte'                       without some of the rows of wte; of BERT's bias for words, too

What stands on a model, as a head that labels texts, stays as it is.

Heads go in two ways.  Set to zero, they leave an ordinary model of the same shapes, in which they do nothing, and which
no gradient brings back: that by W_h is 0 where z_h is, and that by z_h where W_h is.  Taken out, they leave smaller
matrices.  What both compute is the same.

How much a head matters is asked of a gate at its output, which is 1:

        attn   = sum over heads of xi_h z_h W_h + b             I_h = mean over the windows of a text of |dL/dxi_h|

xi_h is also a factor of the rows W_h of c_proj, so that its gradient is there as soon as theirs is:

        dL/dxi_h = sum of W_h dL/dW_h, element by element

Michel, Levy, Neubig 2019, arXiv:1905.10650, section 4.1 and equation 2.

Arrays are never changed: what is smaller, or has zeros in it, is a new one, so that a replica may be trimmed and the
model stays as it is.

Chapter: S001 9 Q3; S003 9 Q4.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from ..blocks.multihead import SelfAttention
from ..hints import Array
from ..layers.linear import Linear
from ..layers.lm_head import LMHead
from .replacing import AdaptError, replacements

Heads: TypeAlias = Mapping[int, Collection[int]]        # {block: heads of it}, counted from 0
Scores: TypeAlias = dict[tuple[int, int], float]        # {(block, head): how much it matters}


def body_of(model: Any) -> Any:
    """What of a model has the tables and the blocks: itself, or what its heads stand on."""
    while not hasattr(model, "h"):
        model = model.bert if hasattr(model, "bert") else model.body
    return model


# ---- blocks


def drop_blocks(model: Any, blocks: Collection[int]) -> None:
    """Take blocks out of a model, counted from 0.  AdaptError for one that is not there, and where none would stay."""
    body = body_of(model)
    L = len(body.h)
    if wrong := sorted(i for i in blocks if not 0 <= i < L):
        raise AdaptError(f"blocks: expected from 0 to {L - 1}, got {', '.join(map(str, wrong))}")
    if len(set(blocks)) == L:
        raise AdaptError(f"blocks: expected one at least to stay, got all {L} of them to drop")
    body.h[:] = [block for i, block in enumerate(body.h) if i not in blocks]
    body.config = replace(body.config, n_layer=len(body.h))


# ---- heads


def heads_of(model: Any) -> list[tuple[int, int]]:
    """(block, head) of all heads that a model has, by the numbers that they had before any was taken out."""
    body = body_of(model)
    return [(i, h) for i, block in enumerate(body.h) for h in range(body.config.n_head) if h not in block.attn.gone]


def taken_out(model: Any) -> dict[int, list[int]]:
    """The heads that a model lacks, by block."""
    return {i: list(block.attn.gone) for i, block in enumerate(body_of(model).h) if block.attn.gone}


def zero_heads(model: Any, heads: Heads) -> None:
    """Set to zero all that belongs to these heads: columns of c_attn, with the bias there, and rows of c_proj.

    What the model computes is the same, to the bit, as if the heads' outputs were set to zero in every pass.
    """
    check_heads_to_go(model, heads)
    for i, which in heads.items():
        attn = body_of(model).h[i].attn
        rows = rows_of(attn, which)
        for p, index in ((attn.c_attn.w, (slice(None), columns_of(attn, rows))),
                         (attn.c_attn.b, (columns_of(attn, rows),)), (attn.c_proj.w, (rows,))):
            value = p.value.copy()
            value[index] = 0
            p.value = value


def take_out_heads(model: Any, heads: Heads) -> None:
    """Make the matrices smaller by all that belongs to these heads."""
    check_heads_to_go(model, heads)
    for i, which in heads.items():
        attn = body_of(model).h[i].attn
        stay = np.delete(np.arange(len(attn.c_proj.w.value)), rows_of(attn, which))
        columns = columns_of(attn, stay)
        w, b = attn.c_attn.w.value[:, columns], attn.c_attn.b.value[columns]
        w_proj, b_proj = attn.c_proj.w.value[stay], attn.c_proj.b.value
        make_smaller(attn, which, w.dtype)
        attn.c_attn.w.value, attn.c_attn.b.value = np.ascontiguousarray(w), b
        attn.c_proj.w.value, attn.c_proj.b.value = w_proj, b_proj


def leave_out_heads(model: Any, heads: Heads, dtype: DTypeLike = np.float32) -> None:
    """The same for a model that has no numbers yet, which it then needs no memory for."""
    check_heads_to_go(model, heads)
    for i, which in heads.items():
        make_smaller(body_of(model).h[i].attn, which, dtype)


def make_smaller(attn: SelfAttention, which: Collection[int], dtype: DTypeLike) -> None:
    """Let attention have new matrices, without numbers, that have no room for these heads."""
    C, D = attn.c_proj.b.shape[0], attn.c_proj.w.shape[0] // attn.n_head
    attn.gone = tuple(sorted({*attn.gone, *which}))
    attn.n_head -= len(set(which))
    attn.c_attn = Linear(C, 3 * attn.n_head * D, None, dtype=dtype)
    attn.c_proj = Linear(attn.n_head * D, C, None, dtype=dtype)


def rows_of(attn: SelfAttention, which: Collection[int]) -> Array:
    """The rows of c_proj that these heads have, which are their columns in each of q, k and v."""
    n = attn.n_head + len(attn.gone)
    place = {h: at for at, h in enumerate(h for h in range(n) if h not in attn.gone)}
    D = attn.c_proj.w.shape[0] // attn.n_head
    return np.array([place[h] * D + d for h in sorted(which) for d in range(D)], int)


def columns_of(attn: SelfAttention, rows: Array) -> Array:
    """The columns of c_attn, q's, k's and v's one after another, that belong to rows of c_proj."""
    return np.concatenate([rows + part * attn.c_proj.w.shape[0] for part in range(3)])


def check_heads_to_go(model: Any, heads: Heads) -> None:
    """AdaptError for heads that are not there, for a block that would have none, and where something was added."""
    if layers := replacements(model):
        raise AdaptError(f"heads: expected a model as it was made, got one with {next(iter(layers.values())).kind}")
    L, there = len(body_of(model).h), heads_of(model)
    for i, which in heads.items():
        if not 0 <= i < L:
            raise AdaptError(f"heads: expected blocks from 0 to {L - 1}, got {i}")
        own = [h for block, h in there if block == i]
        if wrong := sorted(h for h in which if h not in own):
            raise AdaptError(f"heads: expected of block {i} those from {', '.join(map(str, own))}, got "
                             f"{', '.join(map(str, wrong))}")
        if len(set(which)) == len(own):
            raise AdaptError(f"heads: expected one at least to stay in each block, got all {len(own)} of block {i} to "
                             "go; a block can be dropped as a whole")


# ---- how much a head matters


def gate_gradients(model: Any) -> Scores:
    """dL/dxi of every head, at xi = 1, once the gradients of loss_and_gradients are in c_proj.w."""
    found: Scores = {}
    for i, h in heads_of(model):
        attn = body_of(model).h[i].attn
        rows, w = rows_of(attn, [h]), attn.c_proj.w
        found[i, h] = float((w.value[rows] * w.grad[rows]).sum())
    return found


def importances(model: Any, windows: Iterable[tuple[Array, ...]]) -> Scores:
    """I_h of every head, the largest of a block being comparable with that of another: over sqrt(sum of I_h^2) there.

    windows   of a text: what the model's loss takes; each counts by itself, since |.| is taken before the mean

    To divide by the norm of each block is Molchanov et al. 2017, arXiv:1611.06440, section 2.2, as Michel et al. do.
    """
    model = model.replica()
    model.freeze()
    for block in body_of(model).h:
        block.attn.c_proj.w.trainable = True
    total = dict.fromkeys(heads_of(model), 0.0)
    for batch in windows:
        model.zero_grad()
        model.loss_and_gradients(*batch)
        for head, gradient in gate_gradients(model).items():
            total[head] += abs(gradient)
    norm = [sum(I * I for (block, _), I in total.items() if block == i) ** 0.5 for i in range(len(body_of(model).h))]
    return {(i, h): I / (norm[i] or 1.0) for (i, h), I in total.items()}


def magnitudes(model: Any) -> Scores:
    """The norm of all that belongs to a head in the two matrices: sqrt(sum of squares of its columns and rows)."""
    found: Scores = {}
    for i, h in heads_of(model):
        attn = body_of(model).h[i].attn
        rows = rows_of(attn, [h])
        parts = attn.c_attn.w.value[:, columns_of(attn, rows)], attn.c_proj.w.value[rows]
        found[i, h] = float(sum((part * part).sum() for part in parts)) ** 0.5
    return found


def least(scores: Scores, n: int) -> dict[int, list[int]]:
    """The n heads that matter least, by block, of which each keeps one; of equals, the first.

    AdaptError for more than there are to take.
    """
    left = {i: sum(block == i for block, _ in scores) for i, _ in scores}
    most = len(scores) - len(left)
    if not 0 <= n <= most:
        raise AdaptError(f"heads: expected from 0 to {most} of {len(scores)} to go, since each of the {len(left)} "
                         f"blocks keeps one, got {n}; a block can be dropped as a whole")
    found: dict[int, list[int]] = {}
    for i, h in sorted(scores, key=lambda head: (scores[head], head)):
        if n and left[i] > 1:
            found.setdefault(i, []).append(h)
            left[i], n = left[i] - 1, n - 1
    return {i: sorted(found[i]) for i in sorted(found)}


# ---- tokens


def keep_tokens(model: Any, ids: Sequence[int]) -> None:
    """Keep the rows of wte that belong to these ids, in their order, and BERT's bias for them; their logits stay what
    they were.

    A probability is shared among fewer tokens then:  p'(t) = p(t) / sum of p over those that stay.  So the loss of
    tokens that stay falls, by -log of that sum.  AdaptError where no token is to stay, or one is not there.
    """
    body = body_of(model)
    V = body.config.n_vocab
    if wrong := [i for i, times in Counter(ids).items() if times > 1 or not 0 <= i < V]:
        raise AdaptError(f"tokens: expected ids from 0 to {V - 1}, each once, got {', '.join(map(str, wrong))}")
    if not ids:
        raise AdaptError("tokens: expected one at least to stay, got none")
    body.wte.value = body.wte.value[list(ids)]
    body.config = replace(body.config, n_vocab=len(ids))
    for _, part in model.named_modules():
        if isinstance(part, LMHead) and part.wte is body.wte and part.b is not None:
            part.b.value = part.b.value[list(ids)]
    if hasattr(body, "unused"):
        unused = set(body.unused)
        body.unused = [new for new, i in enumerate(ids) if i in unused]
