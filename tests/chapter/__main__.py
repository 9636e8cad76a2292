"""python -m tests.chapter: make the pages and the lines of the docstrings from the table.

And copy into the other Chinese pages what their English twins say that is printed.
"""

import sys
from itertools import chain

from . import page, twins
from .back import files
from .names import ROOT


def main():
    """Writes what is not as it should be, and says so. Returns the exit code."""
    made = chain(page.pages(), twins.pages(), ((path, source) for path, _, source in files()))
    for path, text in made:                             # one after the other: the last ones read the first
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write(path, text)
    return 0


def write(path, text):
    path.write_text(text, encoding="utf-8")
    print("written:", path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
