"""Imports point one way: layers -> blocks -> models -> what uses them; and importing does nothing but define."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import gpt2np
from gpt2np.starting import COMMANDS

ROOT = Path(gpt2np.__file__).parent
# What each part of the package may import of the rest; `device` is the border to the GPU and imports nothing.
# The commands, each __main__.py among them, may import anything, and nothing imports them, but gpt2np/__init__.py one.
ALLOWED = {
    "training": {"adapt", "layers", "models", "text", "checkpoints", "decoding", "sampling", "memory", "filling",
                 "page", "interpret"},
    "interrupts": set(), "command": {"interrupts", "nearest", "memory"}, "nearest": set(),
    "starting": {"interrupts", "nearest"},
    "terminal": {"text"}, "ranks": {"training"}, "follow": {"training", "terminal", "interrupts"},
    "layers": set(), "blocks": {"layers"}, "models": {"layers", "blocks", "device"},
    "adapt": {"layers", "blocks"}, "gradcheck": {"layers", "blocks", "models", "adapt"},
    "interpret": {"layers", "blocks", "models", "checkpoints", "text", "page", "decoding"},
    "serve": {"layers", "models", "text", "page", "decoding", "sampling", "nearest"},
    "text": set(), "device": set(), "page": set(),
    "checkpoints": {"adapt", "layers", "models", "text", "device"}, "bytes_in": set(), "hints": set(),
    "filling": {"layers", "models", "text"}, "sentences": {"checkpoints", "models", "text"},
    "ensemble": {"layers", "models"},
    "scoring": {"decoding", "device", "layers", "models", "text"}, "questions": {"scoring", "text"},
    "sentence_pairs": {"questions", "scoring", "text"},
    "grading": {"checkpoints", "labelling", "terminal", "training"},
    "labelling": {"checkpoints", "layers", "model_names", "models", "text", "training"},
    "sampling": {"layers"}, "tracing": {"adapt", "layers", "interpret"}, "memory": set(), "blas": {"memory"},
    "model_names": {"checkpoints", "models", "text", "nearest", "training"},
    "decoding": {"layers", "blocks", "models", "sampling", "text", "device", "blas"},
}
EVERYWHERE = {"hints", "errors", "bytes_in"}    # names of types, for signatures; the base of all errors; small files
ALONE = ("checkpoints/tf_bundle.py", "checkpoints/safetensors.py")      # formats: they know nothing of GPT-2


def imported_parts(path):
    """The parts of the package that a file imports, by the first name below gpt2np."""
    package = path.relative_to(ROOT.parent).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "gpt2np"):
            base = package[:len(package) - node.level + 1] if node.level else ()
            full = [*base, *(node.module or "").split(".")] if node.module else list(base)
            yield from [full[1]] if len(full) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("gpt2np."))


def test_imports_point_one_way():
    for part, allowed in ALLOWED.items():
        for path in [*(ROOT / part).rglob("*.py"), *ROOT.glob(f"{part}.py")]:
            if path.name == "__main__.py":
                continue
            wrong = set(imported_parts(path)) - allowed - EVERYWHERE - {part}
            assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}; {part} may import {allowed or 'nothing'}"


def test_nothing_imports_a_command():
    """But gpt2np/__init__.py, for gpt2np.generate("...")."""
    commands = {name for name in COMMANDS if (ROOT / f"{name}.py").exists()}
    for path in ROOT.rglob("*.py"):
        wrong = commands.intersection(imported_parts(path))
        assert not wrong or path == ROOT / "__init__.py", f"{path.relative_to(ROOT)} imports {wrong}"


def test_what_serves_any_task_knows_nothing_of_texts():
    """LanguageModelling, with its batches and its evaluation, is one task of many; Translation, MaskedWords and those
    of fine-tuning are others."""
    of_texts = {"language_modelling.py", "batches.py", "evaluation.py",
                "translation.py", "pairs.py", "number_pairs.py", "masked_words.py", "documents.py", "gaps.py",
                "finetuning.py", "new_finetuning.py", "findings.py", "labelled.py", "label_rows.py", "made_up.py",
                "augmenting.py",
                "named_entities.py", "text_classification.py", "question_answering.py", "written_answers.py"}
    for path in (ROOT / "training").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {f"{n.module}.py" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 1}
        wrong = set(imported_parts(path)) & {"text", "decoding", "sampling"} | modules & of_texts
        assert path.name in of_texts or not wrong, f"{path.name} imports {wrong}"


def test_file_formats_stand_alone():
    for name in ALONE:
        parts = set(imported_parts(ROOT / name))
        assert parts - EVERYWHERE == {"checkpoints"}, f"{name} imports {parts}"
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}
        assert modules <= {"arrays", "crc32c", "errors", "files", "hints", "sstable"}, f"{name}: {modules}"


def test_layers_need_numpy_alone():
    script = ("import sys, numpy.random; before = set(sys.modules); import gpt2np.gradcheck.cases\n"
              "new = {m.split('.')[0] for m in set(sys.modules) - before}\n"
              "print(*sorted(new - set(sys.stdlib_module_names)))")
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert set(out.stdout.split()) <= {"gpt2np", "numpy"}


def test_a_wheel_holds_every_part():
    """setup.cfg lists the packages by hand, since the demo model's lies elsewhere: what it forgets is not installed."""
    setup = configparser.ConfigParser()
    setup.read(ROOT.parent / "setup.cfg", encoding="utf-8")
    parts = {".".join(path.parent.relative_to(ROOT.parent).parts) for path in ROOT.rglob("__init__.py")}
    assert set(setup["options"]["packages"].split()) == parts | {
        "gpt2np.demo", "gpt2np.demo_zh", "gpt2np.fill", "gpt2np.translation"}
    assert setup["options.package_data"]["gpt2np"] == "py.typed" and (ROOT / "py.typed").exists()   # or hints go unseen
