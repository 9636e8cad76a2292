"""The folder of a run: checkpoints that are there whole or not at all, the best model, and the log.

    OUT/run.json              what the run does: its plan, and what was changed when it was resumed
    OUT/train.tokens          the text (and val.tokens), see batches.py
    OUT/log.jsonl             a line for every step and every evaluation
    OUT/curve.html            the losses in it as a picture, see curve.py
    OUT/step-00000100/        the last checkpoint: a model in OpenAI's layout, and beside it
        moments.safetensors   what the optimizer remembers of every parameter
        state.json            what else the rest of the run depends on
    OUT/best/                 the model with the lowest validation loss
    OUT/.lock                 empty; the process that trains holds it, so that no second one does

A checkpoint is written under a name with a dot in front, is on the disk, and then gets its name; only then is the one
before it removed.  So whatever happens, at any moment, the newest folder step-* is whole.
"""

import json
import shutil
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from ..checkpoints import files, loading, safetensors
from ..checkpoints.errors import CheckpointError
from ..checkpoints.files import read_json, replace_text, sync_file, sync_folder, write_text
from ..hints import Array
from ..models.gpt2 import GPT2
from ..text.protocol import AnyTokenizer
from .errors import TrainingError
from .optimizer import Optimizer

LOG, RUN, BEST, STATE, MOMENTS = "log.jsonl", "run.json", "best", "state.json", "moments.safetensors"
TRAIN, VAL, LOCK = "train.tokens", "val.tokens", ".lock"
MAX_STATE_BYTES = 1 << 20

Moments = dict[str, dict[str, Array]]               # of an optimizer: name -> path of a parameter -> array


class Checkpoint(NamedTuple):
    """What a run goes on from."""

    model: GPT2
    tokenizer: AnyTokenizer
    moments: Moments
    state: dict                 # what else the rest of the run depends on: see Trainer


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def save(out: str | Path, model: GPT2, tokenizer: AnyTokenizer, optimizer: Optimizer, state: dict) -> None:
    """Write the checkpoint of a step, state["step"], and remove the one before; nothing where it is there already."""
    folder = Path(out, step_name(state["step"]))
    if folder.exists():
        return
    remove_unfinished(out)
    if Path(out, LOG).exists():
        sync_file(Path(out, LOG))                       # the log of the steps that will not be done again
    new = folder.with_name(f".{folder.name}.new")
    try:
        new.mkdir()
        loading.write_files(new, loading.layout_of(model), model, tokenizer)
        safetensors.write(new / MOMENTS, {f"{name}.{path}": array for name, arrays in optimizer.moments.items()
                                          for path, array in arrays.items()})
        write_text(new / STATE, json.dumps(state, indent=1) + "\n")
        sync_folder(new)
        new.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        remove_unfinished(out)                          # a full disk should not stay full of it
        raise
    for older in checkpoints(out)[:-1]:
        older.rename(older.with_name(f".{older.name}.old"))         # never half there under its name
    remove_unfinished(out)


def load(out: str | Path, dropout: float = 0.0, recompute: bool = False) -> Checkpoint:
    """The last checkpoint of a run, with GPT2's options for the model.

    All in memory of their own: the files are removed when the next checkpoint has been written.
    Raises TrainingError where there is none, CheckpointError where it is damaged.
    """
    remove_unfinished(out)
    if not (folders := checkpoints(out)):
        again = Path(out).is_dir() and only_begun(Path(out))
        raise TrainingError(f"{out}: expected a folder step-..., the checkpoint of a run, got none: "
                            + ("the run was stopped before its first one; begin it again, with --out, which takes "
                               "this folder" if again else "is it the right folder?"))
    model, tokenizer = load_to_train(folders[-1], dropout, recompute)
    state = read_json(folders[-1] / STATE, MAX_STATE_BYTES)
    tensors, _ = safetensors.read(folders[-1] / MOMENTS)
    moments: Moments = {}
    for key, array in tensors.items():
        name, path = key.split(".", 1)
        moments.setdefault(name, {})[path] = np.array(array, order="C")
    return Checkpoint(model, tokenizer, moments, state)


def load_to_train(name_or_path: str | Path, dropout: float = 0.0, recompute: bool = False) -> tuple[GPT2, AnyTokenizer]:
    """A model and its tokenizer, for training: with GPT2's options, and in memory of its own: so the files may go."""
    loaded, tokenizer = loading.load_with_tokenizer(name_or_path)
    model = GPT2(loaded.config, dropout=dropout, recompute=recompute)
    for (_, p), (_, stored) in zip(model.named_parameters(), loaded.named_parameters()):
        p.value = np.array(stored.value, order="C")
    return model, tokenizer


def restore(optimizer: Optimizer, moments: Moments, step: int, out: str | Path) -> None:
    """Restore the optimizer's moments and count of steps; CheckpointError unless they are for its parameters."""
    for name, arrays in optimizer.moments.items():
        stored = moments.get(name, {})
        if {path: a.shape for path, a in stored.items()} != {path: a.shape for path, a in arrays.items()}:
            raise CheckpointError(Path(out), f"the optimizer's {name} is not that of the model's parameters")
    optimizer.moments, optimizer.t = moments, step


def save_best(out: str | Path, model: GPT2, tokenizer: AnyTokenizer) -> None:
    """Replace the best model."""
    loading.save(Path(out, BEST), model, tokenizer)


def step_name(step: int) -> str:
    """The name of a checkpoint's folder."""
    return f"step-{step:08d}"


def checkpoints(out: str | Path) -> list[Path]:
    """The folders of whole checkpoints, the newest last."""
    return sorted(Path(out).glob("step-*"))


def remove_unfinished(out: str | Path) -> None:
    """Remove what an interrupted save or removal has left."""
    for path in [*Path(out).glob(".step-*"), *Path(out).glob(f".{BEST}.*.new")]:
        shutil.rmtree(path)
    best, old = Path(out, BEST), Path(out, f".{BEST}.old")
    if old.exists():                                    # a crash in loading.save, before or after best got its name
        shutil.rmtree(old) if best.exists() else old.rename(best)


# ---- the folder ------------------------------------------------------------------------------------------------------


def make(out: str | Path) -> None:
    """Have a folder for a new run.

    TrainingError if it holds anything but what a run leaves that was killed as it began.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and (contents(out) == [] or only_begun(out))):
        what = "one that holds something" if out.is_dir() else "a file"
        go_on = ", or go on with its run by --resume" if Path(out, RUN).exists() else ""
        raise TrainingError(f"{out}: expected a new or empty folder for the run, got {what}: name another one{go_on}")
    out.mkdir(parents=True, exist_ok=True)


def locked(out: str | Path) -> AbstractContextManager[None]:
    """A context in which this process alone trains in a folder that is there; TrainingError where another one does."""
    return files.locked(Path(out, LOCK), partial(_refuse_a_second, out))


def _refuse_a_second(out: str | Path) -> NoReturn:
    raise TrainingError(f"{out}: another process trains here; end it first")


def write_run(out: str | Path, run: dict) -> None:
    """Begin a run in its folder; what make does is done again, for until the lock is held the folder may change."""
    make(out)
    for path in contents(Path(out)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_text(Path(out, RUN), json.dumps(run, indent=1) + "\n")


def contents(out: Path) -> list[Path]:
    """What is in a folder beside the lock."""
    return [path for path in out.iterdir() if path.name != LOCK]


def only_begun(out: Path) -> bool:
    """Whether a folder holds what write_run made, and beside it nothing but what comes before a checkpoint."""
    first = (RUN, TRAIN, VAL, f".{step_name(0)}.new")
    if not (out / RUN).exists() or any(path.name not in first for path in contents(out)):
        return False
    try:
        return "plan" in read_json(out / RUN, MAX_STATE_BYTES)
    except CheckpointError:
        return False


def rewrite_run(out: str | Path, run: dict) -> None:
    """Replace what write_run wrote, whole."""
    replace_text(Path(out, RUN), json.dumps(run, indent=1) + "\n")


def read_run(out: str | Path) -> dict:
    """What write_run wrote."""
    if not Path(out, RUN).exists():
        raise TrainingError(f"{out}: expected the folder of a run, with {RUN} in it, got one without: is it the right "
                            f"folder?")
    return read_json(Path(out, RUN), MAX_STATE_BYTES)


# ---- the log ---------------------------------------------------------------------------------------------------------


def append_log(out: str | Path, record: dict) -> None:
    """Add a line to the log."""
    with open(Path(out, LOG), "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read_log(out: str | Path) -> list[dict]:
    """The records of the log, none where there is no log; a last line that was cut short is left out."""
    records: list[dict] = []
    if not Path(out, LOG).exists():
        return records
    for line in Path(out, LOG).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def cut_log(out: str | Path, step: int) -> None:
    """Leave out of the log what the run does again: all after a step, and at step 0 all."""
    kept = [record for record in read_log(out) if record["step"] <= step and step > 0]
    replace_text(Path(out, LOG), "".join(json.dumps(record) + "\n" for record in kept))
