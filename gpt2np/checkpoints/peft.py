"""Adapters of huggingface/peft, for a GPT-2: LoRA, AdaLoRA and prefix tuning, read and written.

    adapter_config.json             peft_type, ranks, scale, which layers
    adapter_model.safetensors       base_model.model.transformer.h.0.attn.c_attn.lora_A.weight  (r, in)
                                    ....................................................lora_B.weight  (out, r)
                                    AdaLoRA: lora_A (r, in), lora_E (r, 1), lora_B (out, r)
                                    a prefix: prompt_embeddings (P, 2 L C), layer by layer keys, then values

peft's matrices stand on the other side of x than ours, so each is transposed. What changes the arithmetic, and is not
supported here, is refused by its name; so are arrays that belong to nothing.

huggingface/peft, src/peft/tuners/{lora,adalora,prefix_tuning}, utils/save_and_load.py.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..adapt.adalora import AdaLoRALinear
from ..adapt.lora import LoRALinear
from ..adapt.prefix import PrefixSelfAttention
from ..adapt.replacing import replacements
from ..device import to_host
from ..hints import Array
from ..models.gpt2 import GPT2
from . import safetensors
from .adapters import attach, kept
from .errors import CheckpointError, shortened, some
from .files import read_json, write_text

CONFIG_FILE, MODEL_FILE, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
MAX_BYTES = 1 << 22
PROMPT, PREFIX = "prompt_embeddings", "base_model.model.transformer."
KEY = re.compile(r"base_model\.model\.(?:transformer\.)?(h\.[0-9]{1,4}\.[a-z_.]+)\.lora_([ABE])(?:\.weight)?")
LORA, ADALORA, PREFIX_TUNING = "LORA", "ADALORA", "PREFIX_TUNING"

# What adapter_config.json may say of an adapter whose arithmetic is ours. A field that is absent has the first value.
ARITHMETIC: Mapping[str, tuple] = {
    "use_dora": (False,), "bias": ("none",), "modules_to_save": (None, []), "alpha_pattern": (None, {}),
    "lora_bias": (False,), "layer_replication": (None,), "trainable_token_indices": (None,),
    "target_parameters": (None, []), "use_qalora": (False,), "arrow_config": (None,), "kasa_config": (None,),
    "monteclora_config": (None,), "alora_invocation_tokens": (None,),
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva")}      # others change the base's own weights


def is_peft(folder: str | Path) -> bool:
    """Whether a folder is one of peft's."""
    return os.path.isfile(Path(folder, CONFIG_FILE))


def read_base(folder: str | Path) -> str:
    """The name of the model that an adapter is for; CheckpointError where none is given."""
    path = Path(folder, CONFIG_FILE)
    base = read_json(path, MAX_BYTES).get("base_model_name_or_path")
    if type(base) is not str or not base:
        raise CheckpointError(path, "it does not say which model it is for: name one")
    return base


def read_peft(folder: str | Path, model: Any) -> None:
    """Add to a GPT2 what is in a folder of peft's, and freeze the rest.

    Raises CheckpointError for whatever is wrong with the files, or is not supported: then the model is what it was.
    """
    folder = Path(folder)
    path = folder / CONFIG_FILE
    config = read_json(path, MAX_BYTES)
    kind = config.get("peft_type")
    if kind not in (LORA, ADALORA, PREFIX_TUNING):
        raise CheckpointError(path, "peft_type is not supported", expected=f"{LORA}, {ADALORA} or {PREFIX_TUNING}",
                              found=shortened(kind))
    if not isinstance(model, GPT2):
        raise CheckpointError(folder, "adapters of peft are read for a GPT2", found=f"a {type(model).__name__}")
    for field, values in ARITHMETIC.items():
        if (value := config.get(field, values[0])) not in values:
            raise CheckpointError(path, f"{field} is not supported", expected=" or ".join(map(repr, values)),
                                  found=shortened(value))
    if not os.path.exists(folder / MODEL_FILE) and os.path.exists(folder / PICKLE):
        raise CheckpointError(folder / PICKLE, f"a pickle, which can run any code: ask for {MODEL_FILE}")
    tensors, _ = safetensors.read(folder / MODEL_FILE)
    read = {LORA: _lora, ADALORA: _adalora, PREFIX_TUNING: _prefix}[kind]
    layers, arrays = read(folder, config, tensors, model)
    attach(folder, model, layers, arrays)


def save_peft(folder: str | Path, model: Any, base: str) -> None:
    """Write what was added to a GPT2 into a new folder, for peft to read: whole, or not at all.  See write_peft."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    try:
        write_peft(folder, model, base)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def write_peft(folder: Path, model: Any, base: str) -> None:
    """Write what was added to a GPT2 into an empty folder, for peft to read.

    Raises CheckpointError for what peft has no file for: adapters, several kinds at once, LoRA on parts of a matrix,
    parameters of the model's own.
    """
    layers = replacements(model)
    kinds = {type(layer) for layer in layers.values()}
    writers = {LoRALinear: _write_lora, AdaLoRALinear: _write_adalora, PrefixSelfAttention: _write_prefix}
    if not isinstance(model, GPT2) or len(kinds) != 1 or (kind := kinds.pop()) not in writers:
        names = sorted({layer.kind for layer in layers.values()}) or ["nothing"]
        raise CheckpointError(folder, "peft has files for LoRA, AdaLoRA or a prefix of a GPT2, one of them at a time",
                              found=f"{', '.join(names)} of a {type(model).__name__}")
    new = {f"{path}.{name}" for path, layer in layers.items() for name in layer.own}
    if others := [path for path in kept(model) if not path.startswith(tuple(new))]:
        raise CheckpointError(folder, "peft has no place for the model's own parameters, which are trained here, too",
                              found=some(others))
    config, tensors = writers[kind](folder, layers, model)
    config |= {"base_model_name_or_path": base, "task_type": "CAUSAL_LM", "inference_mode": True}
    safetensors.write(folder / MODEL_FILE, {key: np.ascontiguousarray(to_host(a)) for key, a in tensors.items()},
                      {"format": "pt"})
    write_text(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")


# ---- reading


def _by_layer(folder: Path, tensors: Mapping[str, Array], letters: str) -> dict[str, dict[str, Array]]:
    """path -> letter -> matrix; CheckpointError for what belongs to nothing, or lacks its other half."""
    found: dict[str, dict[str, Array]] = {}
    for key, array in tensors.items():
        match = KEY.fullmatch(key)
        if match is None or match[2] not in letters or array.ndim != 2:
            raise CheckpointError(folder, "what it is, is not known", key, f"lora_{', lora_'.join(letters)} of a layer",
                                  f"shape {array.shape}")
        found.setdefault(match[1], {})[match[2]] = array
    if not found:
        raise CheckpointError(folder, "it holds no arrays")
    for path, of_layer in found.items():
        if missing := [f"lora_{letter}" for letter in letters if letter not in of_layer]:
            raise CheckpointError(folder, f"it lacks {some(missing)} of {path}")
        r = len(of_layer["A"])
        if of_layer["B"].shape[1] != r or ("E" in of_layer and of_layer["E"].shape != (r, 1)):
            shapes = ", ".join(f"lora_{letter} {a.shape}" for letter, a in of_layer.items())
            raise CheckpointError(folder, f"the ranks of {path} differ", found=shapes)
    return found


def _lora(folder: Path, config: dict, tensors: Mapping[str, Array], model: GPT2) -> tuple[dict, dict]:
    layers, arrays = dict[str, Any](), dict[str, Array]()
    for path, of_layer in _by_layer(folder, tensors, "AB").items():
        layers[path] = {"kind": LoRALinear.kind, "r": len(of_layer["A"]), "alpha": config.get("lora_alpha"),
                        "dropout": config.get("lora_dropout", 0.0),
                        "rank_stabilised": bool(config.get("use_rslora", False))}
        arrays |= {f"{path}.lora.0.a": of_layer["A"].T, f"{path}.lora.0.u": of_layer["B"].T}
    return layers, arrays


def _adalora(folder: Path, config: dict, tensors: Mapping[str, Array], model: GPT2) -> tuple[dict, dict]:
    layers, arrays, first_r = dict[str, Any](), dict[str, Array](), config.get("init_r")
    if type(first_r) is not int or first_r < 1:
        raise CheckpointError(folder / CONFIG_FILE, "init_r", expected="a positive integer", found=shortened(first_r))
    for path, of_layer in _by_layer(folder, tensors, "AEB").items():
        layers[path] = {"kind": AdaLoRALinear.kind, "r": len(of_layer["A"]), "alpha": config.get("lora_alpha"),
                        "dropout": config.get("lora_dropout", 0.0), "first_r": first_r}
        arrays |= {f"{path}.p": of_layer["A"].T, f"{path}.e": of_layer["E"][:, 0], f"{path}.q": of_layer["B"].T}
    return layers, arrays


def _prefix(folder: Path, config: dict, tensors: Mapping[str, Array], model: GPT2) -> tuple[dict, dict]:
    L, C = model.config.n_layer, model.config.n_embd
    if list(tensors) != [PROMPT]:
        raise CheckpointError(folder, "its arrays are not those of a prefix", expected=PROMPT,
                              found=some(list(tensors)))
    P: Any = config.get("num_virtual_tokens")
    if tensors[PROMPT].shape != (P, 2 * L * C):
        raise CheckpointError(folder, "its shape is wrong for this model", PROMPT, (P, 2 * L * C),
                              tensors[PROMPT].shape)
    both = tensors[PROMPT].reshape(P, L, 2, C)
    layers = {f"h.{i}.attn": {"kind": PrefixSelfAttention.kind, "length": P} for i in range(L)}
    arrays = {f"h.{i}.attn.prefix_{name}": both[:, i, j] for i in range(L) for j, name in enumerate("kv")}
    return layers, arrays


# ---- writing


def _the_same(folder: Path, layers: Mapping[str, Any], name: str) -> Any:
    """What all layers have: peft's config has one number for them."""
    values = {getattr(layer, name) for layer in layers.values()}
    if len(values) > 1:
        raise CheckpointError(folder, f"peft has one {name} for all layers", found=some(sorted(map(str, values))))
    return values.pop()


def _of_matrices(folder: Path, layers: Mapping[str, Any]) -> dict[str, Any]:
    """What the configs of LoRA and AdaLoRA share.  peft compares the ends of names: these are whole ones."""
    return {"lora_alpha": _the_same(folder, layers, "alpha"), "lora_dropout": _the_same(folder, layers, "lora_dropout"),
            "target_modules": [f"transformer.{path}" for path in layers], "fan_in_fan_out": True, "bias": "none",
            "init_lora_weights": True}


def _write_lora(folder: Path, layers: Mapping[str, Any], model: GPT2) -> tuple[dict, dict]:
    for path, layer in layers.items():
        if layer.columns != [(0, layer.w.shape[1])]:
            raise CheckpointError(folder, f"peft has no LoRA on parts of a matrix, as {path} has: merge it into the "
                                  "model")
    r = max(layer.r for layer in layers.values())
    config = _of_matrices(folder, layers) | {
        "peft_type": LORA, "r": r, "use_rslora": _the_same(folder, layers, "rank_stabilised"),
        "rank_pattern": {f"transformer.{path}": layer.r for path, layer in layers.items() if layer.r != r}}
    tensors = {}
    for path, layer in layers.items():
        tensors[f"{PREFIX}{path}.lora_A.weight"] = layer.lora[0].a.value.T
        tensors[f"{PREFIX}{path}.lora_B.weight"] = layer.lora[0].u.value.T
    return config, tensors


def _write_adalora(folder: Path, layers: Mapping[str, Any], model: GPT2) -> tuple[dict, dict]:
    first_r = _the_same(folder, layers, "first_r")
    config = _of_matrices(folder, layers) | {
        "peft_type": ADALORA, "init_r": first_r, "target_r": first_r, "total_step": 1}
    if any(layer.r < first_r for layer in layers.values()):
        config["rank_pattern"] = {f"transformer.{path}.lora_E": [i < layer.r for i in range(first_r)]
                                  for path, layer in layers.items()}
    tensors = {}
    for path, layer in layers.items():
        tensors[f"{PREFIX}{path}.lora_A"] = layer.p.value.T
        tensors[f"{PREFIX}{path}.lora_E"] = layer.e.value[:, None]
        tensors[f"{PREFIX}{path}.lora_B"] = layer.q.value.T
    return config, tensors


def _write_prefix(folder: Path, layers: Mapping[str, Any], model: GPT2) -> tuple[dict, dict]:
    L, C, P = model.config.n_layer, model.config.n_embd, _the_same(folder, layers, "P")
    if list(layers) != [f"h.{i}.attn" for i in range(L)]:
        raise CheckpointError(folder, f"peft's prefix is in all {L} blocks", found=some(list(layers)))
    both = [to_host(getattr(layer, name).value) for layer in layers.values() for name in layer.own]
    config = {"peft_type": PREFIX_TUNING, "num_virtual_tokens": P, "token_dim": C, "num_layers": L,
              "num_attention_heads": model.config.n_head, "num_transformer_submodules": 1, "encoder_hidden_size": C,
              "prefix_projection": False}
    return config, {PROMPT: np.concatenate(both, axis=1)}
