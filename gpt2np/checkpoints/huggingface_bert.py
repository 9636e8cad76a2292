"""A BERT in Hugging Face's layout: model.safetensors, config.json, and vocab.txt or tokenizer.json beside them.

A matrix is (out, in) there, and is transposed; q, k and v are three matrices, and become one, c_attn. What else files
of different ages have in different ways:

    bert.encoder...                 a model with a head; without "bert.", the encoder alone; some have it without a head
    LayerNorm.gamma, .beta          weight and bias, as TensorFlow called them
    embeddings.position_ids         0, 1, 2, ...: no parameter, left out
    pruned_heads                    in config.json: heads that were taken out, as of a GPT-2
    cls.predictions.decoder.weight, .bias     once more what embeddings.word_embeddings and cls.predictions.bias are

Which model it is, its tensors say, and architectures in config.json must not promise more: with cls.predictions it is a
BertForPreTraining, with cls.seq_relationship one with both heads; without them, a BERT.

huggingface/transformers, src/transformers/models/bert/{configuration_bert,modeling_bert}.py.
"""

import json
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from ..adapt.trimming import leave_out_heads, taken_out
from ..errors import Gpt2npWarning
from ..hints import Array
from ..models.bert import BERT, BertForPreTraining
from ..models.config import BertConfig
from ..text.protocol import AnyTokenizer
from ..text.wordpiece import WordPiece
from . import safetensors
from .errors import CheckpointError, shortened, some
from .files import write_text
from .gpt2_config import MAX_LAYERS
from .huggingface_gpt2 import CONFIG_FILE, MODEL_FILE, leave_out_pruned, pruned_in, read_tensors
from .huggingface_gpt2 import is_mine as has_tensors
from .layout import Source
from .parameters import as_parameter, check_tensors, shapes_of, values_of
from .vocabularies import read_word_piece, write_tokenizer

PREFIX, WORDS, PAIRS, POOLER = "bert.", "cls.predictions.", "cls.seq_relationship.", "pooler."
DECODER, BIAS, TABLE = "cls.predictions.decoder.", "cls.predictions.bias", "embeddings.word_embeddings.weight"
POSITION_IDS = "embeddings.position_ids"

# Our layers and theirs, in whose names .weight and .bias follow; those of a block stand below encoder.layer.N.
STEMS = {"wte": "embeddings.word_embeddings", "wpe": "embeddings.position_embeddings",
         "wse": "embeddings.token_type_embeddings", "ln": "embeddings.LayerNorm", "pooler.dense": "pooler.dense",
         "mlm.dense": "cls.predictions.transform.dense", "mlm.ln": "cls.predictions.transform.LayerNorm",
         "mlm.decoder": "cls.predictions", "nsp": "cls.seq_relationship"}
OF_BLOCK = {"attn.c_attn": ("attention.self.query", "attention.self.key", "attention.self.value"),
            "attn.c_proj": ("attention.output.dense",), "ln_1": ("attention.output.LayerNorm",),
            "mlp.c_fc": ("intermediate.dense",), "mlp.c_proj": ("output.dense",), "ln_2": ("output.LayerNorm",)}
BLOCK = re.compile(r"h\.([0-9]+)\.(.+)")

FIELDS = {"n_vocab": "vocab_size", "n_ctx": "max_position_embeddings", "n_embd": "hidden_size",
          "n_head": "num_attention_heads", "n_layer": "num_hidden_layers", "n_inner": "intermediate_size",
          "n_segment": "type_vocab_size"}
EPS = "layer_norm_eps"

# What config.json may say of a model whose arithmetic is BERT's. A field that is absent has the first value.
ARITHMETIC: Mapping[str, tuple] = {
    "hidden_act": ("gelu",), "position_embedding_type": ("absolute", None), "is_decoder": (False, None),
    "add_cross_attention": (False, None), "tie_word_embeddings": (True, None)}
# The classes of transformers that are read, and what of their heads must be there.
ARCHITECTURES = {"BertModel": (), "BertForPreTraining": (WORDS, PAIRS), "BertForMaskedLM": (WORDS,)}
# Relatives that look alike: read as a BERT they would compute something else.
RELATIVES = ("albert", "bigbird", "camembert", "convbert", "deberta", "deberta-v2", "distilbert", "electra", "ernie",
             "mobilebert", "modernbert", "mpnet", "nezha", "roberta", "roformer", "xlm-roberta")
HEADS = {"classifier": "BertForSequenceClassification or BertForTokenClassification",
         "qa_outputs": "BertForQuestionAnswering"}

MODEL = (BERT, BertForPreTraining)
FILES = (MODEL_FILE, CONFIG_FILE)


def is_mine(source: Source) -> bool:
    """Whether a source has tensors as a GPT-2 of Hugging Face has them, and config.json says that it is a BERT, or one
    of its relatives."""
    if not (has_tensors(source) and os.path.isfile(source.folder / CONFIG_FILE)):
        return False
    try:
        return source.json(CONFIG_FILE).get("model_type") in ("bert", *RELATIVES)
    except CheckpointError:
        return False                                    # the next layout says what is wrong with it


def read(source: Source, dtype: DTypeLike = np.float32) -> tuple[BERT | BertForPreTraining, WordPiece | None]:
    """The model in a folder or a .safetensors file, with config.json beside it, and its tokenizer: see Layout."""
    config = read_config(source)
    return read_weights(source, config, dtype), read_word_piece(source.folder, config.n_vocab)


def read_config(source: Source) -> BertConfig:
    """The sizes in config.json, which go by other names there.

    Raises CheckpointError for one that does not describe a BERT: a relative, another activation, ...
    """
    path, fields = source.folder / CONFIG_FILE, source.json(CONFIG_FILE)
    if (kind := fields.get("model_type", "bert")) != "bert":
        raise CheckpointError(path, f"the model is a {kind}, which computes something else than a BERT, and is not "
                              "supported", expected="model_type 'bert'", found=shortened(kind))
    for field, values in ARITHMETIC.items():
        if (value := fields.get(field, values[0])) not in values:
            raise CheckpointError(path, f"{field} is not BERT's", expected=repr(values[0]), found=shortened(value))
    if missing := [field for field in FIELDS.values() if field not in fields]:
        raise CheckpointError(path, f"it lacks {', '.join(missing)}")
    for name, field in FIELDS.items():
        most, value = MAX_LAYERS if name == "n_layer" else 2**31 - 1, fields[field]
        if type(value) is not int or not 1 <= value <= most:
            raise CheckpointError(path, field, expected=f"a whole number from 1 to {most}", found=shortened(value))
    if fields[FIELDS["n_embd"]] % fields[FIELDS["n_head"]]:
        raise CheckpointError(path, "hidden_size is not a multiple of num_attention_heads",
                              found=f"{fields[FIELDS['n_embd']]} and {fields[FIELDS['n_head']]}")
    eps = fields.get(EPS, BertConfig.eps)
    if type(eps) is not float or not 0 <= eps < 1:
        raise CheckpointError(path, EPS, expected="a number from 0 to less than 1", found=shortened(eps))
    return BertConfig(**{name: fields[field] for name, field in FIELDS.items()}, eps=eps)


def read_weights(source: Source, config: BertConfig, dtype: DTypeLike = np.float32) -> BERT | BertForPreTraining:
    """The model that config and tensors ask for, with the weights in a .safetensors file, everything checked.

    Raises CheckpointError, and nothing else, for whatever is wrong with the file; Gpt2npWarning says what is left out.
    """
    path, tensors = read_tensors(source)
    tensors = plain_names(path, tensors)
    _refuse_other_heads(path, tensors)
    has = {head: any(name.startswith(head) for name in tensors) for head in (WORDS, PAIRS, POOLER)}
    _check_promises(source, has)
    if has[WORDS] and has[POOLER] and not has[PAIRS]:
        drop_pooler(path, tensors)
    if has[PAIRS] and not has[WORDS]:
        raise CheckpointError(path, f"it has a head for pairs, {PAIRS}*, and none for hidden words, {WORDS}*, which is "
                              "not supported")
    model = BertForPreTraining(config, dtype=dtype, next_sentence=has[PAIRS]) if has[WORDS] else \
        BERT(config, dtype=dtype, pooler=has[POOLER])
    leave_out_pruned(source, model, dtype)
    _drop_what_is_there_twice(path, tensors)
    fill(model, path, tensors, dtype)
    return model


def fill(model: BERT | BertForPreTraining, path: Path, tensors: dict[str, Array], dtype: DTypeLike) -> None:
    """Put the tensors of a file into a model, out of the dict, once they are seen to be its own; by plain_names."""
    places = names_of(model)
    check_tensors(path, tensors, {name: shape for ours, shape in shapes_of(model).items()
                                  for name, shape in _stored_shapes(ours, shape, places[ours])}, of="BERT")
    for ours, parameter in model.named_parameters():
        parts = [tensors.pop(name) for name in places[ours]]
        stored = parts[0] if len(parts) == 1 else np.concatenate(parts)
        parameter.value = as_parameter(path, places[ours][0], stored.T if is_matrix(ours) else stored, dtype)


def write(folder: Path, model: BERT | BertForPreTraining, tokenizer: AnyTokenizer | None,
          dtype: DTypeLike = np.float32) -> None:
    """Write a model into an empty folder, so that transformers can read it, and so can `read`: see Layout.

    dtype   of the numbers in the file: float32 or float16
    """
    config = model.config
    if heads := isinstance(model, BertForPreTraining):
        asked_for: BERT | BertForPreTraining = BertForPreTraining(config, next_sentence=model.nsp is not None)
        architecture = "BertForMaskedLM" if model.nsp is None else "BertForPreTraining"
    else:
        asked_for, architecture = BERT(config, pooler=model.pooler is not None), "BertModel"
    leave_out_heads(asked_for, taken_out(model))
    values = values_of(model, asked_for, folder, dtype)
    write_tokenizer(folder, tokenizer, config.n_vocab)
    tensors = {(PREFIX if heads and not name.startswith("cls.") else "") + name: array
               for name, array in as_stored(model, values).items()}
    safetensors.write(folder / MODEL_FILE, tensors, {"format": "pt"})          # transformers refuses a file without it
    fields = {"architectures": [architecture], **fields_of(model, tokenizer)}
    write_text(folder / CONFIG_FILE, json.dumps(fields, indent=2) + "\n")


def fields_of(model: BERT | BertForPreTraining, tokenizer: AnyTokenizer | None) -> dict[str, object]:
    """What config.json says of the encoder."""
    config = model.config
    return {"model_type": "bert", **{field: getattr(config, name) for name, field in FIELDS.items()}, EPS: config.eps,
            "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
            "initializer_range": 0.02, "pad_token_id": tokenizer.pad if isinstance(tokenizer, WordPiece) else 0,
            **pruned_in(model)}


# ---- names and shapes


def names_of(model: BERT | BertForPreTraining) -> dict[str, tuple[str, ...]]:
    """Hugging Face's names of each of our parameters, without the prefix: three for c_attn, one for all others."""
    return {path: _names(path.removeprefix(PREFIX)) for path, _ in model.named_parameters()}


def as_stored(model: BERT | BertForPreTraining, values: Mapping[str, Array]) -> dict[str, Array]:
    """Arrays by our paths as they are in a file, by their names there, without the prefix: c_attn in three."""
    tensors: dict[str, Array] = {}
    for path, names in names_of(model).items():
        value = values[path].T if is_matrix(path) else values[path]
        tensors |= zip(names, np.split(value, len(names)))
    return tensors


def is_matrix(path: str) -> bool:
    """Whether a parameter is the matrix of a linear layer, (in, out) here and (out, in) there; a table is none."""
    return path.endswith(".w")


def _names(path: str) -> tuple[str, ...]:
    stem, _, last = path.rpartition(".") if path.endswith((".w", ".g", ".b")) else (path, "", "")
    kind = "bias" if last == "b" else "weight"
    if match := BLOCK.fullmatch(stem):
        return tuple(f"encoder.layer.{match[1]}.{name}.{kind}" for name in OF_BLOCK[match[2]])
    return (f"{STEMS[stem]}.{kind}",)


def _stored_shapes(path: str, shape: tuple[int, ...], names: tuple[str, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """The shape of each tensor that a parameter of this shape is made of."""
    stored = shape[::-1] if is_matrix(path) else shape
    return [(name, (stored[0] // len(names), *stored[1:])) for name in names]


# ---- what files have in different ways


def plain_names(path: Path, tensors: dict[str, Array]) -> dict[str, Array]:
    """The tensors by their names of today, without the prefix, and without what is no parameter."""
    tensors = {_todays(name): array for name, array in _without_prefix(path, tensors).items()}
    tensors.pop(POSITION_IDS, None)
    return tensors


def drop_pooler(path: Path, tensors: dict[str, Array]) -> None:
    """Take out a pooler on which nothing stands, and say so."""
    warnings.warn(Gpt2npWarning(f"{path}: {POOLER}dense is left out: no head stands on it"), stacklevel=2)
    for name in [name for name in tensors if name.startswith(POOLER)]:
        del tensors[name]


def _todays(name: str) -> str:
    """The name that a tensor has in files of today."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(f"LayerNorm{old}"):
            return name.removesuffix(old) + new
    return name


def _without_prefix(path: Path, tensors: dict[str, Array]) -> dict[str, Array]:
    names = [name for name in tensors if not name.startswith("cls.")]
    with_it = [name for name in names if name.startswith(PREFIX)]
    if with_it and (others := [name for name in names if not name.startswith((PREFIX, *HEADS))]):
        raise CheckpointError(path, f"some names begin with {PREFIX!r} and some do not", others[0])
    return {name.removeprefix(PREFIX): array for name, array in tensors.items()}


def _refuse_other_heads(path: Path, tensors: Mapping[str, Array]) -> None:
    for name in tensors:
        if (head := name.partition(".")[0]) in HEADS:
            raise CheckpointError(path, f"it belongs to the head of {HEADS[head]}, and architectures in {CONFIG_FILE} "
                                  "does not say which", name)


def _check_promises(source: Source, has: Mapping[str, bool]) -> None:
    """CheckpointError unless the heads are there that config.json names by the class of the model."""
    path, architectures = source.folder / CONFIG_FILE, source.json(CONFIG_FILE).get("architectures") or []
    if not isinstance(architectures, list) or any(name not in ARCHITECTURES for name in architectures):
        raise CheckpointError(path, "architectures", expected=" or ".join(ARCHITECTURES),
                              found=shortened(architectures))
    for name in architectures:
        if missing := [head for head in ARCHITECTURES[name] if not has[head]]:
            raise CheckpointError(path, f"it says {name}, and tensors of its heads are missing", found=some(missing))


def _drop_what_is_there_twice(path: Path, tensors: dict[str, Array]) -> None:
    """Take out the table and the bias of the words' head where they are repeated, once they are seen to be the same."""
    for own, name in ((TABLE, f"{DECODER}weight"), (BIAS, f"{DECODER}bias")):
        if (again := tensors.pop(name, None)) is None:
            continue
        if not np.array_equal(tensors.setdefault(own, again), again):
            raise CheckpointError(path, f"it differs from {own}, but BERT has one array for both", name)
