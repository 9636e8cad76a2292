"""A GPT-2 small enough for every test to have its own."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from gpt2np.checkpoints import openai_gpt2
from gpt2np.checkpoints.layout import Source
from gpt2np.checkpoints.parameters import shapes_of
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from tests.golden.make_tf_bundles import GOLDEN, TINY, numbers, tiny_gpt2


def parameters(hparams=TINY) -> dict[str, np.ndarray]:
    """The parameters of the model that TensorFlow wrote into tests/golden/tf/tiny, by their paths."""
    tensors = tiny_gpt2()
    shapes = shapes_of(GPT2(GPT2Config(**hparams)))
    if hparams == TINY:
        return {path: tensors[openai_gpt2.tensor_name(path)].reshape(shape) for path, shape in shapes.items()}
    return {path: numbers(shape, seed) for seed, (path, shape) in enumerate(shapes.items())}


def model_of(values, hparams=TINY) -> GPT2:
    """The model with these parameters, or those of them that it has."""
    model = GPT2(GPT2Config(**hparams))
    for path, parameter in model.named_parameters():
        if path in values:
            parameter.value = values[path]
    return model


def weights(layout, path, dtype=np.float32) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The parameters and hparams in a folder or file of a layout, which need not have a vocabulary."""
    source = Source(Path(path))
    model = layout.read_weights(source, layout.read_config(source), dtype)
    return {path: parameter.value for path, parameter in model.named_parameters()}, asdict(model.config)


def openai_folder(folder: Path) -> Path:
    """The folder that TensorFlow's tiny model makes together with its hparams.json."""
    shutil.copytree(GOLDEN / "tf" / "tiny", folder)
    (folder / "hparams.json").write_text(json.dumps(TINY))
    return folder


# TINY has too few tokens for a tokenizer, of which 256 bytes and <|endoftext|> are the least. This has enough.
SMALL = {"n_vocab": 259, "n_ctx": 8, "n_embd": 4, "n_head": 2, "n_layer": 2}
MERGES = [(b"t", b"h"), (b"th", b"e")]
