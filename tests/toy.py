"""A second model with a task of its own, to see that what serves GPT-2 serves any: it is in no part of the package.

A row has one token in all places; in half of the rows, the second half has another one. Some are masked, and are to be
predicted from both sides; and whether a row is of one piece is to be told: two losses, over two numbers that have
nothing to do with each other.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np

from gpt2np.blocks.stack import Stack
from gpt2np.blocks.transformer import PostNormBlock
from gpt2np.checkpoints import safetensors
from gpt2np.layers.cross_entropy import IGNORED, count_targets, cross_entropy_backward, cross_entropy_forward
from gpt2np.layers.embedding import Embedding
from gpt2np.layers.linear import Linear
from gpt2np.layers.lm_head import LMHead
from gpt2np.layers.module import Module
from gpt2np.training.plan import Plan, at_least
from gpt2np.training.tasks import Task

V, MASK, T = 11, 10, 8              # tokens 0 to 9, and the mask; places in a row


class Toy(Module):
    """An encoder with two heads: which token was here, and whether the row is of one piece."""

    def __init__(self, rng=None, C=12, H=3, L=2, dtype=np.float32):
        self.wte, self.wpe = Embedding(V, C, rng, std=0.2, dtype=dtype), Embedding(T, C, rng, std=0.2, dtype=dtype)
        self.h = Stack(PostNormBlock(C, H, rng, std=None, dtype=dtype) for _ in range(L))
        self.lm_head = LMHead(self.wte, bias=True)
        self.pair = Linear(C, 2, rng, std=None, dtype=dtype)

    def hidden(self, tokens, keep_cache=True):
        below = self.wte.trainable or self.wpe.trainable
        word, c_wte = self.wte.forward(tokens)
        place, c_wpe = self.wpe.forward(np.arange(tokens.shape[1]))
        x, c_h = self.h.forward(word + place, keep_cache=keep_cache, needs_dx=below)
        return x, (c_wte, c_wpe, c_h, below)

    def forward(self, tokens):
        x, cache = self.hidden(tokens, keep_cache=False)
        return (self.lm_head.forward(x)[0], self.pair.forward(x[:, 0])[0]), cache

    def counted(self, tokens, targets, pairs):
        return count_targets(targets), count_targets(pairs)

    def losses(self, x, targets, pairs, counted):
        word, c_word = self.lm_head.loss(x, targets, counted=counted[0])
        logits, c_pair = self.pair.forward(x[:, 0])
        pair, c_loss = cross_entropy_forward(logits, pairs, counted=counted[1])
        return word + pair, (c_word, c_pair, c_loss)

    def loss(self, tokens, targets, pairs, *, counted=None):
        x, _ = self.hidden(tokens, keep_cache=False)
        return self.losses(x, targets, pairs, counted or self.counted(tokens, targets, pairs))[0]

    def loss_and_gradients(self, tokens, targets, pairs, *, counted=None, rng=None):
        x, (c_wte, c_wpe, c_h, below) = self.hidden(tokens)
        loss, (c_word, c_pair, c_loss) = self.losses(x, targets, pairs, counted or self.counted(tokens, targets, pairs))
        dx = self.lm_head.loss_backward(1.0, c_word)
        dx[:, 0] += self.pair.backward(cross_entropy_backward(1.0, c_loss), c_pair)
        dx = self.h.backward(dx, c_h)
        if below:
            self.wpe.backward(dx.sum(axis=0), c_wpe)
            self.wte.backward(dx, c_wte)
        return loss


@dataclass(frozen=True)
class ToyPlan(Plan):
    """A run on rows."""

    rows: Annotated[int, at_least(1), "rows in a step"] = 12


class ToyTask(Task):
    """A Toy that learns rows; the best one is that which tells most masked tokens."""

    name, plan_type, data = "toy", ToyPlan, ("rows.npy",)
    best_by, larger_is_better = "val_accuracy", True

    def __init__(self, model, rows, plan):
        self.model, self.plan, (self.train, self.val) = model, plan, (rows[40:], rows[:40])

    @classmethod
    def new(cls, out, plan, dtype=np.float32):
        rng = np.random.default_rng(plan.seed)
        np.save(out / "rows.npy", rng.integers(0, 10, (200, 1)).repeat(T, axis=1))
        return cls(Toy(rng, dtype=dtype), np.load(out / "rows.npy"), plan)

    @classmethod
    def load(cls, folder, out, plan):
        stored, _ = safetensors.read(folder / "toy.safetensors")
        task = cls(Toy(dtype=stored["wte"].dtype), np.load(out / "rows.npy"), plan)
        for path, p in task.model.named_parameters():
            p.value[...] = stored[path]
        return task

    def save(self, folder):
        safetensors.write(folder / "toy.safetensors", {path: p.value for path, p in self.model.named_parameters()})

    def batch(self, step):
        rng = np.random.default_rng([self.plan.seed, 100, step])
        return masked(rng, rng.choice(self.train, self.plan.rows))

    def inputs(self, batch):
        return batch[:1]

    def evaluate(self, parallel, progress):
        batch = masked(np.random.default_rng(7), self.val)
        progress(0, 1)
        right, n = parallel.total(partial(count_right, self.model), batch)
        progress(1, 1)
        return {"val_loss": parallel.loss(batch), "val_accuracy": float(right / n)}


def masked(rng, rows):
    """Tokens, targets and pairs: a varying number of masks in each row, and some rows that are asked for no pair."""
    rows, pairs = rows.copy(), rng.integers(0, 2, len(rows))
    rows[pairs == 1, T // 2:] += rng.integers(1, 10, (np.count_nonzero(pairs), 1))
    rows %= 10
    hidden = rng.random(rows.shape) < rng.uniform(0.05, 0.4, (len(rows), 1))
    pairs[rng.random(len(rows)) < 0.3] = IGNORED
    return np.where(hidden, MASK, rows), np.where(hidden, rows, IGNORED), pairs


def count_right(model, share):
    """How many masked tokens are told, and of how many."""
    tokens, targets, _ = share
    logits = model.forward(tokens)[0][0]
    return np.array([((logits.argmax(-1) == targets) & (targets != IGNORED)).sum(), count_targets(targets)])


class Penalised(ToyTask):
    """With a penalty on the table of tokens, and a weight that is put back to a half of itself after each update."""

    def before_update(self, step):
        self.model.wte.accumulate(0.1 * self.model.wte.value)
        return 0.05 * float((self.model.wte.value ** 2).sum())

    def after_update(self, step):
        self.model.pair.w.value *= 0.5


class Thawing(ToyTask):
    """Trains its two heads alone at first, and one more block, from the top, every three steps."""

    def before_step(self, step):
        self.model.freeze()
        for part in (self.model.pair, self.model.h[1], self.model.h[0])[:1 + step // 3]:
            part.unfreeze()


def loss_of_guessing():
    """What the loss of an untrained model is near."""
    return math.log(V) + math.log(2)
