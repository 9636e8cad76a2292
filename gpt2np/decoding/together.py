"""Texts that share a batch, and come and go between two tokens: what a server writes with ("continuous batching").

    together = Together(model, 8)
    together.join(text)                                 a Text: its prompt, its rules, its own generator
    for text, token, logits in together.step():         one token of each text that is there
        ...

A step costs little more for eight texts than for one, since each reads all of the weights: so no text waits for
another to end.  The law is that of generate_batch: a text becomes in company what it becomes alone.

    tokens in the past      a  b  c  d  e  f        one that joins is read apart from these, and then has a row of its
                            .  .  .  a  b  c        own, with its last token below that of the others: see SharedCache

Who leaves makes room at once.  Where a text outgrows what the model can see, its window slides on: it leaves, and joins
again with what is left of it (texts.py).

Chapter: S001 9 Q3; S003 9 Q4.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..blas import FreeThreads
from ..blocks.kv_cache import KVCache
from ..device import to_host
from ..errors import Gpt2npError
from ..hints import Array
from ..models.protocols import LanguageModel
from ..sampling import NEVER, Sampler
from .loop import Stop, check_count
from .prefill import prefill
from .shared_cache import SharedCache
from .texts import PADDING, check_prompt, window_start

PIECE = 256                     # tokens of prompts that are read between two tokens of the others, who wait for it
ROOM = 64                       # columns at first; then twice as many, up to n_ctx


@dataclass(eq=False)
class Text:
    """A text that is written: the prompt, and what generate takes.

    ended     why, once it has: end_of_text, stop, max_new_tokens, or error
    error     what the sampler or the model has said then
    """

    tokens: list[int]
    max_new_tokens: int
    sampler: Sampler
    rng: np.random.Generator
    stop: Stop | None = None
    ended: str = ""
    error: Gpt2npError | None = None
    n_prompt: int = field(init=False)
    start: int = field(default=0, init=False)           # of its window

    def __post_init__(self) -> None:
        check_count("max_new_tokens", self.max_new_tokens)
        self.n_prompt = len(self.tokens)

    @property
    def written(self) -> list[int]:
        """The tokens after the prompt."""
        return self.tokens[self.n_prompt:]

    @property
    def window(self) -> list[int]:
        """What the model sees of it."""
        return self.tokens[self.start:]

    def write(self, logits: Array) -> bool:
        """Choose the next token by the logits (V,).  Returns whether there was one: if not, `error` says why."""
        written = self.written
        try:
            token = self.sampler.sample(logits, self.tokens, written, self.rng)
        except Gpt2npError as error:
            self.ended, self.error = "error", error
            return False
        self.tokens.append(token)
        written.append(token)
        self.ended = "end_of_text" if token == self.sampler.end_of_text else \
            "stop" if self.stop is not None and self.stop(written) else \
            "max_new_tokens" if len(written) == self.max_new_tokens else ""
        return True


class Written(NamedTuple):
    """What a step has added to a text: a token, and the logits (V,) that it was chosen by; None after an error."""

    text: Text
    token: int | None
    logits: Array


class Together:
    """The texts that are written at present, at most `most`, and the model's past of them.

    model     whose past is a KVCache for each block
    most      texts at once
    texts     those with a row in the batch, in the order of the rows
    reading   those whose prompt, or new window, is not read to its end yet
    past      of the texts in the batch, a SharedCache for each block; none where there is no text
    begun     of the first of those that are read, as far as it is; None before it is begun
    """

    def __init__(self, model: LanguageModel, most: int):
        check_count("most", most)
        self.model, self.most, self.unused = model, most, list(getattr(model, "unused", ()))
        self.threads = FreeThreads()
        self.texts: list[Text] = []
        self.reading: list[Text] = []
        self.past: list[SharedCache] = []
        self.begun: Sequence[Any] | None = None

    def __len__(self) -> int:
        return len(self.texts) + len(self.reading)

    def join(self, text: Text) -> None:
        """Let a text in.  raises ValueError for a prompt that the model cannot take, and where all rows are taken"""
        if len(self) >= self.most:
            raise ValueError(f"expected fewer than {self.most} texts before another one joins")
        check_prompt(text.tokens, self.model)
        self._read_again(text)

    def leave(self, text: Text) -> None:
        """Take a text out, which nobody waits for any more; nothing where it has ended."""
        if text in self.reading:
            self.begun = None if text is self.reading[0] else self.begun
            self.reading.remove(text)
        elif text in self.texts:
            self._free(self.texts.index(text))

    def step(self) -> list[Written]:
        """One token more for each text in the batch, and the first one of those whose prompt has now been read."""
        for text in [text for text in self.texts if window_start(len(text.tokens), self.model.n_ctx) != text.start]:
            self._free(self.texts.index(text))
            self._read_again(text)
        there = list(self.texts)
        found = [self._write(text, logits) for text, logits in zip(there, self._next_logits())]
        for text in there:
            if text.ended:
                self._free(self.texts.index(text))
        return found + self._read() if self.reading else found

    def _write(self, text: Text, logits: Array) -> Written:
        return Written(text, text.tokens[-1] if text.write(logits) else None, logits)

    # ---- reading

    def _read_again(self, text: Text) -> None:
        text.start = window_start(len(text.tokens), self.model.n_ctx)
        self.reading.append(text)

    def _read(self) -> list[Written]:
        """Read the next tokens of those that wait for it, the first ones side by side; write the first token of each
        that is read to its end.
        """
        budget = PIECE if self.texts else max(PIECE, len(self.reading[0].window))
        group = self._side_by_side(budget)
        lengths = [len(text.window) for text in group]
        longest = max(lengths)
        if self.begun is None:
            self.begun = self.model.new_past(len(group), longest)
        past: Any = self.begun
        rows = np.array([[PADDING] * (longest - len(text.window)) + text.window for text in group])
        mask = np.arange(longest) >= longest - np.array(lengths)[:, None] if len(group) > 1 else None
        piece = rows[:, past[0].length:][:, :budget if len(group) == 1 else longest]
        is_last = past[0].length + piece.shape[1] == longest
        logits = prefill(self.model, piece, past, mask, last=int(is_last))
        if not is_last:
            return []
        self.begun, self.reading = None, self.reading[len(group):]
        found = [self._write(text, z) for text, z in zip(group, self._hiding_unused(to_host(logits)))]
        for row, (text, n) in enumerate(zip(group, lengths)):
            if not text.ended:
                self._seat(text, past, row, n)
        return found

    def _side_by_side(self, budget: int) -> list[Text]:
        """The first text that waits, and those behind it that are read with it, all padded to the longest."""
        n, longest = 1, len(self.reading[0].window)
        for text in self.reading[1:] if self.begun is None else ():
            longest = max(longest, len(text.window))
            if longest * (n + 1) > budget:
                break
            n += 1
        return self.reading[:n]

    def _hiding_unused(self, logits: Array) -> Array:
        """(B, 1, V) -> (B, V), without the tokens that there are not."""
        if self.unused:
            logits[..., self.unused] = NEVER
        return logits[:, 0]

    # ---- the batch

    def _next_logits(self) -> Array:
        """(B, V) after the last token of each text in the batch, whose other tokens are in the past."""
        if not self.texts:
            return np.empty((0, self.model.n_vocab))
        seen = [len(text.window) - 1 for text in self.texts]
        if self.past[0].length == self.past[0].k.shape[2]:
            self._lay_out(max(seen))
        pads = self.past[0].length - np.array(seen)
        mask = np.arange(self.past[0].length + 1) >= pads[:, None] if pads.any() else None
        new = np.array([[text.tokens[-1]] for text in self.texts])
        with self.threads.limited():
            return self._hiding_unused(to_host(self.model.next_logits(new, self.past, mask)))

    def _seat(self, text: Text, read: Sequence[KVCache], row: int, n: int) -> None:
        """Give a text a row of the batch: all n of its tokens but the last, just chosen, end a row of what was read."""
        if window_start(len(text.tokens), self.model.n_ctx) != text.start:
            self._read_again(text)
            return
        if not self.past:
            self.past = [SharedCache.for_texts(self.most, self._room(n), layer) for layer in read]
        if n > self.past[0].length:
            self._lay_out(n)
        for shared, layer in zip(self.past, read):
            shared.join(layer, row, n)
        self.texts.append(text)

    def _free(self, row: int) -> None:
        """Take a text out of its row, which the last one then has."""
        for shared in self.past:
            shared.leave(row)
        self.texts[row] = self.texts[-1]
        self.texts.pop()
        if not self.texts:
            self.past = []

    def _lay_out(self, length: int) -> None:
        """Let the longest text begin in the first column, and have room for what will be written."""
        for i, shared in enumerate(self.past):          # one layer after another: there is never a second copy of all
            self.past[i] = shared.laid_out(length, self._room(length))

    def _room(self, length: int) -> int:
        """ROOM columns, or twice as many, or four times, ..., more than this length; or all that the model can see."""
        n = ROOM
        while n <= length:
            n *= 2
        return min(n, self.model.n_ctx)
