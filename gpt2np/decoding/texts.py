"""Texts that grow, and what the model has seen of them: the past of each, and a window where a text gets too long.

A model sees n_ctx tokens at most. A text that grows longer is seen through a window that slides on a quarter at a time:
when it is full, the oldest quarter leaves it, and the rest, whose positions are new ones now, is run again as one.
What is written then depends on the tokens in the window, no longer on those before it.

Chapter: S003 3.3.
"""

from collections.abc import Sequence

import numpy as np

from ..blas import FreeThreads
from ..device import to_host
from ..hints import Array
from ..models.protocols import LanguageModel
from ..sampling import NEVER, GenerationError
from .prefill import prefill

PADDING = 0                             # any token: nobody sees it


class Texts:
    """Texts that grow at the same pace, and the model's past of what it has seen of them.

    model            where it has `unused`, ids that no token has, since its table has more rows than the vocabulary:
                     these never come
    tokens           the texts, a list of ids each, to be appended to
    max_new_tokens   how many each may get: the past has room for them, up to the window

        pads      .  .  .  a  b  c  d       columns of the past; all texts end in the same one
                  a  b  c  d  e  f  g

    raises   ValueError for a prompt that is empty, too long, or has unknown tokens
    """

    def __init__(self, model: LanguageModel, prompts: Sequence[Sequence[int]], max_new_tokens: int):
        self.model, self.unused = model, list(getattr(model, "unused", ()))
        self.tokens = [check_prompt(prompt, model) for prompt in prompts]
        if not self.tokens:
            raise GenerationError("prompts: expected at least one, got none")
        self.room = min(model.n_ctx, max(map(len, self.tokens)) + max_new_tokens)
        self.past = model.new_past(len(self.tokens), self.room)
        self.threads = FreeThreads()
        self.starts: list[int] = []                     # of the windows; none before the first call
        self.pads: list[int] = []

    def last_logits(self, last: int = 1) -> Array:
        """Run the tokens that the model has not seen yet.  returns (B, V), or (B, last, V) after the last tokens."""
        starts = [window_start(len(text), self.model.n_ctx) for text in self.tokens]
        windows = [text[start:] for text, start in zip(self.tokens, starts)]
        if starts != self.starts or self.pads[0] + len(windows[0]) > self.room:
            longest = max(map(len, windows))
            self.starts, self.pads = starts, [longest - len(window) for window in windows]
            for layer in self.past:                     # the first call, a window has slid, or too much is padding
                layer.forget(0)
        rows = [[PADDING] * pad + window for pad, window in zip(self.pads, windows)]
        seen, columns = self.past[0].length, len(rows[0])
        new = np.array([row[seen:] for row in rows])
        mask = np.arange(columns) >= np.array(self.pads)[:, None] if any(self.pads) else None
        with self.threads.limited():
            logits = to_host(prefill(self.model, new, self.past, mask, last))
        if self.unused:
            logits[..., self.unused] = NEVER
        return logits[:, 0] if last == 1 else logits

    def rewind(self, length: int) -> None:
        """Of a text that is alone: the model has seen its first tokens at most, as many as `length`."""
        for layer in self.past:
            layer.forget(max(0, min(layer.length, length - self.starts[0])))

    def select(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order; rows may repeat."""
        self.past = [layer.select(rows) for layer in self.past]
        self.tokens = [list(self.tokens[i]) for i in rows]
        self.starts, self.pads = [self.starts[i] for i in rows], [self.pads[i] for i in rows]


def window_start(length: int, n_ctx: int) -> int:
    """The first token that the model sees of a text: 0 up to n_ctx tokens, then further on by a quarter at a time."""
    step = max(1, n_ctx // 4)
    return max(0, -(-(length - n_ctx) // step) * step)


def check_prompt(tokens: Sequence[int], model: LanguageModel) -> list[int]:
    """The prompt as a list; ValueError where the model cannot take it.

    It is the one door of this folder: what the loops add to a text was chosen from the model's own tokens.
    """
    ids = np.asarray(to_host(tokens))
    if ids.size == 0:
        raise GenerationError("prompt: expected at least one token, got none; <|endoftext|> is the one to start from")
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise GenerationError(f"prompt: expected token ids in a row, got shape {ids.shape} of {ids.dtype}")
    if len(ids) > model.n_ctx:
        raise GenerationError(f"prompt: expected at most the {model.n_ctx} tokens that the model can see, "
                              f"got {len(ids)}; shorten it, or keep its end")
    if ids.min() < 0 or ids.max() >= model.n_vocab:
        wrong = ids[(ids < 0) | (ids >= model.n_vocab)][0]
        raise GenerationError(f"prompt: expected token ids from 0 to {model.n_vocab - 1}, got {wrong}")
    return ids.tolist()
