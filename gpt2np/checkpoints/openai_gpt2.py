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
import os
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..models.config import GPT2Config
from ..models.gpt2 import GPT2
from ..text.protocol import AnyTokenizer
from . import tf_bundle
from .files import write_text
from .gpt2_config import config_of
from .layout import Source
from .parameters import as_parameter, check_tensors, shapes_of, values_of
from .vocabularies import read_tokenizer, write_tokenizer

BUNDLE, INDEX_FILE, HPARAMS_FILE, CHECKPOINT_FILE = "model.ckpt", "model.ckpt.index", "hparams.json", "checkpoint"
CHECKPOINT = 'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'

MODEL = GPT2
FILES = (CHECKPOINT_FILE, HPARAMS_FILE, INDEX_FILE, "model.ckpt.data-00000-of-00001", "model.ckpt.meta")


def is_mine(source: Source) -> bool:
    """Whether a source is a folder with an index of tensors in it."""
    return os.path.exists(source.path / INDEX_FILE)


def read(source: Source, dtype: DTypeLike = np.float32) -> tuple[GPT2, AnyTokenizer]:
    """The model in a folder, and its tokenizer: see Layout."""
    config = read_config(source)
    tokenizer = read_tokenizer(source.folder, config.n_vocab)
    return read_weights(source, config, dtype), tokenizer


def read_config(source: Source) -> GPT2Config:
    """What hparams.json says; CheckpointError if it does not hold exactly the five numbers."""
    return config_of(source.folder / HPARAMS_FILE, source.json(HPARAMS_FILE))


def read_weights(source: Source, config: GPT2Config, dtype: DTypeLike = np.float32) -> GPT2:
    """The model that the config asks for, with the weights in model.ckpt.*, everything checked.

    dtype     what the parameters are to be; those that are it already are mapped from the file, not copied

    Raises CheckpointError, and nothing else, for whatever is wrong with the files.
    """
    model, bundle = GPT2(config, dtype=dtype), source.folder / BUNDLE
    tensors = tf_bundle.read(bundle)
    check_tensors(source.folder / INDEX_FILE, tensors,
                  {tensor_name(path): stored(path, shape) for path, shape in shapes_of(model).items()})
    for path, parameter in model.named_parameters():
        name = tensor_name(path)
        tensor = tensors.pop(name).reshape(parameter.shape)
        parameter.value = as_parameter(tf_bundle.data_path(bundle), name, tensor, dtype)
    return model


def write(folder: Path, model: GPT2, tokenizer: AnyTokenizer | None, dtype: DTypeLike = np.float32) -> None:
    """Write a model into an empty folder, so that TensorFlow and OpenAI's scripts can read it, and so can `read`.

    dtype   of the numbers in the file: float32, or float16, which `read` takes as well and OpenAI's scripts do not

    See Layout. Weights and hparams are on the disk when it returns; `checkpoint` is written last.
    """
    values = values_of(model, GPT2(model.config), folder, dtype)
    write_tokenizer(folder, tokenizer, model.config.n_vocab)
    tf_bundle.write(folder / BUNDLE, {tensor_name(path): value.reshape(stored(path, value.shape))
                                      for path, value in values.items()})
    write_text(folder / HPARAMS_FILE, hparams_text(model.config))
    write_text(folder / CHECKPOINT_FILE, CHECKPOINT)


def hparams_text(config: GPT2Config) -> str:
    """What hparams.json holds: OpenAI's text to the byte."""
    return json.dumps(asdict(config), indent=2) + "\n"


def tensor_name(path: str) -> str:
    """OpenAI's name of a parameter: model/h3/attn/c_attn/w for h.3.attn.c_attn.w."""
    return "model/" + re.sub(r"^h\.", "h", path).replace(".", "/")


def stored(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which the file has a parameter."""
    return (1, *shape) if path.endswith(".w") else shape
