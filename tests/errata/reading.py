"""What the texts say, as the tests use it: quoted with its place, parsed, or run as it stands.

The listings and tables are in texts/, named after the text and its section; test_bookkeeping.py compares them, and
every quotation, with the texts themselves where those are at hand.
"""

import ast
import builtins
import re
import symtable
from pathlib import Path

TEXTS = Path(__file__).parent / "texts"


def says(place, *words):
    """Marks a test with what a text says, word for word, and where: says("S001 5.1", "pip install keras==2.5")."""
    def mark(test):
        test.says = [*getattr(test, "says", ()), (place, words)]
        return test
    return mark


def listing(name):
    return (TEXTS / f"{name}.txt").read_text(encoding="utf-8")


def whole_listing_of_s000_5_2():
    """Its blocks are those of 4.4 once more, under other imports, and without SelfAttention."""
    _, _, blocks = listing("S000-4.4").partition("class TransformerBlock")
    return "\n".join([listing("S000-5.2-imports"), "# 定义Transformer模型", "class TransformerBlock" + blocks,
                      listing("S000-5.2-GPT2")])


# ---- run


def run(code, modules, **names):
    """The names that a listing defines. Its imports get these modules; `names` are what it takes for granted."""
    def take(name, globals=None, locals=None, fromlist=(), level=0):
        return modules[name if fromlist else name.split(".")[0]]
    names |= {"__builtins__": {**vars(builtins), "__import__": take}, "__name__": "listing"}
    exec(compile(code, "listing", "exec"), names)
    return names


def definitions(code):
    """A listing without what it does: its imports, classes and functions."""
    kept = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
    return "\n".join(ast.unparse(node) for node in ast.parse(code).body if isinstance(node, kept))


def function(code, name):
    """The text of one function of a listing, also of one within another."""
    return ast.unparse(next(f for f in functions(code) if f.name == name))


# ---- parse


def functions(code):
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]


def calls(code, name):
    """Every call of `name`, from top to bottom, also as an attribute: nn.Linear(...) is one of Linear."""
    found = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)
             and (getattr(node.func, "id", None) or getattr(node.func, "attr", None)) == name]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def scopes(table):
    yield table
    for child in table.get_children():
        yield from scopes(child)


def free_names(code):
    """What a listing reads and nothing in it makes: a NameError for each, if it is run alone."""
    top = symtable.symtable(code, "listing", "exec")
    made = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    read = {s.get_name() for table in scopes(top) for s in table.get_symbols()
            if s.is_referenced() and (table is top or s.is_global())}
    return read - made - set(dir(builtins))


def never_read(code, kind):
    """Names that are made and then read neither there nor within. kind: is_imported, is_assigned or is_parameter."""
    return {made.get_name() for table in scopes(symtable.symtable(code, "listing", "exec"))
            for made in table.get_symbols() if getattr(made, kind)() and not any(
                s.get_name() == made.get_name() and s.is_referenced()
                for within in scopes(table) for s in within.get_symbols())}


def edges(chart):
    """The arrows of a flow chart, and the label of each node that has one."""
    arrows = re.findall(r"(\w+)(?:\[.*?\])? --> (\w+)", chart)
    return arrows, dict(re.findall(r"(\w+)\[(.*?)\]", chart))
