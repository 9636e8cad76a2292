"""What was added to a model, or trained of it, in a folder of its own: a few MB beside a base that stays where it is.

    adapter.json            the base's name and fingerprint, what stands in the places of which layers, and what kind of
                            head is on it, where the head is new
    adapter.safetensors     every parameter that was trained, by its path, and no other

A base that is not the one that it was trained on is refused: it would give texts, and wrong ones. Folders of peft are
read too: see peft.py.
"""

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..adapt.adalora import AdaLoRALinear
from ..adapt.adapter import AdapterLinear, block_adapter
from ..adapt.lora import LoRALinear
from ..adapt.prefix import PrefixSelfAttention, check_room
from ..adapt.replacing import added, places, replace, replacements, restore
from ..device import to_host
from ..hints import Array
from ..layers.module import Module, Parameter
from ..models.heads import OBJECTIVES, AnswerFinder, Classifier, Objective, TokenClassifier
from . import safetensors
from .errors import CheckpointError, shortened, some
from .files import read_json, whole_folder, write_text
from .parameters import as_parameter

ADAPTER_FILE, ARRAYS_FILE = "adapter.json", "adapter.safetensors"
MAX_BYTES = 1 << 22                 # of the JSON: some 200 bytes for each layer that was replaced
SAMPLED = 16                        # rows and columns of each matrix that the fingerprint looks at, about
FORMAT = 1

KINDS: Mapping[str, Callable[..., Module]] = {
    LoRALinear.kind: LoRALinear, AdaLoRALinear.kind: AdaLoRALinear, AdapterLinear.kind: AdapterLinear,
    "block adapter": block_adapter, PrefixSelfAttention.kind: PrefixSelfAttention}
HEADS = {kind.__name__: kind for kind in (Classifier, TokenClassifier, AnswerFinder)}


def save_adapter(folder: str | Path, model: Module, base: str) -> None:
    """Save what was added to a model and what is trained of it.

    folder   is made; an adapter that is there already is replaced
    base     the name or path of the model that it was added to

    Raises CheckpointError if the folder holds anything else, or where there is nothing to save; OSError where the disk
    refuses.
    """
    folder = Path(os.path.realpath(folder))
    if folder.exists():
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file of this name"}
        if others := sorted(names - {ADAPTER_FILE, ARRAYS_FILE}):
            raise CheckpointError(folder, "it holds something that is not part of an adapter, and is left as it is",
                                  found=repr(others[0]))
    with whole_folder(folder, folder.with_name(f".{folder.name}.old")) as new:
        write_adapter(new, model, base)


def write_adapter(folder: Path, model: Module, base: str) -> None:
    """Write the two files into a folder that is there: save_adapter's inner half."""
    arrays = {path: to_host(p.value) for path, p in kept(model).items()}
    if not arrays:
        raise CheckpointError(folder, "there is nothing to save: nothing was added to the model, and all of it is "
                              "frozen")
    if len(arrays) == len(dict(model.named_parameters())):
        raise CheckpointError(folder, "all parameters of the model are trained: save the model itself")
    for path, array in arrays.items():
        as_parameter(folder, path, array, array.dtype)              # finite
    about = {"format": FORMAT, "base": base, "model": type(model).__name__,
             "fingerprint": fingerprint(model, arrays),
             "layers": {path: {"kind": layer.kind} | layer.options() for path, layer in replacements(model).items()}}
    if isinstance(model, Classifier) and all(f"head.{path}" in arrays for path, _ in model.head.named_parameters()):
        about["head"] = {"labels": list(model.labels), "objective": model.objective.name}
    safetensors.write(folder / ARRAYS_FILE, arrays)
    write_text(folder / ADAPTER_FILE, json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def kept(model: Module) -> dict[str, Parameter]:
    """What a file holds of a model: what was added to it, and what else of it is trained."""
    new = added(model)
    return {path: p for path, p in model.named_parameters() if p.trainable or path in new}


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder is one of ours."""
    return os.path.isfile(Path(folder, ADAPTER_FILE))


def read_about(folder: str | Path) -> dict[str, Any]:
    """What adapter.json says; CheckpointError unless it says all that there is to say."""
    path = Path(folder, ADAPTER_FILE)
    about = read_json(path, MAX_BYTES)
    kinds = {"format": int, "base": str, "model": str, "fingerprint": str, "layers": dict}
    for field, kind in kinds.items():
        if type(about.get(field)) is not kind:
            raise CheckpointError(path, f"{field} is not what it should be", expected=kind.__name__,
                                  found=shortened(about.get(field)))
    if about["format"] != FORMAT:
        raise CheckpointError(path, "it is of another version", expected=f"format {FORMAT}", found=about["format"])
    return about


class Head(NamedTuple):
    """A head that an adapter brings along, all of it."""
    kind: type[Classifier]
    labels: Sequence[str]
    objective: Objective


def read_head(folder: str | Path) -> Head | None:
    """The head that an adapter brings along; None where it has that of its base, or none."""
    about = read_about(folder)
    if "head" not in about:
        return None
    kind, found = HEADS.get(about["model"]), about["head"]
    labels, name = (found.get("labels"), found.get("objective")) if isinstance(found, dict) else (None, None)
    if kind is None or not isinstance(labels, list) or not all(isinstance(label, str) for label in labels) \
            or not len(set(labels)) == len(labels) > 0 or not isinstance(name, str) or name not in OBJECTIVES:
        raise CheckpointError(Path(folder, ADAPTER_FILE), "head is not what it should be", found=shortened(found),
                              expected=f"labels, and an objective of {', '.join(OBJECTIVES)}, for a model of "
                              f"{', '.join(HEADS)}")
    return Head(kind, labels, OBJECTIVES[name])


def read_adapter(folder: str | Path, model: Module) -> None:
    """Add to a model, its base, what is in a folder, and freeze the rest; see save_adapter.

    Raises CheckpointError for whatever is wrong with the files, or for another base: then the model is what it was.
    """
    folder = Path(folder)
    about, (tensors, _) = read_about(folder), safetensors.read(folder / ARRAYS_FILE)
    if about["model"] != type(model).__name__:
        raise CheckpointError(folder, "it is for another model", expected=f"a {type(model).__name__}",
                              found=f"one for a {about['model']}")
    attach(folder, model, about["layers"], tensors, fingerprint_of=about["fingerprint"])


def attach(folder: Path, model: Module, layers: Mapping[str, Any], tensors: Mapping[str, Array],
           fingerprint_of: str | None = None) -> None:
    """Put the layers that are described in their places, and fill them; all or nothing.

    layers           path -> {"kind", options ...}
    tensors          path -> array: of all that is added, and whatever else of the model was trained
    fingerprint_of   of the base; None where it is not known
    """
    old: list[dict[str, Module]] = []
    before = {path: (p.value, p.trainable) for path, p in model.named_parameters()}
    try:
        for path, options in layers.items():
            old.append(_put(folder, model, path, options))
        _fill(folder, model, tensors, set(before))
        if fingerprint_of is not None and (found := fingerprint(model, tensors)) != fingerprint_of:
            raise CheckpointError(folder, "it was trained on another model than this one, and would spoil it: load it "
                                  "with its own", expected=f"a base with fingerprint {fingerprint_of}", found=found)
    except BaseException:
        for replaced in reversed(old):
            restore(model, replaced)
        for path, p in model.named_parameters():
            p.value, p.trainable = before[path]
        raise


def fingerprint(model: Module, besides: Collection[str]) -> str:
    """What tells a base from another: names and shapes of its parameters but for those, and some rows and columns of
    each.

    Whoever trains a model changes nearly all of its numbers, so a sample of them is enough; and it is the same for
    float32 and float64, and however a matrix lies in memory.
    """
    new, seen = added(model), blake2b(digest_size=8)
    for path, p in sorted(model.named_parameters()):
        if path not in besides and path not in new:
            seen.update(f"{path} {p.shape}".encode())
            seen.update(sample(p.value).tobytes())
    return seen.hexdigest()


def sample(value: Array) -> Array:
    """Some rows and columns of an array, as float32 on the host."""
    for axis, n in enumerate(value.shape):
        step = max(1, n // SAMPLED)
        value = value[(slice(None),) * axis + (slice(None, None, step),)]
    return np.ascontiguousarray(to_host(value), "<f4")


def _put(folder: Path, model: Module, path: str, options: Any) -> dict[str, Module]:
    """Put one layer in its place; returns what was there."""
    if not isinstance(options, dict) or options.get("kind") not in KINDS:
        raise CheckpointError(folder, f"what stands at {shortened(path)} is not known", expected="a kind of "
                              + ", ".join(KINDS), found=shortened(options))
    make = KINDS[options["kind"]]
    others = {name: value for name, value in options.items() if name != "kind"}
    if not any(place.path == path for place in places(model)):
        raise CheckpointError(folder, f"it is for another model: this one has no layer {shortened(path)}")
    try:
        if options["kind"] == PrefixSelfAttention.kind:
            check_room(model, others.get("length", 0))
        return replace(model, path, lambda layer: make(layer, **others))
    except (ValueError, TypeError) as error:
        raise CheckpointError(folder, f"what it says of {shortened(path)} cannot be: {error}") from None


def _fill(folder: Path, model: Module, tensors: Mapping[str, Array], base: set[str]) -> None:
    """Give parameters their values, train those alone, and check that all are there."""
    new, parameters = added(model), dict(model.named_parameters())
    missing = [path for path in new if path not in tensors]
    unexpected = [path for path in tensors if path not in new and path not in base]
    for what, names in (("lacks", missing), ("holds what is no parameter of the model,", unexpected)):
        if names:
            raise CheckpointError(folder, f"it {what} {some(names)}")
    for path, array in tensors.items():
        p = parameters[path]
        if array.shape != p.shape:
            raise CheckpointError(folder, "its shape is wrong", path, p.shape, array.shape)
    dtype = next(iter(parameters[path] for path in base)).value.dtype
    for path, p in parameters.items():
        p.trainable = path in tensors
        if path in tensors:
            p.value = np.array(as_parameter(folder, path, tensors[path], dtype), order="C")
