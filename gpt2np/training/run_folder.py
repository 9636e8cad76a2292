"""The folder of a run: checkpoints that are there whole or not at all, the best model, and the log.

    OUT/run.json              what the run does: its task, its plan, and what was changed when it was resumed
    OUT/train.tokens, ...     what it learns from, as the task has written it
    OUT/log.jsonl             a line for every step and every evaluation
    OUT/curve.html            the figures in it as a picture, see curve.py
    OUT/step-00000100/        the last checkpoint, or the last ones: what the task saves, as a model, and beside it
        moments.safetensors   what the optimizer remembers of every parameter
        state.json            what else the rest of the run depends on
    OUT/best/                 what the task saves of the best model
    OUT/.lock                 empty; the process that trains holds it, so that no second one does

A checkpoint is written under a name with a dot in front, is on the disk, and then gets its name; only then is the one
before it removed.  So whatever happens, at any moment, the newest folder step-* is whole.

Chapter: S000 7.2.
"""

import json
import shutil
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..checkpoints import files, safetensors
from ..checkpoints.errors import CheckpointError
from ..checkpoints.files import read_json, replace_folder, replace_text, sync_file, sync_folder, write_text
from ..hints import Array
from .errors import TrainingError
from .optimizer import Optimizer
from .tasks import Task

LOG, RUN, BEST, STATE, MOMENTS, LOCK = ("log.jsonl", "run.json", "best", "state.json", "moments.safetensors", ".lock")
UPDATES = "updates"                                 # stands among the moments
MAX_STATE_BYTES = 1 << 20

Moments = dict[str, dict[str, Array]]               # of an optimizer: name -> path of a parameter -> array
State = dict[str, Any]                              # see Trainer


class Checkpoint(NamedTuple):
    """What a run goes on from, beside its task."""

    folder: Path
    moments: Moments
    updates: dict[str, int]         # how many of them each parameter has had, by its path
    state: State


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def save(out: str | Path, task: Task, optimizer: Optimizer, state: State, keep: int = 1) -> None:
    """Write the checkpoint of a step, state["step"]; where it is there, its state alone.

    keep   how many are left, this one among them: those before are removed
    """
    folder = Path(out, step_name(state["step"]))
    text = json.dumps(state, indent=1) + "\n"
    if Path(out, LOG).exists():
        sync_file(Path(out, LOG))                       # the log of the steps that will not be done again
    if folder.exists():                                 # perhaps from before the step's evaluation
        if (folder / STATE).read_text(encoding="utf-8") != text:
            replace_text(folder / STATE, text)
        return
    remove_unfinished(out)
    new = folder.with_name(f".{folder.name}.new")
    try:
        new.mkdir()
        task.save(new)
        updates = {path: np.array(t) for path, t in optimizer.t.items()}
        safetensors.write(new / MOMENTS, {f"{name}.{path}": array for name, arrays in
                                          {UPDATES: updates, **optimizer.moments}.items()
                                          for path, array in arrays.items()})
        write_text(new / STATE, text)
        sync_all(new)
        new.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        remove_unfinished(out)                          # a full disk should not stay full of it
        raise
    for older in checkpoints(out)[:-keep]:
        older.rename(older.with_name(f".{older.name}.old"))         # never half there under its name
    remove_unfinished(out)


def load(out: str | Path) -> Checkpoint:
    """The last checkpoint of a run, but for what the task has saved; in memory of its own, for the files will go.

    Raises TrainingError where there is none, CheckpointError where it is damaged.
    """
    remove_unfinished(out)
    if not (folders := checkpoints(out)):
        again = Path(out).is_dir() and only_begun(Path(out))
        raise TrainingError(f"{out}: expected a folder step-..., the checkpoint of a run, got none: "
                            + ("the run was stopped before its first one; begin it again, with --out, which takes "
                               "this folder" if again else "is it the right folder?"))
    state = read_json(folders[-1] / STATE, MAX_STATE_BYTES)
    tensors, _ = safetensors.read(folders[-1] / MOMENTS)
    moments: Moments = {}
    for key, array in tensors.items():
        name, path = key.split(".", 1)
        moments.setdefault(name, {})[path] = np.array(array, order="C")
    updates = {path: int(t) for path, t in moments.pop(UPDATES, {}).items()}
    return Checkpoint(folders[-1], moments, updates, state)


def restore(optimizer: Optimizer, checkpoint: Checkpoint) -> None:
    """Give an optimizer its memory back; CheckpointError unless it is one of this optimizer's, for its parameters."""
    shapes = {path: p.value.shape for path, p in optimizer.parameters.items()}
    expected = {path: shapes.get(path) for path in checkpoint.updates}
    for name in dict.fromkeys([*optimizer.MOMENTS, *checkpoint.moments]):
        stored = {path: a.shape for path, a in checkpoint.moments.get(name, {}).items()}
        if name not in optimizer.MOMENTS or stored != expected:
            raise CheckpointError(checkpoint.folder,
                                  f"the optimizer's {name} is not that of the model's parameters")
    optimizer.t = dict(checkpoint.updates)
    optimizer.moments = {name: dict(checkpoint.moments.get(name, {})) for name in optimizer.MOMENTS}


def save_best(out: str | Path, task: Task) -> None:
    """Replace the best model; whatever happens, one of them is there, whole.

    CheckpointError where somebody has put something beside it, which would be lost.
    """
    best, new = Path(out, BEST), Path(out, f".{BEST}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        task.save(new)
        sync_all(new)
        names = {path.name for path in new.iterdir()}
        if others := sorted(path.name for path in best.glob("*") if path.name not in names):
            raise CheckpointError(best, "it holds something that is not part of a model, and is left as it is",
                                  found=repr(others[0]))
        replace_folder(best, new, Path(out, f".{BEST}.old"))
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def sync_all(folder: Path) -> None:
    """Have a folder and the files in it on the disk."""
    for path in folder.iterdir():
        sync_file(path)
    sync_folder(folder)


def step_name(step: int) -> str:
    """The name of a checkpoint's folder."""
    return f"step-{step:08d}"


def checkpoints(out: str | Path) -> list[Path]:
    """The folders of whole checkpoints, the newest last."""
    return sorted(Path(out).glob("step-*"))


def remove_unfinished(out: str | Path) -> None:
    """Remove what an interrupted save or removal has left."""
    for path in [*Path(out).glob(".step-*"), *Path(out).glob(f".{BEST}.new")]:
        shutil.rmtree(path)
    for path in Path(out).glob("step-*/.*.new"):
        path.unlink()
    best, old = Path(out, BEST), Path(out, f".{BEST}.old")
    if old.exists():                                    # a crash in save_best, before or after best got its name
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
    """Begin a run in its folder; what make does is done again, for until the lock is held the folder may change.

    run   "plan", and whatever else is to be known of it; "data": the names of files that its task puts there
    """
    make(out)
    for path in contents(Path(out)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_text(Path(out, RUN), json.dumps(run, indent=1) + "\n")


def contents(out: Path) -> list[Path]:
    """What is in a folder beside the lock."""
    return [path for path in out.iterdir() if path.name != LOCK]


def only_begun(out: Path) -> bool:
    """Whether a folder holds what write_run made, and beside it nothing but what comes before a checkpoint."""
    if not (out / RUN).exists():
        return False
    try:
        run = read_json(out / RUN, MAX_STATE_BYTES)
    except CheckpointError:
        return False
    first = [RUN, f".{step_name(0)}.new", *run.get("data", [])]
    return "plan" in run and all(path.name in first for path in contents(out))


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


def cut_log(out: str | Path, state: State) -> None:
    """Leave out of the log what the run does again: all after a step, and that step's evaluation if it is to come."""
    kept = [record for record in read_log(out) if record["step"] < state["step"] + (state["evaluated"] == state["step"])
            or (record["step"] == state["step"] and "val_loss" not in record)]
    replace_text(Path(out, LOG), "".join(json.dumps(record) + "\n" for record in kept))
