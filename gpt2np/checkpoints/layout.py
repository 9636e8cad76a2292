"""What a layout of a model's files is: a module with these five names. loading.py holds the list of them.

It says whether a source is its own, and then makes the model that the source describes, fills it with what the source
holds, and finds the tokenizer that belongs to it. So no one else has to know what a layout calls its numbers.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import DTypeLike

from ..layers.module import Module
from ..text.protocol import AnyTokenizer
from .files import parse_json, read_small

MAX_BYTES = 1 << 16                 # of the files that describe a model: GPT-2's have 90 and 700 bytes


class Source:
    """What a model is read from: its folder, or one file in it. Files that describe it are read once, whoever asks.

    path      of the folder or file
    folder    the folder
    """

    def __init__(self, path: Path):
        self.path = path
        self.folder = path if os.path.isdir(path) else path.parent
        self._read: dict[str, bytes] = {}

    def content(self, name: str, max_bytes: int = MAX_BYTES) -> bytes:
        """What is in a file of the folder; CheckpointError if that is nothing, or more than it has any reason to be."""
        if name not in self._read:
            self._read[name] = read_small(self.folder / name, max_bytes)
        return self._read[name]

    def json(self, name: str, max_bytes: int = MAX_BYTES) -> dict:
        """The JSON object in it; CheckpointError if it is none."""
        return parse_json(self.folder / name, self.content(name, max_bytes))


class Layout(Protocol):
    """The module of a layout.

    MODEL    the class of the models that it reads and writes, or several
    FILES    what its folder may hold, and what saving may therefore replace; vocabularies have names of their own
    """

    @property
    def MODEL(self) -> type[Module] | tuple[type[Module], ...]: ...

    @property
    def FILES(self) -> Collection[str]: ...

    def is_mine(self, source: Source) -> bool:
        """Whether the source is in this layout; raises nothing."""

    def read(self, source: Source, dtype: DTypeLike) -> tuple[Any, AnyTokenizer | None]:
        """The model, with parameters of this dtype, mapped from the file where that can be, and its tokenizer, if any.

        Raises CheckpointError, and nothing else, for whatever is wrong with the files.
        """

    def write(self, folder: Path, model: Any, tokenizer: AnyTokenizer | None, dtype: DTypeLike) -> None:
        """Write a model of this class into an empty folder, as float32 or float16; no vocabulary if there is none.

        Raises CheckpointError if its parameters are not those that its config asks for, or not finite, or if the
        tokenizer belongs to another model; OSError where the disk refuses.
        """
