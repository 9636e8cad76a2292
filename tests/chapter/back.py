"""From the code back: the last line of a file's docstring names the sections whose entries name something in it."""

import ast
import re
import textwrap
from itertools import groupby

from .names import ROOT
from .page import sections_of_files


def line_of(places):
    """S000 3.2, 4.2; S001 4.1: the sections of each text behind its name; in as many lines as it takes."""
    texts = groupby(places, key=lambda place: place.split(" ", 1)[0])
    words = "; ".join(f"{text} {', '.join(place.split(' ', 1)[1] for place in of_text)}" for text, of_text in texts)
    return textwrap.fill(f"Chapter: {words}.", 120, break_on_hyphens=False)


def with_its_line(source, places):
    """The source of a file whose docstring ends with the line that it should have; with none, for no places."""
    docstring = ast.get_docstring(ast.parse(source), clean=False)
    assert docstring and source.startswith('"""'), "expected a file that begins with its docstring"
    end = source.index('"""', 3)
    text = re.sub(r"\n+Chapter: S00\d .*\Z", "", source[3:end], flags=re.S).rstrip("\n")
    if places:
        text += f"\n\n{line_of(places)}"
    return f'"""{text}' + "\n" * ("\n" in text) + source[end:]


def files():
    """(path, its source, its source as it should be) of every file of the package."""
    places = sections_of_files()
    for path in sorted((ROOT / "gpt2np").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        own = places.get(path.relative_to(ROOT).as_posix(), [])
        if own or "\nChapter: " in source:
            yield path, source, with_its_line(source, own)
