"""docs/new_layer.md is followed to the letter, in a copy of the repository: its mistakes are found.

That the layer passes, tests/test_pages.py shows, which runs the page's commands in the same copy.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "new_layer.md").read_text(encoding="utf-8")
# What the page tells the reader to do: `FILE`, a new file; or `FILE`, before `TEXT`; and then the code.
STEP = re.compile(r"^`([\w./]+)`, (?:a new file|before (`[^\n]*`)):\n\n```\w+\n(.*?)^```$", re.M | re.S)
SCRIPT = """
from tests.mutants.__main__ import ROOT, find, in_child
from tests.mutants.planted import PLANTED

for title, file, changes, cases in PLANTED:             # each child imports what changes anew
    if file == "layers/rmsnorm.py":
        source = (ROOT / file).read_text()
        for old, new in changes:
            assert source.count(old) == 1, old
            source = source.replace(old, new)
        print(title, *in_child(lambda: find(file, source, cases, False))[0], sep="; ")

from tests import test_memory

test_memory.test_every_pair_is_on_the_page()
for row, formula in test_memory.TABLE:
    if row == "`rmsnorm`":
        test_memory.test_each_pair(row, formula)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository with what the page adds."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("gpt2np", "tests/mutants", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "text", "checkpoints"))
    for name in ("tests/__init__.py", "tests/test_memory.py"):
        shutil.copy(ROOT / name, folder / name)
    for name, place, code in STEP.findall(PAGE):
        path = folder / name
        if not place:
            assert not path.exists(), f"{name} is there already"
            path.write_text(code, encoding="utf-8")
            continue
        lines, anchor = path.read_text(encoding="utf-8").splitlines(keepends=True), re.sub("^`+ ?| ?`+$", "", place)
        first, = (i for i, line in enumerate(lines) if line.strip().startswith(anchor))
        path.write_text("".join([*lines[:first], code, *lines[first:]]), encoding="utf-8")
    return folder


def test_the_mistakes_are_found_and_the_memory_is_the_pages(copy):
    assert len(STEP.findall(PAGE)) == PAGE.count("```python") + PAGE.count("```markdown") == 7
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=copy, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(copy), "OPENBLAS_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[:3] == ["rmsnorm: r taken for a constant; adjoint",
                                            "rmsnorm: the mean subtracted; adjoint", "rmsnorm: eps 1e-6; reference"]
