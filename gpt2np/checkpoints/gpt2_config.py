"""The five numbers that define a GPT-2, as files have them: the same for every layout."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ..models.config import GPT2Config
from .errors import CheckpointError, shortened, some

HPARAMS = tuple(asdict(GPT2Config()))       # n_vocab, n_ctx, ...: in the order of OpenAI's hparams.json
MAX_LAYERS = 1000                           # GPT-2's largest has 48; this bounds the list of names


def config_of(file: Path, hparams: Mapping[str, object]) -> GPT2Config:
    """The config that a file's numbers make, once they are seen to be exactly those.

    file      where they come from, for the error

    Raises CheckpointError if one is missing, unknown, or not a whole number from 1 to 2^31 - 1, if there are more than
    1,000 layers, or if the heads do not divide the width.
    """
    if missing := [name for name in HPARAMS if name not in hparams]:
        raise CheckpointError(file, f"it lacks {', '.join(missing)}")
    if unknown := [name for name in hparams if name not in HPARAMS]:
        raise CheckpointError(file, "it holds something that GPT-2 does not have", found=some(unknown))
    numbers: dict[str, int] = {}
    for name in HPARAMS:
        most, value = MAX_LAYERS if name == "n_layer" else 2**31 - 1, hparams[name]
        if type(value) is not int or not 1 <= value <= most:                    # True is an instance of int
            raise CheckpointError(file, name, expected=f"a whole number from 1 to {most}", found=shortened(value))
        numbers[name] = value
    if numbers["n_embd"] % numbers["n_head"]:
        raise CheckpointError(file, "n_embd is not a multiple of n_head",
                              found=f"{numbers['n_embd']} and {numbers['n_head']}")
    return GPT2Config(**numbers)
