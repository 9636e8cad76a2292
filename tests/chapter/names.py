"""Where a name is defined, or a file lies: the table says what something is called, and this finds it.

So a file that moves is found again where it is, once the pages are made anew.
"""

import functools
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEFINES = re.compile(r"( {4})?(?:def|(class)) (\w+)|(\w+)(?:: [^=\n]+)? =")
CHECKS = "gpt2np/gradcheck/"


@functools.cache
def definitions():
    """name -> the files that define it: functions, classes, Class.method, constants."""
    found = defaultdict(list)
    for path in [*sorted((ROOT / "gpt2np").rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]:
        owner = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if not (defines := DEFINES.match(line)):
                continue
            inside, is_class, name, constant = defines.groups()
            if not inside:
                owner = name if is_class else ""
            name = f"{owner}.{name}" if inside else name or constant
            if path not in found[name] and not (inside and not owner):
                found[name].append(path)
    return found


def find(name, of_proof=False):
    """(what it is called there, the file that defines it); with of_proof=True a test or a law, else code of gpt2np.

    name   `layernorm_forward`, `GPT2.hidden`, or `loading.load` with the file's or folder's name before it, where
           several define it. AssertionError if no file does, or several
    """
    folder = "gpt2np/" if not of_proof else "tests/" if re.search(r"test_|[A-Z]{2}", name) else CHECKS

    def defined(name, module=""):
        return [path for path in definitions()[name] if module in ("", path.stem, path.parent.name)
                and relative(path).startswith(folder) and (of_proof or not relative(path).startswith(CHECKS))]

    known = defined(name)
    if not known and "." in name:
        module, name = name.split(".", 1)
        known = defined(name, module)
    assert len(known) == 1, f"{name}: expected one file that defines it, found {', '.join(map(relative, known)) or 0}"
    return name, known[0]


@functools.cache
def find_file(name):
    """The file or folder of a name: `shapes.md`, `generate.py`, `training/mpi.py`, `layers/`."""
    last = name.rstrip("/").split("/")[-1]
    places = [ROOT, *(p for folder in ("docs", "gpt2np", "weights", "tests") for p in [ROOT / folder, *sorted(
        (ROOT / folder).rglob("*"))] if p.is_dir() and p.name != "__pycache__")]
    known = [path for place in places if (path := place / last).exists()
             and f"/{relative(path)}".endswith(f"/{name.rstrip('/')}") and path.is_dir() == name.endswith("/")]
    shallow = [path for path in known if len(path.parts) == min(len(p.parts) for p in known)]
    assert len(shallow) == 1, f"{name}: expected one file, found {', '.join(map(relative, known)) or 0}"
    return shallow[0]


def relative(path):
    return path.relative_to(ROOT).as_posix()
