"""Small models for the tests of adapters, each with a batch, and every method on it."""

from functools import partial

import numpy as np

from gpt2np.adapt.adalora import add_adalora
from gpt2np.adapt.adapter import add_adapters
from gpt2np.adapt.freezing import train_biases
from gpt2np.adapt.lora import add_lora
from gpt2np.adapt.prefix import add_prefix
from gpt2np.adapt.replacing import added, in_blocks
from gpt2np.models.bert import BERT, BertForPreTraining
from gpt2np.models.config import BertConfig, GPT2Config, TransformerConfig
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.transformer import Transformer
from tests.toy import MASK, T, Toy

V, N_CTX = 11, 12


def gpt2(dtype=np.float64, **options):
    return GPT2(GPT2Config(V, N_CTX, 12, 3, 2), np.random.default_rng(0), dtype=dtype, **options)


def transformer(dtype=np.float64, norms="post", **options):
    return Transformer(TransformerConfig(V, N_CTX, 12, 3, 2, 10, norms), np.random.default_rng(0), dtype=dtype,
                       **options)


def bert(dtype=np.float64, **options):
    return BertForPreTraining(BertConfig(V, N_CTX, 12, 3, 2, 10), np.random.default_rng(0), dtype=dtype, std=None,
                              **options)


def bert_alone(dtype=np.float64):
    return BERT(BertConfig(V, N_CTX, 12, 3, 2, 10), np.random.default_rng(0), dtype=dtype, std=None)


def toy(dtype=np.float64):
    return Toy(np.random.default_rng(0), dtype=dtype)


def batch_for(model):
    """What the model's loss takes: three rows, some of it padding."""
    rng = np.random.default_rng(2)
    tokens, targets = rng.integers(0, 10, (2, 3, 5))
    targets[0, 3:] = -100
    if isinstance(model, GPT2):
        return tokens, targets
    if isinstance(model, Transformer):
        return rng.integers(0, V, (3, 4)), np.arange(4) < np.array([[4], [2], [3]]), tokens, targets
    if isinstance(model, BertForPreTraining):
        mask = np.arange(5) < np.array([[5], [3], [4]])
        segments, not_next = np.arange(5) // 3 * np.ones_like(tokens), np.array([0, 1, -100])
        return tokens, segments, mask, np.where(mask, targets, -100), not_next
    rows = rng.integers(0, 10, (3, T))
    return np.where(rows > 5, MASK, rows), np.where(rows > 5, rows, -100), np.array([0, 1, -100])


MODELS = {"GPT2": gpt2, "Transformer": transformer, "Transformer, pre": partial(transformer, norms="pre"), "BERT": bert,
          "toy": toy}
BLOCKS = {"GPT2": "h.*", "BERT": "bert.h.*", "toy": "h.*", "Transformer": ["encoder.*", "decoder.*"],
          "Transformer, pre": ["encoder.*", "decoder.*"]}
METHODS = {
    "lora": lambda model, blocks: add_lora(model, in_blocks(model, "attn.c_attn") + in_blocks(model, "mlp.c_fc"), 3, 5),
    "lora, q and v": lambda model, blocks: add_lora(model, r=2, parts="qv"),
    "adalora": lambda model, blocks: add_adalora(model, r=3),
    "adapter": lambda model, blocks: add_adapters(model, width=3),
    "block adapter": lambda model, blocks: add_adapters(model, blocks, width=3),
    "prefix": lambda model, blocks: add_prefix(model, length=2),
    "bias": lambda model, blocks: train_biases(model)}
MERGED = ("lora", "lora, q and v", "adalora")
AT_FIRST_THE_BASE = (*MERGED, "adapter", "block adapter", "bias")


def adapted(name, method, drawn=True, **options):
    """A model with a method on it, and what its layers replaced; what is trained is drawn anew, or as it begins."""
    model = MODELS[name](**options)
    old = METHODS[method](model, BLOCKS[name])
    rng = np.random.default_rng(1)
    for _, p in model.named_parameters():
        if drawn and p.trainable:
            p.value = (rng.standard_normal(p.shape) * 0.3).astype(p.value.dtype)
    assert method == "bias" or {path for path, p in model.named_parameters() if p.trainable} == set(added(model))
    return model, old
