"""Laws of the heads: whatever stands below, whatever is asked, alone and among others."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...hints import Array, Rng
from ...layers.embedding import Embedding
from ...models.bert import BERT
from ...models.heads import SIGMOID, SOFTMAX, SQUARED, AnswerFinder, Classifier, TokenClassifier
from ..checks import CheckFailed, ModuleSubject, calls_of, close, identical, memory_of, refused, upstream
from .common import EXACT, generator_of, rows_add


def loss_is_forward_and_objective(subject: ModuleSubject, rng: Rng) -> None:
    """loss_and_gradients gives the loss and the gradients of the three steps: forward, objective, backward.

    loss gives the loss alone, without dropout and label smoothing.
    """
    for model, (*text, targets) in [*_batches(subject, rng), *_smoothed(subject, rng)]:
        smoothing = {"label_smoothing": 0.3} if model.label_smoothing else {}
        model.zero_grad()
        logits, cache = model.forward(*text, **generator_of(subject))
        expected, c_loss = model.objective.forward(logits, targets, **smoothing)
        model.backward(model.objective.backward(1.0, c_loss), cache)
        gradients = {path: p.grad for path, p in model.named_parameters()}
        model.zero_grad()
        loss = model.loss_and_gradients(*text, targets, **generator_of(subject))
        close("loss", loss, expected, EXACT, floor=1.0)
        for path, p in model.named_parameters():
            close(f"d{path} of the loss", p.grad, gradients[path], EXACT, floor=1.0)
        without, _ = model.objective.forward(model.forward(*text)[0], targets)
        close("the loss alone", model.loss(*text, targets.tolist()), without, EXACT, floor=1.0)
        model.zero_grad()


def parts_of_a_batch_add(subject: ModuleSubject, rng: Rng) -> None:
    """The losses and gradients of the rows, each over what is counted in the batch, add up to those of the batch."""
    for model, batch in _batches(subject, rng):
        identical("what is counted", model.counted(*batch),
                  batch[-1].size if model.objective == SQUARED else (batch[-1] != -100).sum())
        rows_add(model, batch)


def padded_rows_are_as_alone(subject: ModuleSubject, rng: Rng) -> None:
    """With padding on the right, and on the left below a GPT-2: logits, loss and gradients of the rows alone.

    Whatever ids and segments stand at padding.
    """
    for model, (tokens, segments, _, targets) in _batches(subject, rng):
        B, T = tokens.shape
        lengths = np.maximum(1, T - np.arange(B) % 3)
        for left in (False, True)[:1 if isinstance(model.body, BERT) else 2]:
            mask = np.arange(T) < lengths[:, None]
            mask = mask[:, ::-1] if left else mask
            wide, others = rng.integers(0, model.body.config.n_vocab, (B, T)), np.where(mask, 0, segments)
            for b, n in enumerate(lengths):
                wide[b, mask[b]], others[b, mask[b]] = tokens[b, :n], segments[b, :n]
            batch: tuple[Array, ...] = (wide, others, mask, _moved(model, targets, mask))
            counted, alone, losses = model.counted(*batch), list[Array](), []
            model.zero_grad()
            for b in range(B):
                row = (wide[b:b + 1, mask[b]], others[b:b + 1, mask[b]], None)
                own = batch[3][b:b + 1, mask[b]] if _of_tokens(model) else batch[3][b:b + 1]
                if isinstance(model, AnswerFinder):
                    own = np.where(own == -100, -100, own - (T - lengths[b] if left else 0))
                alone.append(model.forward(*row)[0][0])
                losses.append(model.loss_and_gradients(*row, own, counted=counted))
            gradients = {path: p.grad for path, p in model.named_parameters()}
            logits, _ = model.forward(*batch[:3])
            for b in range(B):
                seen = logits[b, mask[b]] if _of_tokens(model) else logits[b]
                if isinstance(model, AnswerFinder):
                    seen = logits[b][:, mask[b]]
                    if (logits[b][:, ~mask[b]] > -1e29).any():
                        raise CheckFailed(f"logits of padding: expected none above -10^29, got {logits[b]}")
                close(f"logits of row {b}, padded on the {'left' if left else 'right'}", seen, alone[b], 1e-12,
                      floor=1.0)
            model.zero_grad()
            close("loss of padded rows", model.loss_and_gradients(*batch), sum(losses), 1e-12, floor=1.0)
            for path, p in model.named_parameters():
                close(f"d{path} of padded rows", p.grad, gradients[path], 1e-12, floor=1.0)
            model.zero_grad()


def all_of_a_text_matters(subject: ModuleSubject, rng: Rng) -> None:
    """Without a mask all tokens are real: the logits change with the last, and with the first."""
    model, tokens = subject.module, subject.arguments["tokens"]
    V = model.body.config.n_vocab
    logits, _ = model.forward(tokens)
    identical("logits with a mask of real tokens", model.forward(tokens, None, np.ones(tokens.shape, bool))[0], logits)
    for t in (0, -1) if V > 1 else ():
        changed = tokens.copy()
        changed[:, t] = (changed[:, t] + 1) % V
        moved = np.abs(model.forward(changed)[0] - logits).reshape(len(tokens), -1).max(axis=1)
        if not (moved > 0).all():
            raise CheckFailed(f"logits after a change of token {t}: expected others in each row, got {moved}")


def a_frozen_body_costs_nothing(subject: ModuleSubject, rng: Rng) -> None:
    """Nothing of it is kept, and no backward of it is called; the head's gradients are what they are, to the bit.

    And where one parameter of the body is trained, it has its gradient.
    """
    model, weights = subject.module, [p.value for p in subject.values.values()]
    y, cache = subject.forward(subject.arguments)
    dy = upstream(y, rng)
    free, body = subject.backward(dy, cache), {path for path in subject.parameters if path.startswith("body.")}
    with subject.frozen(body):
        _, cache = subject.forward(subject.arguments)
        kept = memory_of(cache, weights)
        with (calls_of(type(model.body).hidden_backward, type(model.body).pooled_backward) as of_body,
              calls_of(Embedding.backward) as of_tables):
            gradients = subject.backward(dy, cache)
    if of_body or any(call.first is not model.head.wte for call in of_tables):
        raise CheckFailed("backward of a frozen body: expected no call")
    most = 3 * y.size + 4 * len(y) * max(1, y.size // (len(y) * len(model.labels) or 1)) * model.body.config.n_embd
    if kept > most:
        raise CheckFailed(f"cache above a frozen body: expected what the head keeps, got {kept} numbers, over {most}")
    for path, gradient in gradients.items():
        identical(f"d{path} on a frozen body", gradient, free[path])
    for path in sorted(body):
        with subject.frozen(body - {path}):
            _, cache = subject.forward(subject.arguments)
            identical(f"d{path}, which alone is trained of the body", subject.backward(dy, cache)[path], free[path])


def batches_refused(subject: ModuleSubject, rng: Rng) -> None:
    """Targets of another shape, or outside what there is; masks and segments that are none."""
    for model, (tokens, segments, mask, targets) in _batches(subject, rng):
        B, T = tokens.shape
        mask = np.arange(T) < np.maximum(1, T - 1 - np.arange(B) % 2)[:, None]
        targets = _moved(model, targets, mask)
        model.loss(tokens, segments, mask, targets)
        model.loss(tokens.tolist(), None, mask.tolist(), targets.tolist())
        wrong = {"targets of another batch": np.concatenate([targets, targets]),
                 "targets of one axis more": targets[..., None]}
        if targets.ndim > 1:
            wrong["targets of one axis less"] = targets[:, 0]
        if model.objective == SOFTMAX:
            wrong |= {"a target of -1": targets * 0 - 1, "a target too many": targets * 0 + max(T, len(model.labels)),
                      "targets that are floats": targets * 1.0}
        else:
            wrong |= {"a target that is no number": targets * np.nan}
        if model.objective == SIGMOID:
            wrong |= {"a target of 2": targets * 0 + 2}
        if T > 1 and isinstance(model, AnswerFinder):
            real = np.zeros_like(targets)
            wrong |= {"an answer at padding": real + [0, T - 1], "an answer that begins at padding": real + T - 1,
                      "an end before its start": real[:, ::-1] + [1, 0], "an end alone": real + [-100, 0],
                      "a start alone": real + [0, -100]}
        elif T > 1 and isinstance(model, TokenClassifier):
            wrong |= {"a label at padding": np.where(mask, targets, 0)}
        shape = model.forward(tokens, segments, mask)[0].shape
        for name, its in wrong.items():
            refused(name, model.loss, tokens, segments, mask, its)
            refused(f"{name}, with gradients", model.loss_and_gradients, tokens, segments, mask, its)
            refused(f"{name}, before it moves to a device", model.check_targets, its, shape, mask)
        for name, text in {
            "a mask of another length": (segments, np.ones((B, T + 1), bool)), "a mask of numbers": (None, mask * 1),
            "a row of padding alone": (segments, mask & (np.arange(B) > 0)[:, None]),
            "segments of another length": (np.zeros((B, T + 1), int), mask),
            "a segment too many": (segments * 0 + getattr(model.body.config, "n_segment", 1), mask),
        }.items():
            refused(name, model.loss, tokens, *text, targets)
        if isinstance(model.body, BERT) and T > 1 and not isinstance(model, TokenClassifier):
            refused("padding before [CLS]", model.forward, tokens, None, np.arange(T) + np.zeros((B, 1)) > 0)


def the_wrong_row_is_named(subject: ModuleSubject, rng: Rng) -> None:
    """What is right is taken, be it the first token, a single one, or none; of what is wrong, the first is named."""
    model, mask = subject.module, np.array([[True] * 3, [True, False, False], [False, True, True], [True] * 3])
    if isinstance(model, AnswerFinder):
        right, wrong, bad = np.array([[1, 2], [0, 0], [-100, -100], [2, 2]]), np.array([[0, 1], [2, 1]]), "row"
    elif isinstance(model, TokenClassifier):
        right, wrong, bad = np.where(mask, 1, -100), np.array([[1, 1], [1, 1]]), "index"
    else:
        return
    shape = (4, 2, 3) if isinstance(model, AnswerFinder) else (4, 3, 2)
    model.check_targets(right, shape, mask)
    model.check_targets(right, shape, None)
    for b, its in ((1, wrong[0]), (2, wrong[0])):
        targets = right.copy()
        targets[b, :2] = its
        where = f"row {b}" if bad == "row" else f"index ({b}, {2 - b})"
        try:
            model.check_targets(targets, shape, mask)
        except ValueError as error:
            if where not in str(error):
                raise CheckFailed(f"what is wrong in row {b}: expected {where} in the message, got {error}") from None
        else:
            raise CheckFailed(f"what is wrong in row {b}: expected ValueError")
    if isinstance(model, AnswerFinder):
        refused("an end before its start", model.check_targets, right[:, ::-1], shape, None)


def padding_is_no_answer(subject: ModuleSubject, rng: Rng) -> None:
    """What dlogits is at padding changes no gradient, for its logit is a constant; and it has the shape of the logits.
    """
    model, tokens = subject.module, subject.arguments["tokens"]
    B, T = tokens.shape
    mask = np.arange(T) < np.maximum(1, T - 1 - np.arange(B) % 2)[:, None]
    found, dlogits = [], rng.standard_normal((B, 2, T))
    for dy in (dlogits, np.where(mask[:, None], dlogits, 0)):
        model.zero_grad()
        model.backward(dy, model.forward(tokens, None, mask)[1])
        found.append({path: p.grad for path, p in model.named_parameters()})
    for path, gradient in found[0].items():
        identical(f"d{path} of what is at padding", gradient, found[1][path])
    model.zero_grad()
    if T > 1:
        refused("dlogits of one token", model.backward, dlogits[..., :1], model.forward(tokens, None, mask)[1])


def labels_refused(subject: ModuleSubject, rng: Rng) -> None:
    """No labels, the same twice, one to choose from; a rate of 1; a head on whole texts without a pooler; label
    smoothing but where one label is right.
    """
    model, body = subject.module, subject.module.body
    if isinstance(model, AnswerFinder):
        if model.labels != ("start", "end"):
            raise CheckFailed(f"labels: expected start and end, got {model.labels}")
        refused("a rate of 1", AnswerFinder, body, dropout=1.0)
        return
    for name, labels in {"no labels": [], "a label twice": ["a", "b", "a"], "one label to choose from": ["a"]}.items():
        refused(name, type(model), body, labels)
    refused("a rate of 1", type(model), body, ["a", "b"], dropout=1.0)
    if type(model) is Classifier:
        for objective in (SIGMOID, SQUARED):
            Classifier(body, ["a"], objective=objective)        # of its own there may be one
            refused("smoothing of what is no choice", Classifier, body, ["a"], objective=objective, label_smoothing=0.1)
        if isinstance(body, BERT):
            other = BERT(body.config, dtype=np.float64, pooler=False)
            refused("a body without a pooler", Classifier(other, ["a", "b"]).forward, subject.arguments["tokens"])
            refused("its backward", other.pooled_backward, np.zeros((1, 1)), None)


def begins_near_0(subject: ModuleSubject, rng: Rng) -> None:
    """w is drawn from N(0, 0.02^2), b is 0; without a generator both are 0; a bias where the body, or the token, has
    one."""
    body, labels = subject.module.body, [str(i) for i in range(200)]
    kind = type(subject.module)
    for generator, std in ((rng, 0.02), (None, 0.0)):
        model = kind(body, generator) if kind is AnswerFinder else kind(body, labels, generator)
        w = model.head.wte.value
        if abs(w.std() - std) > (0.02 if kind is AnswerFinder else 0.003) or w.shape != (len(model.labels),
                                                                                      body.config.n_embd):
            raise CheckFailed(f"w: expected a deviation of {std}, got {w.std()} in {w.shape}")
        biased = isinstance(body, BERT) or kind is not Classifier
        if (model.head.b is not None) is not biased or (biased and model.head.b.value.any()):
            raise CheckFailed(f"b: expected {'zeros' if biased else 'none'}")


def _batches(subject: ModuleSubject, rng: Rng) -> Iterator[tuple[Any, tuple[Array, ...]]]:
    """The model with each objective that it may have, and a batch for it, in which some targets do not count."""
    tokens = subject.arguments["tokens"]
    (B, T), K = tokens.shape, len(subject.module.labels)
    segments = subject.arguments.get("segments", np.zeros((B, T), int))
    mask = subject.arguments.get("padding_mask", np.ones((B, T), bool))
    skipped, targets = rng.random(B) < 0.3, np.empty(0)
    if isinstance(subject.module, AnswerFinder):
        targets = np.sort(rng.integers(0, T, (B, 2)), axis=1)
        targets[skipped] = -100
        yield subject.module, (tokens, segments, mask, _moved(subject.module, targets, mask))
        return
    if isinstance(subject.module, TokenClassifier):
        targets = np.where(rng.random((B, T)) < 0.3, -100, rng.integers(0, K, (B, T)))
        yield subject.module, (tokens, segments, mask, np.where(mask, targets, -100))
        return
    truths = np.where(rng.random((B, K)) < 0.2, -100, rng.integers(0, 5, (B, K)) / 4)
    for objective, targets in ((SOFTMAX, np.where(skipped, -100, rng.integers(0, K, B))), (SIGMOID, truths),
                               (SQUARED, rng.standard_normal((B, K)))):
        model = subject.module.replica()
        model.objective = objective
        yield model, (tokens, segments, mask, targets)


def _smoothed(subject: ModuleSubject, rng: Rng) -> Iterator[tuple[Any, tuple[Array, ...]]]:
    """A classifier of texts whose targets are smoothed by 0.3, and a batch for it."""
    model = subject.module
    if type(model) is Classifier and len(model.labels) > 1:         # of one alone nothing can be said
        smooth = Classifier(model.body, model.labels, rng, dropout=model.dropout, label_smoothing=0.3,
                            dtype=model.head.wte.value.dtype)
        for other, batch in _batches(subject, rng):
            if other.objective == SOFTMAX:
                yield smooth, batch


def _moved(model: Classifier, targets: Array, mask: Array) -> Array:
    """The same targets, for rows with this mask: answers at the real tokens, no label at padding."""
    if isinstance(model, AnswerFinder):
        first, n = mask.argmax(axis=1)[:, None], mask.cumsum(axis=1).max(axis=1)[:, None]
        real = first + np.minimum(np.maximum(targets, 0), n - 1)
        return np.where(targets == -100, -100, np.where(np.take_along_axis(mask, real, axis=1), real, first))
    if isinstance(model, TokenClassifier):
        return np.where(mask, targets, -100)
    return targets


def _of_tokens(model: Classifier) -> bool:
    """Whether its logits, and its targets, are (B, T, ...)."""
    return isinstance(model, TokenClassifier) and not isinstance(model, AnswerFinder)
