"""A GPT-2 in OpenAI's layout: a folder, as openai/gpt-2's download_model.py leaves it and its scripts read it.

    checkpoint              which checkpoint is the latest: text, for TensorFlow
    hparams.json            n_vocab, n_ctx, n_embd, n_head, n_layer
    model.ckpt.index        the weights, as a tensor bundle (tf_bundle.py)
    model.ckpt.data-00000-of-00001
    encoder.json            the vocabulary, which gpt2np.text reads
    vocab.bpe

The release has model.ckpt.meta too, TensorFlow's graph. It is not needed for the weights; a graph is code, so it is
neither read nor written. Of `checkpoint` only the last part of a path is believed: the weights are in this folder. What
fine-tuning leaves is read too: checkpoints called model-1000, beside the weights the variables that an optimizer needs,
and the rates of dropout in hparams.json.

The parameter h.3.attn.c_attn.w is the tensor model/h3/attn/c_attn/w. The weights of linear layers have a leading
dimension of 1 there, because OpenAI's code wrote them as convolutions of width 1 (openai/gpt-2, src/model.py,
conv1d).
"""

import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..adapt.trimming import taken_out
from ..errors import Gpt2npWarning
from ..models.config import GPT2Config
from ..models.gpt2 import GPT2
from ..text.protocol import AnyTokenizer
from . import tf_bundle
from .errors import CheckpointError, some
from .files import write_text
from .gpt2_config import config_of
from .layout import Source
from .parameters import as_parameter, check_tensors, shapes_of, values_of
from .vocabularies import read_tokenizer, write_tokenizer

BUNDLE, INDEX_FILE, HPARAMS_FILE, CHECKPOINT_FILE = "model.ckpt", "model.ckpt.index", "hparams.json", "checkpoint"
CHECKPOINT = 'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'

LATEST = re.compile(r'^model_checkpoint_path: *"(?:[^"\n]*[\\/])?([^"\n\\/]+)" *\r?$', re.M)     # last part
MAX_CHECKPOINT_BYTES = 1 << 20      # it may list all checkpoints that there were
DROPOUT = ("res_dropout", "attn_dropout", "embed_dropout")      # of training, for which this package asks anew
OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"

MODEL = GPT2
FILES = (CHECKPOINT_FILE, HPARAMS_FILE, INDEX_FILE, "model.ckpt.data-00000-of-00001", "model.ckpt.meta")


def is_mine(source: Source) -> bool:
    """Whether a source is a folder with a checkpoint of TensorFlow's in it, or such a checkpoint's path."""
    return bool(bundles(source))


def bundles(source: Source) -> list[Path]:
    """The checkpoints that a source may mean, as paths without .index: one, but where nothing says which is the latest.

    That is the one that `checkpoint` names, if it is in the folder; model.ckpt; or the only one, or one of those there.
    """
    if source.path != source.folder:
        named = [Path(str(source.path).removesuffix(".index"))]
        return named if os.path.exists(tf_bundle.index_path(named[0])) else []
    for name in (_latest(source), BUNDLE):
        if name and any(map(os.path.exists, (tf_bundle.index_path(source.folder / name), source.folder / name))):
            return [source.folder / name]
    there = sorted(source.folder.glob("*.index")) if os.path.exists(source.folder / HPARAMS_FILE) else []
    return [path.with_suffix("") for path in there]


def read(source: Source, dtype: DTypeLike = np.float32) -> tuple[GPT2, AnyTokenizer | None]:
    """The model in a folder, and its tokenizer: see Layout."""
    config = read_config(source)
    model = read_weights(source, config, dtype)         # first, since they justify the number of tokens
    return model, read_tokenizer(source.folder, config.n_vocab)


def read_config(source: Source) -> GPT2Config:
    """What hparams.json says; CheckpointError if it does not hold the five numbers, or holds anything unknown."""
    hparams = {name: value for name, value in source.json(HPARAMS_FILE).items() if name not in DROPOUT}
    return config_of(source.folder / HPARAMS_FILE, hparams)


def read_weights(source: Source, config: GPT2Config, dtype: DTypeLike = np.float32) -> GPT2:
    """The model that the config asks for, with the weights in model.ckpt.*, everything checked.

    dtype     what the parameters are to be; those that are it already are mapped from the file, not copied

    Raises CheckpointError, and nothing else, for whatever is wrong with the files. Warns of variables that it passes
    over since they are no weights.
    """
    model, bundle = GPT2(config, dtype=dtype), _only(source)
    shapes = {tensor_name(path): stored(path, shape) for path, shape in shapes_of(model).items()}
    index = tf_bundle.read_index(bundle)
    if OBJECTS in index.entries:
        raise CheckpointError(tf_bundle.index_path(bundle), "a tf.train.Checkpoint of objects, such as Keras saves",
                              expected="the variables of OpenAI's code, model/wte, ...")
    tensors = tf_bundle.read_tensors(bundle, index, [n for n in index.entries if not is_of_training(n, shapes)])
    check_tensors(tf_bundle.index_path(bundle), tensors, shapes)
    if others := [name for name in index.entries if name not in tensors]:
        warnings.warn(f"{bundle}: {len(others)} variables of training, which are no weights, were passed over "
                      f"({some(others)})", Gpt2npWarning, stacklevel=2)
    for path, parameter in model.named_parameters():
        name = tensor_name(path)
        data = tf_bundle.data_path(bundle, index.entries[name].shard, index.n_shards)
        parameter.value = as_parameter(data, name, tensors.pop(name).reshape(parameter.shape), dtype)
    return model


def is_of_training(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a variable is one that training has beside the weights, as global_step and model/wte/Adam."""
    return name not in shapes and (not name.startswith("model/") or name.rpartition("/")[0] in shapes)


def write(folder: Path, model: GPT2, tokenizer: AnyTokenizer | None, dtype: DTypeLike = np.float32) -> None:
    """Write a model into an empty folder, so that TensorFlow and OpenAI's scripts can read it, and so can `read`.

    dtype   of the numbers in the file: float32, or float16, which `read` takes as well and OpenAI's scripts do not

    See Layout. Weights and hparams are on the disk when it returns; `checkpoint` is written last.
    """
    if heads := taken_out(model):
        raise CheckpointError(folder, f"{sum(map(len, heads.values()))} heads were taken out of the model, of blocks "
                              f"{some(list(map(str, heads)))}, which OpenAI's layout cannot say: safetensors can")
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


def _latest(source: Source) -> str | None:
    """The name of the checkpoint that the file `checkpoint` names, if it names one."""
    try:
        text = source.content(CHECKPOINT_FILE, MAX_CHECKPOINT_BYTES).decode()
    except (CheckpointError, UnicodeDecodeError):
        return None
    return found[1] if (found := LATEST.search(text)) and found[1] not in (".", "..") else None


def _only(source: Source) -> Path:
    """The one checkpoint of a source; CheckpointError where there are several, or one in a format that is not read."""
    first, *others = bundles(source)
    if others:
        raise CheckpointError(source.folder, "it holds several checkpoints, and nothing says which is the latest; name "
                              f"one by its path, as in {first}", found=some([path.name for path in (first, *others)]))
    if not os.path.exists(tf_bundle.index_path(first)):
        raise CheckpointError(first, "it lacks its .index, or is in TensorFlow's old format (V1), which is not read: "
                              "restore it with TensorFlow, and save it again")
    return first
