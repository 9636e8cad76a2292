"""A BERT or a GPT-2 with a head, in Hugging Face's layout: that of the model below it, and the head's two arrays.

    BertForSequenceClassification, BertForTokenClassification        classifier.weight, .bias
    GPT2ForSequenceClassification                                    score.weight
    GPT2ForTokenClassification                                       classifier.weight, .bias
    BertForQuestionAnswering, GPT2ForQuestionAnswering               qa_outputs.weight, .bias

The names that architectures in config.json has are these, and say what it is.  Beside them are there

    id2label, label2id      the names of the labels; where there are none, LABEL_0, LABEL_1, ...
    problem_type            the objective of a sequence's head; without it, one number is a regression, and more are
                            labels of which one is right
    classifier_dropout      the rate before the head; without it what transformers then takes

huggingface/transformers, src/transformers/models/{bert/modeling_bert,gpt2/modeling_gpt2}.py.
"""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..adapt.trimming import leave_out_heads, taken_out
from ..errors import Gpt2npWarning
from ..hints import Array
from ..models.bert import BERT
from ..models.gpt2 import GPT2
from ..models.heads import OBJECTIVES, SOFTMAX, SQUARED, AnswerFinder, Classifier, Objective, TokenClassifier
from ..text.huggingface import PAIR
from ..text.protocol import AnyTokenizer
from . import huggingface_bert, huggingface_gpt2, safetensors
from .errors import CheckpointError, shortened
from .files import write_text
from .huggingface_gpt2 import CONFIG_FILE, MODEL_FILE, read_end_of_text, read_tensors
from .huggingface_gpt2 import is_mine as has_tensors
from .layout import MAX_BYTES, Source
from .parameters import as_parameter, values_of
from .vocabularies import read_tokenizer, read_word_piece, write_tokenizer


class Architecture(NamedTuple):
    """A class of transformers' as it is here.

    body      BERT or GPT2
    kind      Classifier, TokenClassifier, AnswerFinder
    head      what the names of the head's tensors begin with
    dropout   the rate before the head where config.json says none; None: hidden_dropout_prob
    """

    body: type[BERT] | type[GPT2]
    kind: type[Classifier]
    head: str
    dropout: float | None


ARCHITECTURES = {
    "BertForSequenceClassification": Architecture(BERT, Classifier, "classifier", None),
    "BertForTokenClassification": Architecture(BERT, TokenClassifier, "classifier", None),
    "BertForQuestionAnswering": Architecture(BERT, AnswerFinder, "qa_outputs", 0.0),
    "GPT2ForSequenceClassification": Architecture(GPT2, Classifier, "score", 0.0),
    "GPT2ForTokenClassification": Architecture(GPT2, TokenClassifier, "classifier", 0.1),
    "GPT2ForQuestionAnswering": Architecture(GPT2, AnswerFinder, "qa_outputs", 0.0),
}
HIDDEN_DROPOUT = 0.1                                    # BertConfig's own, where config.json says nothing

MODEL = Classifier
FILES = (MODEL_FILE, CONFIG_FILE)


def is_mine(source: Source) -> bool:
    """Whether a source has tensors, and config.json names one of the classes above."""
    if not (has_tensors(source) and os.path.isfile(source.folder / CONFIG_FILE)):
        return False
    try:
        return _architecture(source.json(CONFIG_FILE)) in ARCHITECTURES
    except CheckpointError:
        return False                                    # the next layout says what is wrong with it


def read(source: Source, dtype: DTypeLike = np.float32) -> tuple[Classifier, AnyTokenizer | None]:
    """The model in a folder or a .safetensors file, with config.json beside it, and its tokenizer: see Layout."""
    name = _architecture(source.json(CONFIG_FILE))
    if ARCHITECTURES[name].body is BERT:
        config = huggingface_bert.read_config(source)
        body = BERT(config, dtype=dtype, pooler=_pools(name))
        huggingface_gpt2.leave_out_pruned(source, body, dtype)
        return read_weights(source, body, name, dtype), read_word_piece(source.folder, config.n_vocab)
    sizes = huggingface_gpt2.read_config(source)
    return read_weights(source, huggingface_gpt2.blank(source, sizes, dtype), name, dtype), \
        read_tokenizer(source.folder, sizes.n_vocab, read_end_of_text(source, sizes))


def read_weights(source: Source, body: BERT | GPT2, name: str, dtype: DTypeLike) -> Classifier:
    """The model of this name, on a body that has no weights yet, with those in a .safetensors file.

    Raises CheckpointError, and nothing else, for whatever is wrong with the files: it names what is missing, what is
    there beside it, and a head of another number of labels than config.json has names for.
    """
    path, tensors = read_tensors(source)
    stem, fields, config_file = ARCHITECTURES[name].head, source.json(CONFIG_FILE), source.folder / CONFIG_FILE
    head = {tensor: tensors.pop(tensor) for tensor in (f"{stem}.weight", f"{stem}.bias") if tensor in tensors}
    if f"{stem}.weight" not in head:
        raise CheckpointError(path, f"it is not there, though {CONFIG_FILE} says {name}", f"{stem}.weight")
    labels = read_labels(config_file, fields, head[f"{stem}.weight"])
    objective = read_objective(config_file, fields, len(labels)) if _pools(name) else SOFTMAX
    rate = read_dropout(config_file, fields, ARCHITECTURES[name].dropout)
    try:
        model = blank(name, body, labels, objective, rate, dtype)
    except ValueError as error:                         # a label alone, of which one is right
        raise CheckpointError(config_file, str(error)) from None
    _check_head(path, name, head, {f"{stem}.{part}": shape for part, shape in
                                   (("weight", model.head.wte.shape), ("bias", (len(labels),)))
                                   if part == "weight" or model.head.b is not None})
    if isinstance(body, BERT):
        tensors = huggingface_bert.plain_names(path, tensors)
        if body.pooler is None and any(tensor.startswith(huggingface_bert.POOLER) for tensor in tensors):
            huggingface_bert.drop_pooler(path, tensors)
        huggingface_bert.fill(body, path, tensors, dtype)
    else:
        huggingface_gpt2.fill(body, path, huggingface_gpt2.without_prefix(path, tensors), dtype)
    for parameter, tensor in ((model.head.wte, f"{stem}.weight"), (model.head.b, f"{stem}.bias")):
        if parameter is not None:
            parameter.value = as_parameter(path, tensor, head[tensor], dtype)
    return model


def write(folder: Path, model: Classifier, tokenizer: AnyTokenizer | None, dtype: DTypeLike = np.float32) -> None:
    """Write a model into an empty folder, so that transformers can read it, and so can `read`: see Layout.

    dtype   of the numbers in the file: float32 or float16
    """
    name = architecture_of(model)
    model = _without_idle_pooler(model, name)
    body: Any = model.body
    stem, config = ARCHITECTURES[name].head, body.config
    empty: Any = BERT(config, pooler=_pools(name)) if isinstance(body, BERT) else GPT2(config)
    leave_out_heads(empty, taken_out(body))
    asked_for = blank(name, empty, model.labels, model.objective, model.dropout, np.float32)
    values = values_of(model, asked_for, folder, dtype)
    of_body = {path.removeprefix("body."): a for path, a in values.items() if path.startswith("body.")}
    if isinstance(body, BERT):
        write_tokenizer(folder, tokenizer, config.n_vocab)
        prefix, tensors = huggingface_bert.PREFIX, huggingface_bert.as_stored(body, of_body)
        fields = huggingface_bert.fields_of(body, tokenizer)
    else:
        write_tokenizer(folder, tokenizer, config.n_vocab, PAIR)
        prefix = huggingface_gpt2.PREFIX
        tensors = {huggingface_gpt2.tensor_name(path): a for path, a in of_body.items()}
        fields = huggingface_gpt2.fields_of(body, tokenizer)
        fields["pad_token_id"] = fields["eos_token_id"]         # transformers finds the last token by it
    of_head = {f"{stem}.{'bias' if path == 'head.b' else 'weight'}": a for path, a in values.items()
               if path.startswith("head.")}
    safetensors.write(folder / MODEL_FILE, {prefix + tensor: a for tensor, a in tensors.items()} | of_head,
                      {"format": "pt"})                         # transformers refuses a file without it
    fields = {"architectures": [name], **fields, "classifier_dropout": model.dropout,
              "id2label": {str(i): label for i, label in enumerate(model.labels)},
              "label2id": {label: i for i, label in enumerate(model.labels)}}
    if type(model) is Classifier:
        fields["problem_type"] = model.objective.name
    text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
    if len(text.encode()) > MAX_BYTES:
        raise CheckpointError(folder / CONFIG_FILE, f"the names of its {len(model.labels):,} labels are too long",
                              expected=f"at most {MAX_BYTES:,} bytes", found=f"{len(text.encode()):,}")
    write_text(folder / CONFIG_FILE, text)


def architecture_of(model: Classifier) -> str:
    """The class of transformers' that a model is."""
    for name, its in ARCHITECTURES.items():
        if its.kind is type(model) and isinstance(model.body, its.body):
            return name
    raise ValueError(f"model: expected a head on a BERT or a GPT-2, got a {type(model).__name__} on a "
                     f"{type(model.body).__name__}")


def blank(name: str, body: BERT | GPT2, labels: tuple[str, ...], objective: Objective, dropout: float,
          dtype: DTypeLike) -> Classifier:
    """The model of this name, whose head is 0."""
    kind = ARCHITECTURES[name].kind
    if issubclass(kind, AnswerFinder):
        return kind(body, dropout=dropout, dtype=dtype)
    if issubclass(kind, TokenClassifier):
        return kind(body, labels, dropout=dropout, dtype=dtype)
    return kind(body, labels, objective=objective, dropout=dropout, dtype=dtype)


# ---- what config.json says


def read_labels(file: Path, fields: Mapping[str, Any], weight: Array) -> tuple[str, ...]:
    """The names of the labels, as many as the head's weight has rows; CheckpointError for another number of them."""
    names = fields.get("id2label")
    n = fields.get("num_labels", 2) if names is None else len(names) if isinstance(names, dict) else None
    if weight.ndim != 2 or n != len(weight):
        raise CheckpointError(file, "the head in the weights is of another number of labels", expected=shortened(n),
                              found=len(weight) if weight.ndim == 2 else f"shape {weight.shape}")
    if names is None:
        return tuple(f"LABEL_{i}" for i in range(n))
    labels = tuple(names.get(str(i)) for i in range(n))
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) < n:
        raise CheckpointError(file, "id2label", expected=f"a name for each of 0 to {n - 1}, each of them once",
                              found=shortened(names))
    ids = fields.get("label2id")
    if ids is not None and ids != {label: i for i, label in enumerate(labels)}:
        warnings.warn(Gpt2npWarning(f"{file}: label2id is not the reverse of id2label, and is left out"), stacklevel=2)
    return labels


def read_objective(file: Path, fields: Mapping[str, Any], n_labels: int) -> Objective:
    """What a sequence's head was trained for."""
    name = fields.get("problem_type")
    if name is None:
        name = SQUARED.name if n_labels == 1 else SOFTMAX.name
    if not isinstance(name, str) or name not in OBJECTIVES:
        raise CheckpointError(file, "problem_type", expected=" or ".join(OBJECTIVES), found=shortened(name))
    return OBJECTIVES[name]


def read_dropout(file: Path, fields: Mapping[str, Any], otherwise: float | None) -> float:
    """The rate before the head."""
    rate = fields.get("classifier_dropout")
    if rate is None:
        rate = fields.get("hidden_dropout_prob", HIDDEN_DROPOUT) if otherwise is None else otherwise
    if type(rate) not in (int, float) or not 0 <= rate < 1:
        raise CheckpointError(file, "classifier_dropout", expected="a rate from 0 to less than 1",
                              found=shortened(rate))
    return float(rate)


def _architecture(fields: Mapping[str, Any]) -> str:
    """The class that config.json names; "" for none, and for several."""
    names = fields.get("architectures")
    return names[0] if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str) else ""


def _pools(name: str) -> bool:
    """Whether the head of this name stands on what is pooled."""
    return not issubclass(ARCHITECTURES[name].kind, TokenClassifier)


def _without_idle_pooler(model: Classifier, name: str) -> Classifier:
    """The same model without a pooler on which the head does not stand: transformers' has none then."""
    body = model.body
    if not isinstance(body, BERT) or body.pooler is None or _pools(name):
        return model
    warnings.warn(Gpt2npWarning("the pooler is left out: the head does not stand on it"), stacklevel=2)
    model, body = model.replica(), body.replica()
    body.pooler = None
    model.body = body
    return model


def _check_head(path: Path, name: str, head: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """CheckpointError unless these are the head's tensors."""
    for tensor, shape in shapes.items():
        if tensor not in head:
            raise CheckpointError(path, f"it is not there, though {CONFIG_FILE} says {name}", tensor)
        if head[tensor].shape != shape:
            raise CheckpointError(path, "its shape is wrong", tensor, shape, head[tensor].shape)
    for tensor in head:
        if tensor not in shapes:
            raise CheckpointError(path, f"a {name} has no such tensor", tensor)
