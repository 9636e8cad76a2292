"""Laws of the encoder-decoder: what each side sees of the other, padding, writing step by step, the one table."""

from typing import Any

import numpy as np

from ...hints import Array, Cache, Rng
from ...layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from ...layers.module import Parameter
from ...models.transformer import Transformer
from ..checks import Arguments, CheckFailed, ModuleSubject, close, identical, refused, upstream
from .common import EXACT


def every_word_of_the_source_matters(subject: ModuleSubject, rng: Rng) -> None:
    """A change of a real token of the source changes the logits of every position of its row, and of no other row."""
    source, mask = subject.arguments["source"], subject.arguments["source_mask"]
    V = subject.module.config.n_vocab
    logits, _ = subject.forward(subject.arguments)
    for b, s in np.argwhere(mask):
        changed = source.copy()
        changed[b, s] = (changed[b, s] + 1) % V
        changed_logits, _ = subject.forward(subject.arguments | {"source": changed})
        identical(f"logits of other rows than {b}", np.delete(changed_logits, b, 0), np.delete(logits, b, 0))
        seen, few = np.abs(changed_logits[b] - logits[b]).max(axis=-1) > 0, mask.sum() * logits.shape[1] < 100
        if few and V > 1 and not seen.all():            # of many, some weigh less than rounding
            raise CheckFailed(f"logits of row {b}: expected that all positions see a change of the source at {s}")


def padding_of_the_source_does_not_matter(subject: ModuleSubject, rng: Rng) -> None:
    """Other ids at padding, and more padding: the same logits, loss and gradients; padded rows are as each alone."""
    model, source, mask, tokens = subject.module, *(subject.arguments[n] for n in ("source", "source_mask", "tokens"))
    V, n_ctx = model.config.n_vocab, model.config.n_ctx
    targets = rng.integers(0, V, tokens.shape)
    loss, gradients = _loss_and_gradients(model, source, mask, tokens, targets)
    logits, _ = model.forward(source, mask, tokens)
    other = np.where(mask, source, rng.integers(0, V, source.shape))
    identical("logits with other padding", model.forward(other, mask, tokens)[0], logits)
    more = min(2, n_ctx - source.shape[1])
    wide = np.concatenate([source, rng.integers(0, V, (len(source), more))], axis=1)
    wide_mask = np.concatenate([mask, np.zeros((len(source), more), bool)], axis=1)
    unmasked, _ = model.forward(source, np.ones_like(mask), tokens)
    identical("logits without a mask", model.forward(source, None, tokens)[0], unmasked)
    nexts = [_next(model, source, given, tokens) for given in (None, np.ones_like(mask))]
    identical("next logits without a mask", *nexts)
    close("logits with more padding", model.forward(wide, wide_mask, tokens)[0], logits, 1e-12)
    wide_loss, wide_gradients = _loss_and_gradients(model, wide, wide_mask, tokens, targets)
    close("loss with more padding", wide_loss, loss, 1e-12)
    for path, gradient in gradients.items():
        close(f"d{path} with more padding", wide_gradients[path], gradient, 1e-12, floor=1.0)
    for b in range(len(source)):
        if mask[b].any() and mask[b, :mask[b].sum()].all():         # a row padded on the right
            alone, _ = model.forward(source[b:b + 1, :mask[b].sum()], None, tokens[b:b + 1])
            close(f"logits of row {b} alone", logits[b:b + 1], alone, 1e-12)


def padding_of_the_target_does_not_matter(subject: ModuleSubject, rng: Rng) -> None:
    """Targets of -100 at the end of a row: what the tokens there are changes neither the loss nor a gradient."""
    model, source, mask, tokens = subject.module, *(subject.arguments[n] for n in ("source", "source_mask", "tokens"))
    V, T = model.config.n_vocab, tokens.shape[1]
    targets = rng.integers(0, V, tokens.shape)
    ends = rng.integers(1, T + 1, len(tokens))
    targets[np.arange(T) >= ends[:, None]] = -100
    loss, gradients = _loss_and_gradients(model, source, mask, tokens, targets)
    other = np.where(np.arange(T) < ends[:, None], tokens, rng.integers(0, V, tokens.shape))
    other_loss, other_gradients = _loss_and_gradients(model, source, mask, other, targets)
    close("loss with other tokens at the end", other_loss, loss, EXACT)
    for path, gradient in gradients.items():
        close(f"d{path} with other tokens at the end", other_gradients[path], gradient, EXACT, floor=1.0)


def stepwise_is_teacher_forced(subject: ModuleSubject, rng: Rng) -> None:
    """Token by token, with own keys and values and the memory's kept: the logits of one forward, whatever is cached."""
    model, source, mask, tokens = subject.module, *(subject.arguments[n] for n in ("source", "source_mask", "tokens"))
    (B, T), given = tokens.shape, model.given(source, mask)
    logits, _ = model.forward(source, mask, tokens)
    for first in range(1, T + 1):
        past = given.new_past(B, T)
        close(f"logits of the first {first}", given.next_logits(tokens[:, :first], past, last=first),
              logits[:, :first], 1e-12)
        for t in range(first, T):
            close(f"logits at {t}", given.next_logits(tokens[:, t:t + 1], past), logits[:, t:t + 1], 1e-12)
        refused("tokens beyond the past's room", given.next_logits, tokens[:, :1], past)
    past = given.new_past(B, T)
    given.next_logits(tokens, past)
    for layer in past:
        layer.forget(0)
    rows = [*range(B)][::-1] * 2
    chosen = [layer.select(rows) for layer in past]
    close("logits of selected rows", given.next_logits(tokens[rows], chosen, last=T), logits[rows], 1e-12)
    pads = np.minimum(np.arange(B) % 3, T - 1)          # columns of padding on the left of each row
    wide = np.stack([np.concatenate([np.zeros(p, int), row[:T - p]]) for p, row in zip(pads, tokens)])
    padded = given.next_logits(wide, given.new_past(B, T), np.arange(T) >= pads[:, None], last=T)
    for b, p in enumerate(pads):
        close(f"logits of row {b}, with {p} of padding", padded[b, p:], logits[b, :T - p], 1e-12)
    refused("more texts than sources", given.new_past, B + 1, T)
    for n in (1, model.config.n_ctx):
        given.new_past(B, n)
    for n in (0, model.config.n_ctx + 1):
        refused(f"a past of {n}", given.new_past, B, n)
    past = given.new_past(B, T)
    bad_input: dict[str, Arguments] = {
        "a mask of another length": {"padding_mask": np.ones((B, 2), bool)}, "a last of 2": {"last": 2},
        "a past of more blocks": {"past": past * 2}}
    for name, wrong in bad_input.items():
        refused(name, given.next_logits, **({"tokens": tokens[:, :1], "past": past} | wrong))
        identical(f"the length of the past after {name}", past[0].length, 0)


def the_tables_gradient_is_a_sum(subject: ModuleSubject, rng: Rng) -> None:
    """The gradient of the one table is that of a head with a table of its own, and that of the embeddings alone."""
    model, source, mask, tokens = subject.module, *(subject.arguments[n] for n in ("source", "source_mask", "tokens"))
    logits, cache = model.forward(source, mask, tokens)
    dlogits = upstream(logits, rng)
    model.zero_grad()
    model.backward(dlogits, cache)
    untied = model.replica()
    untied.lm_head.wte = Parameter(model.wte.value)
    _, cache = untied.forward(source, mask, tokens)
    untied.backward(dlogits, cache)
    close("dwte", model.wte.grad, untied.wte.grad + untied.lm_head.wte.grad, EXACT, floor=1.0)
    used = np.zeros(len(model.wte.value), bool)
    used[np.concatenate([source[mask], tokens.reshape(-1)])] = True
    identical("dwte of words that neither side has", untied.wte.grad[~used], np.zeros_like(untied.wte.grad[~used]))


def smoothed_in_training_alone(subject: ModuleSubject, rng: Rng) -> None:
    """loss_and_gradients is forward, smoothed cross-entropy and backward; loss is without smoothing and dropout."""
    model, source, mask, tokens = subject.module, *(subject.arguments[n] for n in ("source", "source_mask", "tokens"))
    targets = rng.integers(0, model.config.n_vocab, tokens.shape)
    targets[0, 0] = -100
    plain, _ = cross_entropy_forward(model.forward(source, mask, tokens)[0], targets)
    logits, cache = subject.forward(subject.arguments)
    counted, found = model.counted(source, mask, tokens, targets), model.label_smoothing
    for smoothing in (0.0, 0.3):
        model.label_smoothing = smoothing
        try:
            close("the loss alone", model.loss(source, mask, tokens, targets), plain, EXACT)
            loss, gradients = _loss_and_gradients(model, source, mask, tokens, targets, _generator(subject))
            parts = [model.loss_and_gradients(source[b:b + 1], mask[b:b + 1], tokens[b:b + 1], targets[b:b + 1],
                                              counted=counted) for b in range(len(tokens))]
        finally:
            model.label_smoothing = found
        logits, cache = subject.forward(subject.arguments)
        expected, c_loss = cross_entropy_forward(logits, targets, smoothing)
        close(f"loss smoothed by {smoothing}", loss, expected, EXACT)
        if "rng" not in subject.arguments:
            close("loss of the parts", sum(parts), loss, EXACT)
        for path, gradient in subject.backward(cross_entropy_backward(1.0, c_loss), cache).items():
            close(f"d{path} smoothed by {smoothing}", gradients[path], gradient, EXACT, floor=1.0)


def frozen_sides_cost_nothing(subject: ModuleSubject, rng: Rng) -> None:
    """With the table and a side frozen, what is trained has its gradients; a frozen encoder keeps no cache at all."""
    model, source, mask, tokens = subject.module, *(subject.arguments[n] for n in ("source", "source_mask", "tokens"))
    logits, cache = model.forward(source, mask, tokens, _generator(subject))
    dlogits = upstream(logits, rng)
    model.zero_grad()
    model.backward(dlogits, cache)
    free = {path: p.grad for path, p in model.named_parameters()}
    parameters = dict(model.named_parameters())
    found = {path: p.trainable for path, p in parameters.items()}
    try:
        for trained in ("encoder.", "decoder.", "decoder.0.mlp", "encoder.0.ln_1", "ln_encoder."):
            if not any(path.startswith(trained) for path in parameters):
                continue                                # there are no norms after the stacks
            for path, parameter in parameters.items():
                parameter.trainable, parameter.grad = path.startswith(trained), None
            _, cache = model.forward(source, mask, tokens, _generator(subject))
            (c_encode, _), _ = cache
            if (c_encode is None) is ("encoder" in trained):
                raise CheckFailed(f"cache of the encoder with {trained} trained: got {type(c_encode).__name__}")
            model.backward(dlogits, cache)
            for path, parameter in parameters.items():
                if parameter.trainable:
                    close(f"d{path} with {trained} trained", parameter.grad, free[path], EXACT, floor=1.0)
                elif parameter.grad is not None:
                    raise CheckFailed(f"d{path} with {trained} trained: expected None for a frozen parameter")
    finally:
        for path, parameter in parameters.items():
            parameter.trainable = found[path]


def sources_refused(subject: ModuleSubject, rng: Rng) -> None:
    """Ids outside the vocabulary, too many of them, masks of other shapes or kinds, on either side."""
    model, source, mask, tokens = subject.module, *(subject.arguments[n] for n in ("source", "source_mask", "tokens"))
    V, n_ctx = model.config.n_vocab, model.config.n_ctx
    long = np.zeros((len(source), n_ctx + 1), int)
    for name, wrong in {
        "a source id of V": (source * 0 + V, mask, tokens), "a source id of -1": (source * 0 - 1, mask, tokens),
        "a source too long": (long, None, tokens), "no source": (source[:, :0], None, tokens),
        "a target id of V": (source, mask, tokens * 0 + V), "a target too long": (source, mask, long),
        "a mask of another shape": (source, mask[:, :-1], tokens), "a mask of numbers": (source, mask * 1, tokens),
    }.items():
        refused(name, model.forward, *wrong)
        refused(f"{name}, with a loss", model.loss_and_gradients, *wrong, tokens)
    refused("targets of another length", model.loss_and_gradients, source, mask, tokens, tokens[:, :-1])


def what_was_looked_at(subject: ModuleSubject, rng: Rng) -> None:
    """p is that of the last block's cross-attention, the mean over its heads: no padding is seen, rows sum to 1."""
    model, source, mask, tokens = subject.module, *(subject.arguments[n] for n in ("source", "source_mask", "tokens"))
    attention, seen = model.decoder[-1].cross_attn, []

    def watched(*arguments: Array, **options: Any) -> tuple[Array, Cache]:
        y, cache = type(attention).forward(attention, *arguments, **options)
        seen.append(attention.weights(cache))
        return y, cache

    recompute, model.decoder.recompute = model.decoder.recompute, False
    attention.forward = watched                         # of this one object
    try:
        p = model.looked_at(source, mask, tokens)
    finally:
        del attention.forward
    identical("how often it was looked", len(seen), 1)
    identical("p", p, seen[0].mean(axis=1))
    identical("p at padding", np.where(mask[:, None], 0, p), np.zeros_like(p))
    close("row sums of p", p.sum(axis=-1), np.ones(tokens.shape), EXACT)
    identical("what it sees", (model.n_ctx, model.source_end), (model.config.n_ctx, model.config.source_end))
    model.decoder.recompute = True
    refused("blocks that are run again, whose caches hold no weights", model.looked_at, source, mask, tokens)
    model.decoder.recompute = recompute


def _loss_and_gradients(model: Transformer, source: Array, mask: Array | None, tokens: Array, targets: Array,
                        rng: Rng | None = None) -> tuple[Array, dict[str, Array | None]]:
    model.zero_grad()
    loss = model.loss_and_gradients(source, mask, tokens, targets, rng=rng)
    gradients = {path: p.grad for path, p in model.named_parameters()}
    model.zero_grad()
    return loss, gradients


def _generator(subject: ModuleSubject) -> Rng | None:
    return np.random.default_rng(subject.arguments["rng"]) if "rng" in subject.arguments else None


def _next(model: Transformer, source: Array, mask: Array | None, tokens: Array) -> Array:
    given = model.given(source, mask)
    return given.next_logits(tokens, given.new_past(len(tokens), tokens.shape[1]), last=tokens.shape[1])
