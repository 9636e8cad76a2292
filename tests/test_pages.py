"""Every command and every Python example on the pages is run here, as it stands on the page, with sizes cut.

What is taken for a command: in a sentence, `code` that begins with one of PROGRAMS and says more than its name; and all
of a block of code that names no language, or a shell. Blanks that are two or more begin an explanation. A block right
after a command that begins with no program is what the command prints. ```python is run, block after block in one
namespace; one that begins with an import needs nothing of those before it, and begins a new one. A block of ```text
right behind it is what it prints, to the letter. Other ```text and the other languages are left alone. `--option` alone
must be an option of some command.

A command that no rule here covers fails, and the message says where to add one. Nothing reaches the network. The pages
in Chinese have the commands and examples of their English twins: tests/test_twins.py.
"""

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from configparser import ConfigParser
from itertools import accumulate, count, pairwise, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import gpt2np
from gpt2np import sentences, similar, train
from gpt2np.checkpoints import download, loading
from gpt2np.gradcheck.cases import CASES
from gpt2np.gradcheck.checks import Case, examine
from gpt2np.layers.layernorm import layernorm_backward, layernorm_forward
from gpt2np.models.bert import BERT, BertForPreTraining
from gpt2np.models.config import SIZES, BertConfig, GPT2Config, TransformerConfig
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.transformer import Transformer
from gpt2np.serve.__main__ import Ending
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training import new_finetuning, translation
from gpt2np.training.number_pairs import number_pairs
from tests.checkpoints.fuzz import Fuzz
from tests.checkpoints.test_download import Server
from tests.checkpoints.tiny import MERGES
from tests.test_new_layer import STEP, copy  # noqa: F401    a fixture, for the page whose code goes into a copy
from tests.training.conftest import TEXT
from tests.training.test_mpi import mpiexec, needs_mpi

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md",
         *(page for page in sorted((ROOT / "docs").glob("*.md")) if not page.name.endswith(".zh.md")),
         ROOT / "weights" / "README.md", ROOT / "weights" / "demo" / "README.md"]
LONG = ("docs/commands.md", "docs/chapter.md", "docs/scoring.md", "docs/smaller.md",
        "weights/demo/README.md")                       # for make test-slow
RELEASED = dict(SIZES)
TINY = GPT2Config(n_embd=8, n_head=2, n_layer=1)        # goes by the names of OpenAI's models, with their vocabulary
TRANSLATOR = TransformerConfig(257 + len(MERGES), 32, 8, 2, 1, 8)       # takes the place of weights/translation

# ---- the tables: what the rules below do not know by themselves

PROGRAMS = ("make", "python", "python3", ".venv/bin/python", "pip", "mpiexec", "sed", "git", "cd", "export", "source")

# What a page leaves to the reader, and what stands for it. FILE and DIR are names like others here.
PLACEHOLDERS = {r"(\w+)\.\.\.(?= |$)": r"\1 \1",        # FILE..., several of them
                r"\bstep-\d{8}\b": "step-00000002",     # a checkpoint of a run of 2 steps, where there were thousands
                "--init-from demo": "--init-from tiny",
                "classify(.*) --init-from DIR/best": r"classify\1 --init-from minibert",
                r"\[MASK\](.*) --model DIR/best": r"[MASK]\1 --model minibert"}       # of a run of another task
FILES = ("FILE", "train.txt", "val.txt")                # all with TEXT in them
DATA_SETS = {"lambada_test.jsonl": {"text": "To be, or not to be"},     # lines as their files have them
             "hellaswag_val.jsonl": {"activity_label": "Speech", "ctx_a": "To be,", "ctx_b": "or not", "label": 0,
                                     "endings": ["to be.", "to go.", "to see.", "to say."]}}
PAIRS = "".join(f"{source}\t{target}\n" for source, target in number_pairs(30, 0))

LABELLED = {"names.conll": "Ada B-PER\nlives O\nin O\nRome B-LOC\n\n" * 20,
            "reviews.tsv": "".join(f"good {i}\tpos\nbad {i}\tneg\n" for i in range(20)),
            "synonyms.tsv": "good\tfine\nbad\tpoor\n",
            "prompts.tsv": "".join(f"is it {i}?\tyes\n" for i in range(20))}
LABELLED["test.conll"] = LABELLED["names.conll"]

# Runs that would take long: the options get these values, in place of the page's or beside them. A command whose output
# is on the page runs as it is.
CUT = {
    "gpt2np.generate": {"--max-new-tokens": "30"},     # as many as make generate asks for at least
    "gpt2np.train_tokenizer": {"--n-vocab": "260"},
    "gpt2np.train": {"--steps": "2", "--n-vocab": "260", "--context": "8", "--n-layer": "1", "--n-head": "2",
                     "--n-embd": "8", "--warmup": "1", "--eval-every": "1", "--sample": "3"},
    "gpt2np.finetune": {"--steps": "2", "--context": "8", "--n-layer": "1", "--n-head": "2", "--n-embd": "8",
                        "--eval-every": "1", "--sample": "1"},
    "benchmarks.layers": {"--quick": None, "--only": "embedding"},      # None: it takes no value
    "benchmarks.score": {"--rounds": "1", "--context": "20", "--tokens": "3"},
    "gpt2np.serve": {"--port": "0"}, "benchmarks.serve": {"--seconds": "0.1", "--rounds": "0", "--clients": "1",
                                                   "--tokens": "2"},
    "benchmarks.robustness": {"--seeds": "1", "--steps": "2", "--only": "two heads"},
    "benchmarks.all": {"--quick": None, "--only": "layernorm", "--out": "benchmarks"},
}
# Where a value of the page rules others out.
NOT_BESIDE = {"--vocab": ("--n-vocab",), "--prefix-length": ("--context",),
              "--resume": CUT["gpt2np.train"] | CUT["gpt2np.finetune"],
              "--init-from": ("--n-vocab", "--n-layer", "--n-head", "--n-embd")}

class FewMutations(Fuzz):
    """Ends as if somebody had pressed Ctrl-C."""

    def step(self, seed):
        if self.count == 5:
            raise KeyboardInterrupt
        super().step(seed)


class AskedToEnd(Ending):
    """Ends as if somebody had pressed Ctrl-C at once."""

    def __enter__(self):
        self.number = self.count = 1
        return super().__enter__()


# Names of a module that stand for other things while it runs, for the same reason: the row of a module checks a pair.
PATCHES = {
    "gpt2np.serve": {"Ending": AskedToEnd}, "gpt2np.quantize": {"WRITTEN": 1, "ROUNDS": 1},
    "gpt2np.gradcheck": {"CASES": [case if case.name.islower() else Case(case.name, CASES[0].make) for case in CASES],
                         "examine_large": examine},
    "tests.checkpoints.fuzz": {"Fuzz": FewMutations},
    "benchmarks.robustness": {"EXAMPLES": 40, "TESTED": 10},
    "tests.chapter": {"write": lambda path, text: None},
}
# tests.mutants forks, so its cut is in a process of its own: one mistake, three changes.
MUTANTS = """
import sys
from itertools import islice
from gpt2np.gradcheck import cases
from tests.mutants import __main__ as command

def few_changes(source, large, whole=command.mechanical.mutants):
    return islice(whole(source, large), 3)

command.PLANTED, command.PLANTED_LARGE = command.PLANTED[:1], command.PLANTED_LARGE[:1]
command.EXPLAINED = {change for change in command.EXPLAINED if change[0] == "training/sgd.py"}
command.FILES = [name for name in command.FILES if "norm" in name]
command.TRAINING = {name: tests for name, tests in command.TRAINING.items() if "sgd" in name}
command.mechanical.mutants = few_changes
cases.CASES = [case for case in cases.CASES if case.name in ("layernorm", "rmsnorm")]
sys.exit(command.main())
"""

# Targets that .ci/run leaves out, and why. What they run is run here, cut.
NOT_IN_CI = {
    "bench": "it takes minutes, and fails for no reason but a crash",
    "fuzz": "it never ends",
    "mutants-large": "it takes an hour",
    "test-faults": "make test-slow runs the same with fewer moments",
    "test-peers": "it installs gigabytes",
}

# Examples that show a thing and leave names open: their first line, and what the names are.
C, RNG = 6, np.random.default_rng(0)
SKETCHES = {
    "def layernorm_forward(x, g, b, eps=1e-5):": {
        "mean": lambda x: x.mean(axis=-1, keepdims=True), "var": lambda x: x.var(axis=-1, keepdims=True),
        "sqrt": np.sqrt, "sum": lambda x: x.reshape(-1, C).sum(axis=0)},
    "y, cache = layernorm_forward(x, g, b)": {
        "layernorm_forward": layernorm_forward, "layernorm_backward": layernorm_backward,
        **dict(zip(("x", "g", "b", "dy"), map(RNG.standard_normal, ((2, C), C, C, (2, C)))))},
}


# ---- what is on a page


class Command(NamedTuple):
    line: int
    text: str
    output: list[str] | None = None             # what the page shows of what it prints


class Example(NamedTuple):
    line: int
    text: str
    is_step: bool                               # goes into a file, as the sentence before it says
    output: list[str] | None = None             # what the page shows of what it prints


class Options(NamedTuple):
    line: int
    text: str


class PageError(AssertionError):
    """Something on a page is not so."""


BEGINS = re.compile(rf"(?:\w+=\S+ )*(?:{'|'.join(map(re.escape, PROGRAMS))})(?= |$)")
SHELLS = ("", "sh", "bash", "shell", "console")


def on_page(text):
    """The commands, examples and options of a page, in their order."""
    found, lines, start, behind = [], text.splitlines(), 0, -1
    while start < len(lines):
        end = start + 1
        if fence := re.match(r"```(\w*)", lines[start]):
            while not lines[end].startswith("```"):
                end += 1
            if fence[1] in SHELLS:
                add_block(found, start + 2, lines[start + 1:end])
            elif fence[1] == "python":
                before = "\n".join(lines[max(0, start - 2):end + 1]) + "\n"
                found.append(Example(start + 2, "\n".join(lines[start + 1:end]), bool(STEP.match(before))))
                behind = end + 2                        # where a block of what it prints would begin
            elif fence[1] == "text" and start == behind and not lines[start - 1]:
                found[-1] = found[-1]._replace(output=lines[start + 1:end])
            end += 1
        elif lines[start].startswith("    ") and not "".join(lines[max(0, start - 1):start]).strip():
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end]):
                end += 1
            add_block(found, start + 1, [line[4:] for line in lines[start:end]])
        elif lines[start]:
            while end < len(lines) and lines[end] and not lines[end].startswith("```"):
                end += 1
            paragraph = "\n".join(lines[start:end])
            for code in re.finditer(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", paragraph, re.S):
                line, code = start + 1 + paragraph[:code.start()].count("\n"), code[2].replace("\n", " ")
                if BEGINS.match(code) and re.search(r" (?!-)", code):
                    found.append(Command(line, code))
                elif re.match(r"--[a-z]", code):
                    found.append(Options(line, code))
        start = end
    return found


def add_block(found, start, block):
    """The commands of a block of code; its other lines are what the last command on the page until there prints."""
    block = re.sub(r"\\\n\s*", "\0", "\n".join(block))            # a line that goes on is one line
    for line, text in zip(accumulate([start] + [1 + t.count("\0") for t in block.split("\n")]), block.split("\n")):
        if text.startswith("$ ") or BEGINS.match(text):
            found.append(Command(line, without_explanation(text.removeprefix("$ ").replace("\0", ""))))
            continue
        last = next((i for i in reversed(range(len(found))) if isinstance(found[i], Command)), None)
        if last is None:
            raise PageError(f"{line}: expected a command that begins with one of {', '.join(PROGRAMS)}, or what one "
                            f"before it prints; got {text!r}; a block of something else begins with ```text")
        if text or found[last].output:
            found[last] = found[last]._replace(output=[*(found[last].output or []), text])


def without_explanation(text):
    """A command without what follows it after two blanks or a #, outside of quotes."""
    return re.match(r"""((?:'[^']*'|"[^"]*"|(?!\s\s|\s#)[^'"])*)""", text)[1].rstrip()


# ---- how each is run


class Reader:
    """Does what a page says, in an empty folder, and raises PageError where that does not work.

    root    the repository; for the page on a new layer, a copy of it
    """

    def __init__(self, root, folder, monkeypatch):
        self.root, self.folder, self.monkeypatch, self.names = root, folder, monkeypatch, {"__name__": "__main__"}
        self.seen = set()                               # commands that were run; the same once more would do the same

    def read(self, name, text):
        """All that a page says."""
        try:
            for item in on_page(text):
                do = {Command: self.command, Example: self.example, Options: self.options}[type(item)]
                try:
                    do(item)
                except PageError as error:
                    raise PageError(f"{item.line}: `{item.text.splitlines()[0]}`: {error}") from None
        except PageError as error:
            pytest.fail(f"{name}:{error}", pytrace=False)

    def command(self, shown):
        words = self.words(shown.text)
        if shown.output is None and shown.text in self.seen:
            return
        self.seen.add(shown.text)
        printed = self.run(words, whole=shown.output is not None)
        if shown.output is not None:
            compare(words, shown.output, printed)

    def words(self, command):
        """The words of a command, with what stands for the placeholders."""
        for placeholder, stand_in in PLACEHOLDERS.items():
            command = re.sub(placeholder, stand_in, command)
        return shlex.split(command)

    def run(self, words, whole=False):
        """Run a command, cut unless `whole` is asked for; what it prints, or "" where there is nothing to run."""
        settings = dict(word.split("=", 1) for word in takewhile(re.compile(r"\w+=").match, words))
        program, *words = words[len(settings):]
        for name in settings:
            if not any(name in path.read_text(encoding="utf-8") for path in source_files()):
                raise PageError(f"nothing in the repository knows {name}")
        with self.monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            if program == "make":
                return self.make(words)
            if program == "pip":
                return self.pip(words)
            if program == "source":
                return self.source(words)
            if program == "mpiexec":
                return self.run(words[2:])              # under mpiexec itself: test_commands_under_mpiexec
            if program == "sed":
                return self.process("sh", "-c", shlex.join(["sed", *words]).replace("'>'", ">"))
            if re.fullmatch(r"(\.venv/bin/)?python3?", program) and words:
                module, arguments = (words[1], words[2:]) if words[0] == "-m" else (module_of(words[0]), words[1:])
                return self.python(module, arguments, whole, patch)
        raise PageError(f"no rule says how {program} is run: add one to Reader.run in tests/test_pages.py, or begin a "
                        "block that is no command with ```text")

    def make(self, words):
        """Each target is there, and .ci/run runs it, or what it runs is run here, cut."""
        if not shutil.which("make"):
            pytest.skip("make is not installed")
        printed = []
        passed_on = [word for word in words if "=" in word]
        for target in (word for word in words if word not in passed_on):
            recipe = self.process("make", "-n", f"VENV={self.installed()}", target, *passed_on, cwd=ROOT)
            venv = re.escape(str(self.installed()))         # what installs, -m pip and -c, is test_install.py's
            commands = re.findall(rf"^((?:\w+=\S+ )*){venv}/bin/(python (?!-m pip|-c).*)", recipe, re.M)
            if not commands or not (target in ci_targets() or target in NOT_IN_CI):
                raise PageError(f"nothing runs make {target}: add it to .ci/run, or to NOT_IN_CI in "
                                "tests/test_pages.py with the reason why not")
            at_first = self.process("make", "-n", f"VENV={self.folder}/new", target, cwd=ROOT)
            printed += re.findall(r'echo "(.*)"', at_first.replace(f"{self.folder}/new", ".venv"))
            for environment, command in commands:
                if target in NOT_IN_CI or target == "generate" or passed_on:
                    printed += self.run(shlex.split(environment + command)).splitlines()
                else:
                    exists(command.split()[2])
        return "\n".join(printed)

    def installed(self):
        """A folder that the Makefile takes for an environment with everything in it."""
        folder = self.folder.with_name("installed")
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        for name in ("bin/python", "installed-run", "installed-test", "installed-peers"):
            (folder / name).touch()
        return folder

    def pip(self, words):
        """What is installed is this package with an extra of setup.cfg, or something that setup.cfg names, or weights.
        """
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg")
        extras, known = setup["options.extras_require"], re.findall(r"^[\w-]+", "\n".join(
            [*setup["options.extras_require"].values(), setup["options"]["install_requires"]]), re.M)
        if words[:1] != ["install"]:
            raise PageError("expected pip install")
        for word in words[1:]:
            package, named = re.fullmatch(r"([^\[]+)(?:\[(.*)\])?", word).groups()
            if package in (".", "gpt2np"):
                if unknown := set(filter(None, (named or "").split(","))) - set(extras):
                    raise PageError(f"setup.cfg has no extra {', '.join(unknown)}")
            elif package not in ("-e", "--editable", "--no-deps", sentences.PACKAGE, *known):
                raise PageError(f"setup.cfg does not name {package}")
        return ""

    def source(self, words):
        """What a page enters is the environment that make makes; here it is this one."""
        if words != [".venv/bin/activate"]:
            raise PageError("expected source .venv/bin/activate, the environment that make makes")
        return ""

    def python(self, module, arguments, whole, patch):
        """python -m module arguments, in this process where it can be."""
        if module == "pytest":                          # this run of the tests runs what it would
            return expect_tests(arguments)
        if module == "threadpoolctl":
            return self.process(sys.executable, "-m", module, *arguments)
        exists(module)
        if module == "tests.mutants":
            return self.process(sys.executable, "-c", MUTANTS, *arguments, cwd=self.root)
        if self.root != ROOT:
            return self.process(sys.executable, "-m", module, *arguments, cwd=self.root)
        arguments = arguments if whole else cut(module, arguments)
        self.make_room(module, arguments)
        return in_process(module, arguments, patch, {} if whole else PATCHES.get(module, {}))

    def make_room(self, module, arguments):
        """Take away what the command makes, for DIR stands for another folder in each command that makes one."""
        made = [new for option, new in pairwise(arguments) if option == "--out"]
        made += arguments[1:2] if module == "gpt2np.convert" else []
        for path in [(self.folder / new).resolve() for new in made]:
            if not path.is_relative_to(self.folder) or path == self.folder:
                raise PageError(f"expected a command that writes below the folder where it is run, got {path}")
            shutil.rmtree(path, ignore_errors=True)
        if module == "gpt2np.download":
            for path in [loading.places()[0] / name for name in arguments if name in SIZES]:
                path.unlink() if path.is_symlink() else shutil.rmtree(path)

    def process(self, *command, cwd=None):
        """What a process prints; PageError unless it ends with 0."""
        done = subprocess.run(command, cwd=cwd or self.folder, capture_output=True, text=True, timeout=120,
                              stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(self.root)})
        if done.returncode:
            raise PageError(f"it ends with {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}")
        return done.stdout

    def example(self, shown):
        """Run it; and if it is a sketch of a pair of the package, see that it computes the same."""
        if shown.is_step:                               # tests/test_new_layer.py follows it
            return
        sketch = SKETCHES.get(shown.text.splitlines()[0])
        if re.match(r"(import|from) ", shown.text):
            self.names = {"__name__": "__main__"}
        names = self.names if sketch is None else dict(sketch)
        pairs = re.findall(r"^def (\w+)_forward\(", shown.text, re.M) if sketch else []
        try:
            with contextlib.redirect_stdout(io.StringIO()) as out, self.monkeypatch.context() as patch:
                for name in RELEASED if shown.output else ():       # what is shown is of the real sizes
                    patch.setitem(SIZES, name, RELEASED[name])
                exec(compile("\n" * (shown.line - 1) + shown.text, "page", "exec"), names)
        except Exception as error:
            raise PageError(f"{type(error).__name__}: {error}; names that it leaves open, add to SKETCHES in "
                            "tests/test_pages.py") from error
        if shown.output is not None and out.getvalue().splitlines() != shown.output:
            raise PageError(f"expected what the block of text behind it shows, it prints\n{out.getvalue()}")
        for name in pairs:
            subject, = (case.make(np.random.default_rng(0)) for case in CASES if case.name == name)
            mine, theirs = ((names[f"{name}_forward"], names[f"{name}_backward"]),
                            (subject.forward_pass, subject.backward_pass))
            (y, *dx), (expected, *by) = (with_gradients(*pair, subject.arguments) for pair in (mine, theirs))
            for got, right in zip((y, *dx), (expected, *by), strict=True):
                if not np.allclose(got, right, rtol=1e-10, atol=1e-12):
                    raise PageError(f"{name} on the page is not the package's")

    def options(self, shown):
        """An option that is named alone is one of some command of the package."""
        for option in re.findall(r"(?<!\S)--[\w-]+", shown.text):
            if option not in options_of_all_commands():
                raise PageError(f"no command of the package has {option}")


def expect_tests(arguments):
    """PageError unless python -m pytest with these arguments finds a test: -q, -k NAME, -m MARK and paths are known."""
    names = [name for option, name in pairwise(arguments) if option == "-k"]
    marks = [mark for option, mark in pairwise(arguments) if option == "-m"]
    paths = [word for word in arguments if not word.startswith("-") and word not in (*names, *marks)]
    if not paths or set(arguments) - {*paths, *names, *marks, "-q", "-k", "-m"}:
        raise PageError(f"expected paths, -q, -k NAME and -m MARK, got {' '.join(arguments)}")
    for path in map(ROOT.joinpath, paths):
        files = sorted(path.rglob("test_*.py")) if path.is_dir() else [path] * path.exists()
        tests = [test for file in files for test in re.findall(r"^ *def (test_\w+)", file.read_text("utf-8"), re.M)]
        if not any(all(name in test for name in names) for test in tests):
            raise PageError(f"there is no test {' '.join(names)} in {path.relative_to(ROOT)}")
    return ""


def with_gradients(forward, backward, arguments):
    """y and the gradients of a pair."""
    y, cache = forward(**arguments)
    return y, *backward(np.cos(np.arange(y.size)).reshape(y.shape), cache)


def cut(module, arguments):
    """The arguments with short runs for long ones; all that are on the page are still there."""
    arguments = list(arguments)
    ruled_out = {name for option, names in NOT_BESIDE.items() if option in arguments for name in names}
    ruled_out |= {"--n-vocab"} & set(CUT.get(module, {})) if "masked" in arguments else set()   # few characters there
    for option, value in CUT.get(module, {}).items():
        if option in arguments and value is not None:
            arguments[arguments.index(option) + 1] = value
        elif option not in {*arguments, *ruled_out} and "--help" not in arguments:
            arguments += [option] if value is None else [option, value]
    return arguments


def in_process(module, arguments, patch, names=()):
    """What python -m module arguments prints. PageError unless it ends with 0."""
    command = importlib.import_module(exists(module))
    for name, value in ({"keep_freed_memory": lambda: None} | dict(names)).items():
        patch.setattr(command, name, value, raising=name != "keep_freed_memory")    # that would last
    patch.setattr(sys, "argv", [module, *arguments])
    patch.setattr(sys, "stdin", None)
    with contextlib.redirect_stdout(Stream()) as out, contextlib.redirect_stderr(Stream()) as err:
        try:
            status = command.main()
        except SystemExit as end:
            status = end.code
    if status:
        raise PageError(f"it ends with {status}: {err.getvalue()}")
    return out.getvalue() + err.getvalue()


class Stream(io.StringIO):
    """Standard output, as the commands set it up."""

    def reconfigure(self, **settings):
        pass


def exists(module):
    """The module that python -m runs. PageError if there is none, or if it does not run main."""
    with contextlib.suppress(ModuleNotFoundError):
        if spec := importlib.util.find_spec(module):
            name = module + ".__main__" if spec.submodule_search_locations else module
            if module.split(".")[0] not in ("gpt2np", "benchmarks", "tests"):
                return name
            spec = importlib.util.find_spec(name)
            if spec and re.search('\nif __name__ == "__main__":\n    .*main', Path(spec.origin).read_text("utf-8")):
                return name
    raise PageError(f"there is no command {module}")


def module_of(path):
    """The module of a script of this repository; PageError if it is not there."""
    if not (ROOT / path).is_file():
        raise PageError(f"there is no {path}")
    return path.removesuffix(".py").replace("/", ".")


@functools.cache
def options_of_all_commands():
    """What --help of every command of the package lists."""
    found = set()
    for path in sorted((ROOT / "gpt2np").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if "\nif __name__ ==" in path.read_text(encoding="utf-8"):
            tasks = {"gpt2np.train": train.KINDS, "gpt2np.finetune": new_finetuning.TASKS}.get(module, [])
            for more in [["--task", task] for task in tasks] or [[]]:
                with pytest.MonkeyPatch.context() as patch:
                    text = in_process(module.removesuffix(".__main__"), [*more, "--help"], patch)
                found |= set(re.findall(r"--[\w-]+", text))
    return found


@functools.cache
def ci_targets():
    """The targets of make that .ci/run runs."""
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    return {target for line in re.findall(r"^make (.*)", text, re.M) for target in line.split()}


@functools.cache
def source_files():
    """What may read a variable of the environment, or of make."""
    return [ROOT / "Makefile", *(ROOT / "gpt2np").rglob("*.py"),
            *(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))]


def compare(words, shown, printed):
    """PageError unless the page shows what the command prints, but for what is another thing on another machine."""
    if words[:2] == ["make", "test"]:                   # it is running
        if not re.fullmatch(r"\d+ passed, \d+ skipped in [\d.]+s( \(\d:\d\d:\d\d\))?", "\n".join(shown)):
            raise PageError(f"expected what pytest says in the end, got {shown}")
    elif words[:2] == ["make", "gradcheck"]:
        pass                                            # tests/gradcheck/test_report.py has the table, and compares it
    elif words == ["make", "generate"]:                 # a text that is another one each time
        *lines, last = shown
        for line in takewhile(bool, lines):
            if line not in printed.splitlines():
                raise PageError(f"it does not say {line!r}")
        same_lines([re.sub(r"\d+", "1", last)], re.sub(r"\d+", "1", printed).splitlines()[-1:])
    elif "gpt2np.generate" in words:
        # What is drawn hangs on the last bits of the logits, which are another processor's own; the longer a text, the
        # likelier it is that one draw falls between two of them. Not in the first line, which has a few tokens.
        same_lines([shown[0], "..."], printed.strip().splitlines())
    else:
        same_lines(shown, printed.splitlines())


FIGURES = r"\d(\.\d+)?e[+-]\d\d|\d+\.\d+"


def same_lines(shown, printed):
    """PageError unless these lines were printed; a line ... stands for any, and figures with a point may differ."""
    text, expected = (re.sub(FIGURES, "#", "\n".join(lines).rstrip()) + "\n" for lines in (printed, shown))
    pattern = "".join(".*" if line == "...\n" else re.escape(line) for line in expected.splitlines(keepends=True))
    if not re.fullmatch(pattern, text, re.S):
        raise PageError("it does not print what the page shows; a block of something else begins with ```text. It "
                        f"prints\n{text}")


def outputs_of(command):
    """What each page that shows it shows of what a command prints."""
    return [c.output for page in PAGES for c in on_page(page.read_text(encoding="utf-8"))
            if isinstance(c, Command) and c.text == command and c.output]


# ---- the tests


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    """A model that takes the place of OpenAI's."""
    folder = tmp_path_factory.mktemp("release") / "model"
    gpt2np.save(folder, GPT2(TINY, np.random.default_rng(0)), Tokenizer.gpt2())
    return folder


@pytest.fixture
def reader(release, tmp_path, monkeypatch):
    """A reader in a folder with FILES, PAIRS.tsv, docs/ and tiny, a model, and nothing else.

    OpenAI's models are small, and come from this machine's loopback; all-MiniLM-L6-v2 is small, too.
    """
    work, weights = tmp_path / "work", tmp_path / "weights"
    work.mkdir()
    weights.mkdir()
    for name in FILES:
        (work / name).write_text(TEXT, encoding="utf-8")
    for name, line in DATA_SETS.items():
        (work / name).write_text(json.dumps(line) + "\n", encoding="utf-8")
    (work / "docs").symlink_to(ROOT / "docs")
    vocabulary = Tokenizer(MERGES)
    gpt2np.save(work / "tiny", GPT2(GPT2Config(vocabulary.n_vocab, 8, 8, 2, 1), np.random.default_rng(0)), vocabulary)
    files = {path.name: path.read_bytes() for path in release.iterdir()}
    known = {name: download.Release(len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}
    for name in ("demo", "demo-zh", "fill"):
        (weights / name).symlink_to(ROOT / "weights" / name)
    for name, text in {"PAIRS.tsv": PAIRS, **LABELLED}.items():
        (work / name).write_text(text, encoding="utf-8")
    gpt2np.save(weights / "translation", Transformer(TRANSLATOR, np.random.default_rng(0)), vocabulary)
    pieces = learn_characters([TEXT, "床前明月光", "How do I get my money back? The cat sits outside."], 999)
    encoder = BERT(BertConfig(pieces.n_vocab, 64, 8, 2, 1, 8), np.random.default_rng(0))
    gpt2np.save(tmp_path / "minilm", encoder, pieces)
    gpt2np.save(work / "minibert", BertForPreTraining(encoder.config, np.random.default_rng(0)), pieces)
    monkeypatch.setattr(similar, "find_minilm", lambda: tmp_path / "minilm")
    for name in SIZES:
        (weights / name).symlink_to(release)
        monkeypatch.setitem(SIZES, name, TINY)
        monkeypatch.setitem(download.FILES, name, known)
    monkeypatch.setattr(loading, "places", lambda: [weights])
    monkeypatch.setattr(translation, "NUMBERS", 50)
    monkeypatch.setattr(translation, "MOST_HELD_OUT", 10)
    monkeypatch.setattr(new_finetuning, "MADE", 50)
    monkeypatch.setattr(new_finetuning, "MADE_TO_MEASURE", 10)
    monkeypatch.setattr(download, "places", loading.places)
    monkeypatch.setattr(download, "SPARE_BYTES", 0)
    monkeypatch.setattr(socket, "getaddrinfo", functools.partial(loopback_only, socket.getaddrinfo))
    monkeypatch.chdir(work)
    server = Server(files)
    monkeypatch.setenv("GPT2NP_WEIGHTS", str(weights))
    monkeypatch.setenv("GPT2NP_MIRROR", server.url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Reader(ROOT, work, monkeypatch)
    server.shutdown()
    thread.join()
    server.server_close()


def loopback_only(getaddrinfo, host, *arguments, **options):
    assert host in download.LOOPBACK, f"a page reaches for {host}"
    return getaddrinfo(host, *arguments, **options)


@pytest.mark.parametrize("page", [
    pytest.param(page, marks=pytest.mark.slow if name in LONG else (), id=name)
    for page in PAGES for name in [page.relative_to(ROOT).as_posix()]])
def test_what_a_page_shows_works(page, reader, request):
    text = page.read_text(encoding="utf-8")
    if STEP.search(text):                               # the page on a new layer: with the layer
        reader.root = request.getfixturevalue("copy")
    reader.read(page.relative_to(ROOT), text)


@pytest.mark.parametrize("name", LONG)
def test_the_python_of_a_long_page_works(name, reader):
    """Without the commands, which take the seconds: so make test reads it, too."""
    text = (ROOT / name).read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n.*?^```$(?:\n\n```text\n.*?^```$)?", text, re.M | re.S)
    reader.read(name, "\n\n".join(examples))


@pytest.mark.slow
@needs_mpi
def test_commands_under_mpiexec(reader):
    commands = [reader.words(c.text) for page in PAGES for c in on_page(page.read_text(encoding="utf-8"))
                if isinstance(c, Command) and c.text.startswith("mpiexec ")]
    assert commands
    for _, n, processes, python, m, module, *arguments in commands:
        assert (n, processes.isdecimal(), python, m) == ("-n", True, "python", "-m")
        reader.make_room(module, arguments)
        reader.process(mpiexec(), "-n", "2", sys.executable, "-m", module, *cut(module, arguments))


@pytest.mark.parametrize("page, message", [
    ("    make tset", r"1: `make tset`: it ends with 2: .*tset"),
    ("    make clean", r"nothing runs make clean: add it to \.ci/run, or to NOT_IN_CI"),
    ("    make test        all tests\n    git clone x", "2: `git clone x`: no rule says how git is run: add one to "),
    ("Then `export A=b`.", "no rule says how export is run"),
    ("Then `source venv/activate`.", r"expected source \.venv/bin/activate"),
    ("    make gradcheck LAYER=nosuch", "expected part of a layer's name, got nosuch"),
    ("    make generate ARGS='--bogus'", "unrecognized arguments: --bogus"),
    ("```sh\nfrobnicate x\n```", "expected a command that begins with one of make, .*```text"),
    ("    make gradcheck\n\n    python -m gpt2np.text Hi\n    frobnicate", "it does not print what the page shows"),
    ('    python -m gpt2np.text "a  b" c      what follows is no part of it', None),
    ("    python -m gpt2np.text Hi what follows is not told from it by two blanks\n    2 tokens", "it does not print"),
    ("    python -m gpt2np.text \\\n        --vocabulry x Hi", "1: `python .*text --vocabulry x Hi`: it ends with 2"),
    ("    $ python -m gpt2np.text Hi\n    ...\n    2 characters, 2 bytes, 1 piece, 1 token\n    17250", None),
    ("    $ python -m gpt2np.text Hi\n    ...\n    2 characters, 2 bytes, 1 piece, 1 token\n    17251", "not print"),
    ("    python -m gpt2np.no_such x", "there is no command gpt2np.no_such"),
    ("    python -m gpt2np.sampling", "there is no command gpt2np.sampling"),
    ("    python benchmarks/no_such.py", "there is no benchmarks/no_such.py"),
    ("    python -m pytest -q tests/models -k no_such", "there is no test no_such in tests/models"),
    ("    python -m pytest tests/no_such.py", "there is no test  in tests/no_such.py"),
    ("    python -m pytest --no-such-option tests", "-m MARK, got --no-such-option tests"),
    ("    python -m gpt2np.train FILE... --out DIR --stpes 4", "unrecognized arguments: --stpes 4"),
    ("    python -m gpt2np.convert demo ../x --to openai", "expected a command that writes below the folder"),
    ("    python -m gpt2np.evaluate --model DIR/best FILE loss per token", "loss: No such file or directory"),
    ("`NO_SUCH_NAME=1 make test`", "nothing in the repository knows NO_SUCH_NAME"),
    ("It takes `pip install '.[no]'`.", "setup.cfg has no extra no"),
    ("It takes `pip\ninstall numpi`.", "setup.cfg does not name numpi"),
    ("There is `--no-such-option X`.", "1: .*no command of the package has --no-such-option"),
    ("`--model`, `--resume DIR --steps N`, `make`, `python -m`, `x`, `-log x`", None),
    ("\n```python\nx = 1\n```\n```python\nassert x == 1\n```\n```python\ny = np.ones(3)\n```",
     "9: `y = .*NameError: name 'np'"),
    ("```python\nimport math\nx = 1\n```\n```python\nimport math\nprint(x)\n```", "6: `import math`: NameError"),
    ("```python\nprint(1.25)\n```\n\n```text\n1.25\n```\n\n```text\nnothing\n```", None),
    ("```python\nprint(1.25)\n```\n\n```text\n1.26\n```", r"2: `print\(1.25\)`: .* it prints\n1.25"),
], ids=count())
def test_what_does_not_work_is_found(reader, page, message):
    if message is None:
        return reader.read("page", page)
    with pytest.raises(pytest.fail.Exception, match=re.compile(message, re.S)):
        reader.read("page", page)


def test_a_sketch_that_computes_something_else_is_found(reader):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    sketch, *_ = (item for item in on_page(text) if isinstance(item, Example) and "def layernorm_forward" in item.text)
    reader.example(sketch)
    with pytest.raises(PageError, match="layernorm on the page is not the package's"):
        reader.example(sketch._replace(text=sketch.text.replace("- xhat * mean(dxhat * xhat)", "")))


def test_no_row_of_the_tables_is_left_over():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for line in SKETCHES:
        assert f"```python\n{line}\n" in text, f"no page begins an example with {line}"
    targets = set(re.findall(r"^([a-z-]+): .*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(NOT_IN_CI) <= targets - ci_targets()
