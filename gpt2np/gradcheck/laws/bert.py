"""Laws of BERT: who sees whom, padding, positions and segments, what is hidden, and the two means of its loss."""

from typing import Any

import numpy as np

from ...hints import Array, Rng
from ...layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from ...layers.embedding import Embedding
from ...layers.module import Parameter
from ...models.bert import BERT, IS_NEXT, NOT_NEXT, BertForPreTraining, Logits
from ..checks import CheckFailed, ModuleSubject, Subject, calls_of, close, identical, memory_of, refused, upstream
from .common import EXACT, generator_of, rows_add

TEXT = ("tokens", "segments", "padding_mask")


# ---- the encoder


def every_token_sees_both_sides(subject: ModuleSubject, rng: Rng) -> None:
    """A change of a real token changes the vector of every position of its row, and of no other row."""
    tokens, mask = subject.arguments["tokens"], subject.arguments["padding_mask"]
    V = subject.module.config.n_vocab
    x, _ = subject.forward(subject.arguments)
    for b, s in np.argwhere(mask):
        changed = tokens.copy()
        changed[b, s] = (changed[b, s] + 1) % V
        y, _ = subject.forward(subject.arguments | {"tokens": changed})
        identical(f"x of other rows than {b}", np.delete(y, b, 0), np.delete(x, b, 0))
        if V > 1 and not np.abs(y[b] - x[b]).max(axis=-1).min() > 0:
            raise CheckFailed(f"x of row {b}: expected that all positions see a change at {s}")


def padding_does_not_matter(subject: ModuleSubject, rng: Rng) -> None:
    """Other ids and segments at padding, more padding, or a row alone without it: the same at the real positions, and
    the same gradients."""
    model, (tokens, segments, mask) = subject.module, (subject.arguments[name] for name in TEXT)
    config, (B, T) = model.config, tokens.shape
    x, gradients = _with_gradients(model, tokens, segments, mask, dy := upstream(_x(subject), rng), mask)
    more = min(2, config.n_ctx - T)
    wide = np.pad(mask, ((0, 0), (0, more)))
    other = np.where(wide, np.pad(tokens, ((0, 0), (0, more))), rng.integers(0, config.n_vocab, wide.shape))
    others = np.where(wide, np.pad(segments, ((0, 0), (0, more))), rng.integers(0, config.n_segment, wide.shape))
    y, same = _with_gradients(model, other, others, wide, np.pad(dy, ((0, 0), (0, more), (0, 0))), wide)
    close("x with other and more padding", y[wide], x[mask], 1e-12)
    for path, gradient in gradients.items():
        close(f"d{path} with other and more padding", same[path], gradient, 1e-12, floor=1.0)
    identical("x without a mask", model.forward(tokens, segments, None)[0],
              model.forward(tokens, segments, np.ones_like(mask))[0])
    lengths, sums = rng.integers(1, T + 1, B), dict[str, Array]()
    right = np.arange(T) < lengths[:, None]             # padding on the right, as texts have it
    x, gradients = _with_gradients(model, tokens, segments, right, dy, right)
    for b, n in enumerate(lengths):
        row = (tokens[b:b + 1, :n], segments[b:b + 1, :n], None)
        alone, own = _with_gradients(model, *row, dy[b:b + 1, :n], right[b:b + 1, :n])
        close(f"x of row {b} alone", alone[0], x[b, :n], 1e-12)
        sums = {path: sums[path] + a if path in sums else a for path, a in own.items()}
    for path, gradient in gradients.items() if B else ():
        close(f"d{path} of the rows alone", sums[path], gradient, 1e-12, floor=1.0)


def order_is_in_the_positions_alone(subject: ModuleSubject, rng: Rng) -> None:
    """Where all positions have one vector, tokens in another order have the same vectors in that order; as the
    positions are, they have not."""
    model, tokens = subject.module, subject.arguments["tokens"]
    order = np.arange(tokens.shape[1])[::-1]
    turned = {name: subject.arguments[name][:, order] for name in TEXT}
    same = {"wpe": np.ones_like(model.wpe.value)}
    x, _ = subject.forward(subject.arguments | same)
    y, _ = subject.forward(subject.arguments | turned | same)
    close("x of the other order, with one vector for all positions", y, x[:, order], 1e-12)
    if len(order) > 1 and np.abs(_x(subject) - x).max() == 0:
        raise CheckFailed("x: expected that the positions' vectors matter")


def segments_matter(subject: ModuleSubject, rng: Rng) -> None:
    """Another segment of a token changes its row; no segments are segments of 0; one vector for all: no difference."""
    model, (tokens, segments, mask) = subject.module, (subject.arguments[name] for name in TEXT)
    identical("x without segments", model.forward(tokens, None, mask)[0],
              model.forward(tokens, np.zeros_like(segments), mask)[0])
    other = (segments + 1) % model.config.n_segment
    x, y = _x(subject), subject.forward(subject.arguments | {"segments": other})[0]
    if not np.abs(x - y).max(axis=(1, 2)).min() > 0:
        raise CheckFailed("x with other segments: expected that each row differs")
    same = {"wse": np.ones_like(model.wse.value)}
    identical("x with one vector for all segments", subject.forward(subject.arguments | same)[0],
              subject.forward(subject.arguments | same | {"segments": other})[0])


def what_is_no_text_is_refused(subject: ModuleSubject, rng: Rng) -> None:
    """Ids outside the vocabulary, too many of them, none; segments and masks of another shape, or of what there is not.
    """
    model, (tokens, segments, mask) = subject.module, (subject.arguments[name] for name in TEXT)
    config, (B, T) = model.config, tokens.shape
    longest = np.zeros((B, config.n_ctx), int)
    model.forward(longest)
    model.forward(longest[:, :1])
    for name, wrong in {
        "a token of V": (tokens * 0 + config.n_vocab, segments, mask),
        "a token of -1": (tokens * 0 - 1, segments, mask),
        "tokens that are floats": (tokens * 1.0, segments, mask), "T = 0": (tokens[:, :0], None, None),
        "T > n_ctx": (np.zeros((B, config.n_ctx + 1), int), None, None),
        "a segment too many": (tokens, segments * 0 + config.n_segment, mask),
        "a segment of -1": (tokens, segments * 0 - 1, mask),
        "segments of another length": (tokens, np.zeros((B, T + 1), int), mask),
        "segments of another batch": (tokens, np.zeros((B + 1, T), int), mask),
        "a mask of another length": (tokens, segments, np.ones((B, T + 1), bool)),
        "a mask of numbers": (tokens, segments, mask * 1),
    }.items():
        refused(name, model.forward, *wrong)


def frozen_parts_cost_nothing(subject: ModuleSubject, rng: Rng) -> None:
    """With the embeddings and the blocks below the k-th frozen, nothing is kept of them and none of their backwards is
    called; all that is trained has the gradient that it has, to the bit.

    For every k, and with one of the parameters below the stack trained: then nothing of the stack is left out.
    """
    module, weights = subject.module, [p.value for p in subject.values.values()]
    model = module.model.bert if hasattr(module, "model") else module
    prefix = "model.bert." if hasattr(module, "model") else ""
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    subject.backward(dy, cache)
    free, L = {path: p.grad for path, p in subject.parameters.items()}, model.config.n_layer
    below = {f"{prefix}{name}" for name in ("wte", "wpe", "wse", "ln.g", "ln.b")}
    for k, kept in [*((0, {path}) for path in sorted(below)), *((k, set[str]()) for k in range(L + 1))]:
        blocks = tuple(f"{prefix}h.{i}." for i in range(k))
        frozen = {path for path in free if path.startswith(blocks)} | below - kept
        if frozen == set(free):
            continue                                    # there is nothing above the stack
        first = 0 if kept else k
        with subject.frozen(frozen):
            _, cache = subject.forward(subject.arguments)
            c_embedding, c_h = cache[0] if prefix else cache
            if not kept and (c_embedding is not None or memory_of(c_h[:k], weights)):
                raise CheckFailed(f"cache with all below block {k} frozen: expected nothing of it")
            with calls_of(type(model.h[0]).backward) as of_blocks, calls_of(Embedding.backward) as of_tables:
                subject.backward(dy, cache)
        for path, p in subject.parameters.items():
            if path not in frozen:
                identical(f"d{path} with {len(frozen)} of {len(free)} frozen", p.grad, free[path])
        if [call.first for call in of_blocks] != list(reversed(model.h[first:])):
            raise CheckFailed(f"backward from block {k}: expected {L - first} calls, got {len(of_blocks)}")
        if f"{prefix}wpe" not in kept and any(call.first is model.wpe for call in of_tables):
            raise CheckFailed("backward with wpe frozen: expected no call of the positions', which sums over the batch")
        if of_tables and not kept & {f"{prefix}{name}" for name in ("wte", "wpe", "wse")}:
            raise CheckFailed(f"backward with {', '.join(kept) or 'nothing'} trained below the stack: expected no call "
                              "of a table's")
    module.zero_grad()


# ---- what stands on it


def the_first_alone_matters(subject: Subject, rng: Rng) -> None:
    """The vectors after the first change nothing, and have no gradient."""
    x = subject.arguments["x"]
    y, cache = subject.forward(subject.arguments)
    other = np.concatenate([x[:, :1], rng.standard_normal(x[:, 1:].shape)], axis=1)
    identical("y with other vectors after the first", subject.forward(subject.arguments | {"x": other})[0], y)
    dx = subject.backward(upstream(y, rng), cache)["x"]
    identical("dx after the first", dx[:, 1:], np.zeros_like(dx[:, 1:]))


def hidden_words_alone_cost(subject: ModuleSubject, rng: Rng) -> None:
    """loss is the cross-entropy of forward's logits, its gradients are those of the three steps, and what is worked
    out is the rows where something is hidden; without any, it is 0, and so are all gradients."""
    head, x = subject.module, subject.arguments["x"]
    V = len(head.decoder.wte.value)
    targets = rng.integers(0, V, x.shape[:-1])
    few = np.where(rng.random(targets.shape) < 0.5, targets, -100)
    for name, t in {"all": targets, "some": few, "none": targets * 0 - 100}.items():
        logits, cache = subject.forward(subject.arguments)
        expected, c_loss = cross_entropy_forward(logits, t, counted=5)
        gradients = subject.backward(cross_entropy_backward(0.7, c_loss), cache)
        head.zero_grad()
        loss, c_head = head.loss(x, t, counted=5)
        dx = head.loss_backward(0.7, c_head)
        close(f"loss of {name}", loss, expected, EXACT)
        close(f"dx of {name}", dx, gradients.pop("x"), EXACT, floor=1.0)
        for path, gradient in gradients.items():
            close(f"d{path} of {name}", subject.parameters[path].grad, gradient, EXACT, floor=1.0)
        if (n := len(c_head[1][0])) != np.count_nonzero(t != -100):
            raise CheckFailed(f"rows worked out, with {name} hidden: got {n}")
    refused("targets of another shape", head.loss, x, np.zeros(x.shape[:1], int))
    refused("a target of V", head.loss, x, targets * 0 + V)
    refused("a target of -1", head.loss, x, targets * 0 - 1)


def loss_is_the_sum_of_both_means(subject: ModuleSubject, rng: Rng) -> None:
    """loss_and_gradients gives what both logits, two cross-entropies and backward give; loss is without dropout.

    With all asked for, with some, and with nothing; and for a model without the second head.
    """
    whole = subject.module.model
    for model in (whole, _without_pairs(whole)):
        text = tuple(subject.arguments[name] for name in TEXT)
        for share in (1.0, 0.5, 0.0):
            targets, not_next = _answers(model, text[0], share, rng)
            (words, pairs), cache = model.forward(*text, **generator_of(subject))
            of_words, c_words = cross_entropy_forward(words, targets)
            expected, dpairs = of_words, None
            if pairs is not None:
                of_pairs, c_pairs = cross_entropy_forward(pairs, not_next)
                expected, dpairs = of_words + of_pairs, cross_entropy_backward(1.0, c_pairs)
            model.zero_grad()
            model.backward(Logits(cross_entropy_backward(1.0, c_words), dpairs), cache)
            gradients = {path: p.grad for path, p in model.named_parameters()}
            model.zero_grad()
            loss = model.loss_and_gradients(*text, targets, not_next, **generator_of(subject))
            close(f"loss of {share}", loss, expected, EXACT, floor=1.0)
            for path, p in model.named_parameters():
                close(f"d{path} of {share}", p.grad, gradients[path], EXACT, floor=1.0)
            if "rng" not in subject.arguments:
                close(f"the loss alone of {share}", model.loss(*text, targets, not_next), loss, EXACT, floor=1.0)
    whole.zero_grad()


def parts_of_a_batch_add(subject: ModuleSubject, rng: Rng) -> None:
    """The losses and gradients of the rows, each over what is counted in the batch, add up to those of the batch."""
    model, text = subject.module.model, tuple(subject.arguments[name] for name in TEXT)
    targets, not_next = _answers(model, text[0], 0.5, rng)
    batch: Any = (*text, targets, not_next)
    identical("what is counted", model.counted(*batch), [(targets != -100).sum(), (not_next != -100).sum()])
    rows_add(model, batch)


def recomputed_is_stored(subject: ModuleSubject, rng: Rng) -> None:
    """With recompute the loss and all gradients are the same, to the bit, with a second head and without."""
    config, text = subject.module.model.config, tuple(subject.arguments[name] for name in TEXT)
    for pairs in (True, False):
        found = []
        for recompute in (False, True):
            model = BertForPreTraining(config, np.random.default_rng(0), dtype=np.float64, recompute=recompute,
                                       next_sentence=pairs)
            batch = (*text, *_answers(model, text[0], 0.5, np.random.default_rng(1)))
            found.append([model.loss_and_gradients(*batch), *(p.grad for _, p in model.named_parameters())])
        for i, (stored, again) in enumerate(zip(*found)):
            identical(f"loss and gradients, recomputed, number {i}", again, stored)
    plain, again = (BERT(config, np.random.default_rng(0), dtype=np.float64, recompute=r) for r in (False, True))
    (x, cache), (y, kept) = plain.forward(*text), again.forward(*text)
    identical("x of a model that recomputes", y, x)
    dx = upstream(x, rng)
    plain.backward(dx, cache)
    again.backward(dx, kept)
    for (path, p), (_, q) in zip(plain.named_parameters(), again.named_parameters()):
        if p.grad is not None:
            identical(f"d{path}, recomputed", q.grad, p.grad)


def one_table_for_both_uses(subject: ModuleSubject, rng: Rng) -> None:
    """The gradient of the table is that of a head with a table of its own, and that of the embedding alone."""
    model, text = subject.module.model, tuple(subject.arguments[name] for name in TEXT)
    targets, not_next = _answers(model, text[0], 0.5, rng)
    model.zero_grad()
    model.loss_and_gradients(*text, targets, not_next)
    untied = model.replica()
    untied.mlm.decoder.wte = Parameter(model.bert.wte.value)
    untied.loss_and_gradients(*text, targets, not_next)
    close("dwte", model.bert.wte.grad, untied.bert.wte.grad + untied.mlm.decoder.wte.grad, EXACT, floor=1.0)
    model.zero_grad()


def answers_refused(subject: ModuleSubject, rng: Rng) -> None:
    """Targets and answers of another shape, or outside what there is; an answer where there is no head for it."""
    model, text = subject.module.model, tuple(subject.arguments[name] for name in TEXT)
    tokens, (targets, not_next) = text[0], _answers(model, text[0], 1.0, rng)
    for name, wrong in {
        "targets of another length": (targets[:, :-1], not_next), "a target of V": (targets * 0 + 99, not_next),
        "answers of another batch": (targets, np.zeros(len(tokens) + 1, int)),
        "an answer of 2": (targets, not_next * 0 + 2), "an answer of -1": (targets, not_next * 0 - 1),
        "answers for each token": (targets, targets * 0),
    }.items():
        refused(name, model.loss, *text, *wrong)
        refused(f"{name}, with gradients", model.loss_and_gradients, *text, *wrong)
    alone = _without_pairs(model)
    refused("an answer without a head", alone.loss, *text, targets, not_next * 0)
    refused("no answers, of another batch", alone.loss, *text, targets, np.full(len(tokens) + 1, -100))
    identical("what the answers are", [IS_NEXT, NOT_NEXT], [0, 1])
    identical("the loss of lists", model.loss(*text, targets.tolist(), not_next.tolist()),
              model.loss(*text, targets, not_next))


def _x(subject: ModuleSubject) -> Array:
    return subject.forward(subject.arguments)[0]


def _with_gradients(model: BERT, tokens: Array, segments: Array, mask: Array | None, dy: Array,
                    real: Array) -> tuple[Array, dict[str, Array]]:
    """x, and the gradients of dy at the real positions alone."""
    x, cache = model.forward(tokens, segments, mask)
    model.zero_grad()
    model.backward(np.where(real[..., None], dy, 0.0), cache)
    gradients = {path: p.grad for path, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return x, gradients


def _answers(model: BertForPreTraining, tokens: Array, share: float, rng: Rng) -> tuple[Array, Array]:
    """Targets and answers, of which a share is asked for; none of the second kind where there is no head for it."""
    targets, not_next = rng.integers(0, model.config.n_vocab, tokens.shape), rng.integers(0, 2, len(tokens))
    targets[rng.random(targets.shape) >= share] = -100
    not_next[rng.random(not_next.shape) >= (share if model.nsp is not None else 0.0)] = -100
    return targets, not_next


def _without_pairs(model: BertForPreTraining) -> Any:
    """The same model without its second head."""
    other = model.replica()
    other.nsp = other.bert.pooler = None
    return other
