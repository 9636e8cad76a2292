"""A long prompt on all cores: its tokens in chunks, several at a time, each on a thread of its own.

    thread 1     chunk 0: block 0, block 1, block 2, ...        chunk 2: block 0, ...
    thread 2        chunk 1: block 0, block 1, block 2, ...        chunk 3: block 0, ...

All that a chunk needs of those before it are their keys and values, block by block, and these are made at the beginning
of a block: one chunk can follow another that closely.  BLAS's own threads would share the products, and leave all
cores but one idle in everything between them.

Chapter: S003 9 Q4.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Event
from typing import Any

from threadpoolctl import ThreadpoolController

from ..blocks.kv_cache import Past
from ..hints import Array
from ..models.protocols import LanguageModel

ROWS = 256                      # of a chunk, those of all sequences together: enough to keep BLAS near its full speed


def prefill(model: LanguageModel, tokens: Array, past: Sequence[Past], padding_mask: Array | None = None,
            last: int = 1, rows: int = ROWS) -> Array:
    """The same as model.next_logits, in less time where the tokens are many and the past is on the host.

    tokens   (B, T), an array on the host
    rows     how many rows a chunk has at least, those of all sequences together

    An error leaves the past as it was.
    """
    (B, T), seen = tokens.shape, past[0].length
    if B * T < 2 * rows or not past[0].on_host:
        return model.next_logits(tokens, past, padding_mask, last)
    blas = ThreadpoolController().select(user_api="blas")
    threads = max((library["num_threads"] for library in blas.info()), default=1)
    n = threads * (B * T // (threads * rows))           # chunks: as many for each thread
    if threads == 1 or not 0 < n * last <= T:
        return model.next_logits(tokens, past, padding_mask, last)
    chunks = []
    before: Sequence[Turn | None] = [None] * len(past)
    for first, end in pairwise([T * i // n for i in range(n + 1)]):
        before = turns = [Turn(layer, seen + first, turn) for layer, turn in zip(past, before)]
        mask = padding_mask if padding_mask is None or end == T else padding_mask[:, :seen + end]
        chunks.append((model, tokens[:, first:end], turns, mask, last if end == T else 0))
    try:
        with blas.limit(limits=1), ThreadPoolExecutor(threads) as pool:
            *_, logits = pool.map(run, chunks)
    except BaseException:                                   # also Ctrl-C: all threads have ended here
        for layer in past:
            layer.forget(min(seen, layer.length))
        raise
    return logits


def run(chunk: tuple[LanguageModel, Array, list["Turn"], Array | None, int]) -> Array:
    """Run the model on one chunk: its last logits."""
    model, tokens, turns, padding_mask, last = chunk
    try:
        return model.next_logits(tokens, turns, padding_mask, last)
    finally:
        for turn in turns:
            turn.over.set()                             # also after an error, so that nobody waits for ever


class Turn:
    """The past of one block, as one chunk sees it: its keys and values have their place behind those of `before`.

    past     of the block, whose other attributes are this one's, too: what a model keeps in it beside the tokens
    length   how many positions are before the chunk
    before   Turn of the chunk before, or None
    """

    def __init__(self, past: Past, length: int, before: "Turn | None"):
        self.past, self.length, self.before, self.over = past, length, before, Event()

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """The past's append, as soon as the chunk before has done it."""
        if self.before is not None:
            self.before.over.wait()
        k, v = self.past.append(k, v)
        self.over.set()
        return k, v

    def __getattr__(self, name: str) -> Any:
        return getattr(self.past, name)
