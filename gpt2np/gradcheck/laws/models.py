"""Laws of GPT-2: what it makes of tokens, whatever of it is trained."""

import dataclasses
import itertools
from typing import Any

import numpy as np

from ...hints import Array, Rng
from ...layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from ...layers.embedding import Embedding, add_rows
from ...layers.module import Parameter
from ..checks import (
    Arguments,
    CheckFailed,
    ModuleSubject,
    Subject,
    calls_of,
    close,
    derivative,
    identical,
    memory_of,
    refused,
    upstream,
)
from .common import EXACT, generator_of, rows_add


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
    without_dropout, _ = cross_entropy_forward(logits, targets)
    close("the loss alone", subject.module.loss(tokens, targets), without_dropout, EXACT)
    logits, cache = subject.forward(subject.arguments)
    loss, c_loss = cross_entropy_forward(logits, targets)
    expected = subject.backward(cross_entropy_backward(1.0, c_loss), cache)
    for frozen in (set(), {"wte"}):
        subject.module.zero_grad()
        with subject.frozen(frozen), calls_of(Parameter.accumulate) as offered:
            close("loss", subject.module.loss_and_gradients(tokens, targets, **generator_of(subject)), loss, EXACT)
            gradients = subject.gradients()
        for path, gradient in gradients.items():
            close(f"d{path} of the loss", gradient, expected[path], EXACT, floor=1.0)
        if frozen and any(call.first is subject.parameters["wte"] for call in offered):
            raise CheckFailed("wte, frozen: expected that no gradient is made for it, got one")


def padded_rows_train_as_alone(subject: ModuleSubject, rng: Rng) -> None:
    """hidden with padding on the left: each row, and the gradients, as if the rows were alone."""
    model, tokens = subject.module, subject.arguments["tokens"]
    B, T = tokens.shape
    pads = np.minimum(np.arange(B) % 3, T - 1)
    mask = np.arange(T) >= pads[:, None]
    wide = np.stack([np.concatenate([np.zeros(p, int), row[:T - p]]) for p, row in zip(pads, tokens)])
    x, cache = model.hidden(wide, padding_mask=mask)
    dy = np.where(mask[..., None], upstream(x, rng), 0.0)
    model.zero_grad()
    model.hidden_backward(dy, cache)
    together = {path: p.grad for path, p in subject.parameters.items() if p.trainable}
    model.zero_grad()
    for b, p in enumerate(pads):
        alone, cache = model.hidden(tokens[b:b + 1, :T - p])
        close(f"x of row {b}, with {p} of padding", x[b, p:], alone[0], 1e-12)
        model.hidden_backward(dy[b:b + 1, p:], cache)
    for path, gradient in together.items():
        close(f"d{path} of padded rows", gradient, subject.parameters[path].grad, 1e-12, floor=1.0)


def parts_of_a_batch_add(subject: ModuleSubject, rng: Rng) -> None:
    """Losses and gradients of the rows of a batch, each told what the whole counts, add up to those of the batch."""
    model, inputs = subject.module, [a for a in subject.inputs.values() if isinstance(a, np.ndarray)]
    targets = rng.integers(0, model.wte.value.shape[0], subject.inputs["tokens"].shape)
    targets[0, :1] = -100
    rows_add(model, (*inputs, targets))


def frozen_blocks_cost_nothing(subject: ModuleSubject, rng: Rng) -> None:
    """With the embeddings and the blocks below the k-th frozen, nothing is kept of them and none of their backwards is
    called; all that is trained has the gradient that it has, to the bit.

    For every k, and with one of the two embeddings trained: then nothing of the stack is left out.
    """
    model, tokens = subject.module, subject.arguments["tokens"]
    L, weights = model.config.n_layer, [p.value for p in subject.values.values()]
    targets = rng.integers(0, model.config.n_vocab, tokens.shape)
    model.zero_grad()
    loss = model.loss_and_gradients(tokens, targets, **generator_of(subject))
    free = subject.gradients()
    _, (_, of_h, of_ln_f) = model.hidden(tokens, **generator_of(subject))
    embeddings = {"wte", "wpe"}
    for k, kept in [(0, {"wte"}), (0, {"wpe"}), *((k, set()) for k in range(L + 1))]:
        frozen = {path for path in free if path.startswith(tuple(f"h.{i}." for i in range(k)))} | embeddings - kept
        what, first = f"with {len(frozen)} of {len(free)} parameters frozen", 0 if kept else k
        model.zero_grad()
        with subject.frozen(frozen):
            with (calls_of(type(model.h[0]).backward) as of_blocks, calls_of(Embedding.backward) as of_embeddings,
                  calls_of(add_rows) as rows_added):
                identical(f"loss {what}", model.loss_and_gradients(tokens, targets, **generator_of(subject)), loss)
            gradients = subject.gradients()
            _, cache = model.hidden(tokens, **generator_of(subject))
        for path, gradient in gradients.items():
            identical(f"d{path} {what}", gradient, free[path])
        if [call.first for call in of_blocks] != list(reversed(model.h[first:])):
            raise CheckFailed(f"backward {what}: expected {L - first} calls, got {len(of_blocks)}")
        if kept != {"wpe"} and any(call.first is model.wpe for call in of_embeddings):
            raise CheckFailed(f"backward {what}: expected no call of the positions', which sums over the batch")
        if not kept and (rows_added or of_embeddings):
            raise CheckFailed(f"backward {what}: expected that nothing is done for the embeddings")
        if not kept and (cache[0] is not None or memory_of(cache, weights) > memory_of([of_h[k:], of_ln_f], weights)):
            raise CheckFailed(f"cache {what}: expected no array of what is below block {k}")


def hidden_gives_the_gradient_by_the_embeddings(subject: ModuleSubject, rng: Rng) -> None:
    """hidden_backward gives dx by wte[tokens] + wpe[positions] where it is asked for, whatever is frozen, and where one
    of the two tables is trained; otherwise nothing.

    Seen through wpe, which adds a vector at each position: of a single text, dx is the gradient by these.
    """
    model = subject.module
    one = ModuleSubject(model, model.forward, subject.inputs | {"tokens": subject.inputs["tokens"][:1]})
    logits, _ = one.forward(one.arguments)
    dlogits, v = upstream(logits, rng), rng.standard_normal(model.wpe.value.shape)
    dx = _dx(one, dlogits, needs_dx=True)
    forward, backward = derivative(one, {"wpe": v}) * dlogits, v[:logits.shape[1]] * dx[0]
    close("<v, dx>", backward.sum(), forward.sum(), EXACT, scale=np.abs(forward).sum() + np.abs(backward).sum())
    for frozen in (set(), {"wte", "wpe"}, set(one.parameters)):
        with one.frozen(frozen):
            identical(f"dx with {len(frozen)} parameters frozen", _dx(one, dlogits, needs_dx=True), dx)
            if (_dx(one, dlogits) is None) is not bool(frozen):
                raise CheckFailed(f"dx with {len(frozen)} parameters frozen: expected it where the embeddings need it")
    for path in ("wte", "wpe"):
        with one.frozen({path}):
            identical(f"dx with {path} frozen", _dx(one, dlogits), dx)


def _dx(subject: ModuleSubject, dlogits: Array, needs_dx: bool = False) -> Any:
    """What hidden_backward gives, of dlogits."""
    model = subject.module
    x, c_hidden = model.hidden(subject.inputs["tokens"], needs_dx=needs_dx, **generator_of(subject))
    _, c_head = model.lm_head.forward(x)
    return model.hidden_backward(model.lm_head.backward(dlogits, c_head), c_hidden)


def five_blocks_have_gradients_of_their_own(subject: ModuleSubject, rng: Rng) -> None:
    """No two gradients share memory, in a model of five blocks too."""
    model = type(subject.module)(dataclasses.replace(subject.module.config, n_layer=5), rng, dtype=np.float64)
    model.loss_and_gradients(subject.arguments["tokens"], subject.arguments["tokens"])
    gradients = [(path, p.grad) for path, p in model.named_parameters()]
    for (path, gradient), (other, gradient_of_other) in itertools.combinations(gradients, 2):
        if np.shares_memory(gradient, gradient_of_other):
            raise CheckFailed(f"d{path}: expected memory of its own, got that of d{other}")


def recomputed_is_stored(subject: ModuleSubject, rng: Rng) -> None:
    """With recompute, of each block only its input is kept; logits and gradients are the same, to the bit."""
    tokens, GPT2 = subject.arguments["tokens"], type(subject.module)
    for rate in (0.0, 0.5):
        gradients = []
        for recompute in (False, True):
            model = GPT2(subject.module.config, np.random.default_rng(0), rate, np.float64, recompute)
            logits, cache = model.forward(tokens, np.random.default_rng(1))
            kept = memory_of(cache[0][1], [p.value for _, p in model.named_parameters()])
            if recompute and kept != model.config.n_layer * tokens.size * model.config.n_embd:
                raise CheckFailed(f"caches of the blocks: expected the input of each, got {kept} numbers")
            model.backward(np.sin(logits), cache)
            gradients.append({path: p.grad for path, p in model.named_parameters()})
        for path in gradients[0]:
            identical(f"d{path} with dropout {rate}", gradients[1][path], gradients[0][path])
