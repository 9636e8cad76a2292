"""A GPT-2 in OpenAI's layout: a folder, as openai/gpt-2's download_model.py leaves it and its scripts read it.

    checkpoint              which checkpoint is the latest: text, for TensorFlow
    hparams.json            n_vocab, n_ctx, n_embd, n_head, n_layer
    model.ckpt.index        the weights, as a tensor bundle (tf_bundle.py)
    model.ckpt.data-00000-of-00001
    encoder.json            the vocabulary, which gpt2np.text reads
    vocab.bpe

The release has model.ckpt.meta too, TensorFlow's graph. It is not needed for the weights; a graph is code, so it is
neither read nor written. Nor is `checkpoint` read: it names a path, and the weights are always model.ckpt in this
folder.

The parameter h.3.attn.c_attn.w is the tensor model/h3/attn/c_attn/w. The weights of linear layers have a leading
dimension of 1 there, because OpenAI's code wrote them as convolutions of width 1 (openai/gpt-2, src/model.py,
conv1d).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..hints import Array
from . import tf_bundle
from .files import read_json, write_text
from .gpt2_parameters import as_parameter, check_hparams, check_tensors, parameter_shapes

BUNDLE, INDEX_FILE, HPARAMS_FILE, CHECKPOINT_FILE = "model.ckpt", "model.ckpt.index", "hparams.json", "checkpoint"
CHECKPOINT = 'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'
MAX_HPARAMS_BYTES = 1 << 16


def read(folder: str | Path, dtype: DTypeLike = np.float32) -> tuple[dict[str, Array], dict[str, int]]:
    """The parameters of a model and its hparams, everything checked.

    folder    the folder with hparams.json and model.ckpt.*
    dtype     what the parameters are to be; those that are it already are mapped from the file, not copied
    returns   path -> array in the model's order, and the five hparams

    Raises CheckpointError, and nothing else, for whatever is wrong with the files.
    """
    hparams = read_hparams(folder)
    bundle = Path(folder) / BUNDLE
    tensors = tf_bundle.read(bundle)
    shapes = parameter_shapes(hparams)
    check_tensors(Path(folder, INDEX_FILE), tensors, {tensor_name(path): stored(path, shapes[path]) for path in shapes})
    parameters = {}
    for path, shape in shapes.items():
        name = tensor_name(path)
        parameters[path] = as_parameter(tf_bundle.data_path(bundle), name, tensors.pop(name).reshape(shape), dtype)
    return parameters, hparams


def read_hparams(folder: str | Path) -> dict[str, int]:
    """The five hparams; CheckpointError if hparams.json does not hold exactly these."""
    path = Path(folder) / HPARAMS_FILE
    return check_hparams(path, read_json(path, MAX_HPARAMS_BYTES))


def write(folder: str | Path, parameters: Mapping[str, Array], hparams: Mapping[str, int],
          dtype: DTypeLike = np.float32) -> None:
    """Write a model, so that TensorFlow and OpenAI's scripts can read it, and so can `read`.

    folder       an existing folder without these files
    parameters   path -> array
    hparams      the five
    dtype        of the numbers in the file: float32, or float16, which `read` takes as well and OpenAI's scripts do not

    Raises CheckpointError if the parameters are not those of a model with these hparams; OSError where the disk
    refuses. Everything is on the disk when it returns; `checkpoint` is written last.
    """
    folder = Path(folder)
    hparams = check_hparams(folder / HPARAMS_FILE, hparams)
    shapes = parameter_shapes(hparams)
    check_tensors(folder, parameters, shapes)
    tensors = {tensor_name(path): as_parameter(folder, path, parameters[path], dtype).reshape(stored(path, shape))
               for path, shape in shapes.items()}
    tf_bundle.write(folder / BUNDLE, tensors)
    write_text(folder / HPARAMS_FILE, hparams_text(hparams))
    write_text(folder / CHECKPOINT_FILE, CHECKPOINT)


def hparams_text(hparams: Mapping[str, int]) -> str:
    """What hparams.json holds: OpenAI's text to the byte."""
    return json.dumps(hparams, indent=2) + "\n"


def tensor_name(path: str) -> str:
    """OpenAI's name of a parameter: model/h3/attn/c_attn/w for h.3.attn.c_attn.w."""
    return "model/" + re.sub(r"^h\.", "h", path).replace(".", "/")


def stored(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which the file has a parameter."""
    return (1, *shape) if path.endswith(".w") else shape
