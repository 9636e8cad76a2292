"""From text to batches: files of token ids that are mapped, not read, and which part of them each step sees.

A token file is a header of 64 bytes and then the ids, little-endian, 2 bytes each where the vocabulary allows it:

    16 bytes  gpt2np tokens 1 and a newline
     4 bytes  how many bytes an id has: 2 or 4
     4 bytes  how many tokens the vocabulary has
     8 bytes  how many ids there are
    32 bytes  which vocabulary it is: its fingerprint

Chapter: S000 3.3; S001 3.2.1, 4.3; S004 5.2.
"""

import functools
import os
import shlex
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..checkpoints.files import sync
from ..hints import Array
from ..text.bpe import at_breaks
from ..text.protocol import AnyTokenizer, end_of
from ..text.utf8 import read_utf8
from ..text.vocabulary import END_OF_TEXT
from .errors import TrainingError
from .plan import FOR_EPOCHS, FOR_WINDOWS

MAGIC = b"gpt2np tokens 1\n"
HEADER = struct.Struct("<16sIIQ32s")
WINDOWS, EPOCHS = ORDERS = ("windows", "epochs")
PART = 2**17            # characters that are encoded at a time: it is lists of their tokens that need memory


# ---- files -----------------------------------------------------------------------------------------------------------


def write_tokens(path: str | Path, texts: Iterable[Iterable[str]], tokenizer: AnyTokenizer) -> None:
    """Encode texts into a new token file, <|endoftext|> between two of them.

    texts   each in parts, as read_texts has them, of which a few are in memory at a time

    <|endoftext|> within a text ends a document, too.
    """
    dtype, count = np.dtype("<u2" if tokenizer.n_vocab <= 1 << 16 else "<u4"), 0
    with open(path, "xb") as file:
        file.write(bytes(HEADER.size))                  # all 0, which no reader takes, until the rest is there
        for i, text in enumerate(texts):
            between = [end_of(tokenizer)] if i > 0 else []
            for part in at_breaks(text) if tokenizer.cuts else ["".join(text)]:
                ids = np.array(between + tokenizer.encode(part, allowed_special=(END_OF_TEXT,)), dtype)
                ids.tofile(file)
                count, between = count + len(ids), []
        sync(file)
        file.seek(0)
        file.write(HEADER.pack(MAGIC, dtype.itemsize, tokenizer.n_vocab, count, tokenizer.fingerprint()))
        sync(file)


def map_tokens(path: str | Path, tokenizer: AnyTokenizer) -> Array:
    """The ids of a token file (n,), read from the disk as they are used.

    TrainingError if it is no token file, is cut short, or was made with another vocabulary than this tokenizer's.
    """
    with open(path, "rb") as file:
        header = file.read(HEADER.size)
    if len(header) < HEADER.size or not header.startswith(MAGIC):
        raise TrainingError(f"{path}: expected a token file, got a file that begins with {header[:16]!r}")
    _, width, n_vocab, count, vocabulary = HEADER.unpack(header)
    size, expected = Path(path).stat().st_size, HEADER.size + width * count
    if width not in (2, 4) or size != expected:
        raise TrainingError(f"{path}: expected {expected:,} bytes for {count:,} tokens, got {size:,}: it is damaged")
    if vocabulary != tokenizer.fingerprint():
        raise TrainingError(f"{path}: expected tokens of this run's vocabulary, of {tokenizer.n_vocab:,} tokens, got "
                            f"those of another one, of {n_vocab:,}: encode the text again")
    if count == 0:
        return np.empty(0, f"<u{width}")                # mmap refuses to map nothing
    return np.memmap(path, f"<u{width}", "r", HEADER.size, (count,))


def read_texts(paths: Iterable[str | Path], warn: Callable[[str], None] | None = None,
               progress: bool = False) -> Iterator[Iterator[str]]:
    """The text of each file, in parts, to be read one after the other.

    warn       is told of a text with the line ends of Windows
    progress   show how far it is on the terminal, if there is one
    raises     TokenizerError, with the place, where a text is not UTF-8
    """
    paths = list(paths)
    size = sum(map(os.path.getsize, paths)) if all(map(os.path.isfile, paths)) else None
    with tqdm(total=size, desc="encoding", unit="B", unit_scale=True, delay=1, leave=False,
              disable=None if progress else True) as bar:
        for path in paths:
            yield _parts(path, warn, bar)


def _parts(path: str | Path, warn: Callable[[str], None] | None, bar: tqdm) -> Iterator[str]:
    """What read_utf8 has of a file, in smaller parts, and watched."""
    end, told = "", False
    for block in read_utf8(path):
        if warn and not told and "\r\n" in end + block:
            warn(f"{path}: its lines end in a carriage return and a new line, as on Windows; both are kept, and are "
                 "strange to a model that has learned new lines alone; without the first one: "
                 f"sed -i 's/\\r$//' {shlex.quote(str(path))}")
            told = True
        end = block[-1:]
        for first in range(0, len(block), PART):
            yield block[first:first + PART]
            bar.update(len(block[first:first + PART].encode()))


# ---- batches ---------------------------------------------------------------------------------------------------------


class Batches:
    """What each step of training sees: windows of T tokens, and for each token the one that follows it.

    tokens   (n,)  integers, n > T
    B, T     how many windows a batch has, and how long they are
    seed     integer
    order    "windows": each begins at a random place, any place as likely as any other
             "epochs":  the text is cut into windows side by side, and each comes once before it is cut again

    A batch follows from (seed, step) alone, so a run that is resumed needs no state to go on with the same batches.
    """

    def __init__(self, tokens: Array, B: int, T: int, seed: int, order: str = WINDOWS):
        if len(tokens) < T + 1:
            raise TrainingError(f"text: expected at least {T + 1:,} tokens, one more than the context, got "
                                f"{len(tokens):,}: give more text, or train with a shorter --context")
        if B < 1 or T < 1:
            raise TrainingError(f"batch: expected at least one window of at least one token, got {B} of {T}")
        if order not in ORDERS:
            raise TrainingError(f"order: expected one of {', '.join(ORDERS)}, got {order!r}")
        self.tokens, self.B, self.T, self.seed, self.order = tokens, B, T, seed, order

    def batch(self, step: int) -> tuple[Array, Array]:
        """tokens (B, T) and targets (B, T) of a step, counted from 0: targets are the tokens one place on."""
        if self.order == WINDOWS:
            rng = np.random.default_rng([self.seed, FOR_WINDOWS, step])
            starts = rng.integers(0, len(self.tokens) - self.T, self.B)
        else:
            starts = np.array([self._start(step * self.B + b) for b in range(self.B)])
        windows = self.tokens[starts[:, None] + np.arange(self.T + 1)].astype(np.int64)     # (B, T + 1)
        return windows[:, :-1], windows[:, 1:]

    def _start(self, i: int) -> int:
        """Where window number i begins, counted through all epochs.

        The cut is shifted in each epoch by 0 to T - 1 tokens, so that no token always stands at the beginning, without
        context.  That takes one window less than the text has room for; what is left over at both ends waits for
        another epoch.  A text with room for one window alone is shifted as far as there is room.
        """
        last = len(self.tokens) - 1                     # only a target
        n = windows_in(len(self.tokens), self.T)
        epoch, place = divmod(i, n)
        order, shift = shuffled(self.seed, epoch, n, min(self.T - 1, last - n * self.T))
        return shift + self.T * order[place]


def windows_in(n: int, T: int) -> int:
    """How many windows of T tokens an epoch of n tokens has."""
    return max(1, (n - T) // T)


@functools.lru_cache(maxsize=2)                         # a batch may reach from one epoch into the next
def shuffled(seed: int, epoch: int, n: int, most: int) -> tuple[Array, int]:
    """The order of the n windows of an epoch (n,), and how far their cut is shifted: from 0 to `most`."""
    rng = np.random.default_rng([seed, FOR_EPOCHS, epoch])
    return rng.permutation(n), int(rng.integers(0, most + 1))
