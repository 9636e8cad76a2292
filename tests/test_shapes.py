"""docs/shapes.md says what shape everything has.  It is compared with a small model that runs."""

import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np.layers import linear
from gpt2np.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from gpt2np.models.config import SIZES, GPT2Config
from gpt2np.models.gpt2 import GPT2

PAGE = (Path(__file__).parents[1] / "docs" / "shapes.md").read_text(encoding="utf-8")
SMALL = {"B": 2, "T": 3, "V": 11, "n_ctx": 5, "C": 12, "H": 4, "D": 3, "F": 48, "L": 1}
LARGE = {"B": 1, "T": 1024, "V": 50257, "n_ctx": 1024, "C": 768, "H": 12, "D": 64, "F": 3072, "L": 12}
HELPERS = ("split_heads", "merge_heads", "add_rows")     # what the page shows beside the pairs


def table(heading):
    """The cells of the table below a heading, row by row, without its own head."""
    lines = re.search(rf"^## {heading}\n[^|]*((?:\|.*\n)+)", PAGE, re.M)[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def shapes(cell, sizes=SMALL):
    """The shapes in a cell, each in brackets and backquotes: `(B, T, 3C)`."""
    return [tuple(int(n or 1) * sizes[letter] for n, letter in re.findall(r"(\d*)(\w+)", inside))
            for inside in re.findall(r"`\(([\w, ]*)\)`", cell)]


class Call:
    """What a module called: its name on the page, the shapes of the first argument, of the weights, of what came."""

    def __init__(self, caller, code, values, result, paths):
        arguments = code.co_varnames[:code.co_argcount]
        pair = re.sub("_(forward|backward)$", "", code.co_name)
        path = paths.get(id(caller.f_locals["self"]), "")
        owned = pair in ("linear", "layernorm", "embedding", "add_rows", "lm_head")
        self.name = pair if pair in ("split_heads", "merge_heads") else path if owned else f"{path}.{pair}".strip(".")
        if pair == "add_rows":                          # it returns nothing, but writes into its first argument
            self.takes, self.weights, self.gives = values["dy"].shape, [], [values["dw"].shape]
            return
        results = result if isinstance(result, tuple) else (result,)
        self.takes, self.gives = values[arguments[0]].shape, [a.shape for a in results if isinstance(a, np.ndarray)]
        self.weights = [values[a].shape for a in ("w", "g", "b", "wte") if a in arguments and values[a] is not None]


def watch(model, run):
    """(what run() returns, every Call of a pair or helper by the model's modules while it runs)."""
    paths, calls = {id(child): path for path, child in model.named_modules()}, []

    def note(frame, event, result):
        name, caller = frame.f_code.co_name, frame.f_back
        if event != "return" or not frame.f_globals["__name__"].startswith(linear.__package__) or "dropout" in name:
            return
        while caller.f_code.co_name.startswith("<"):    # a comprehension is a frame of its own, before Python 3.12
            caller = caller.f_back
        if (name.endswith(("_forward", "_backward")) or name in HELPERS) and "self" in caller.f_locals:
            call = Call(caller, frame.f_code, frame.f_locals, result, paths)
            if not (calls and calls[-1].name == call.name):             # three times in a row for q, k and v
                calls.append(call)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        return run(), calls
    finally:
        sys.setprofile(before)


@pytest.fixture(scope="module")
def model():
    return GPT2(GPT2Config(*(SMALL[n] for n in ("V", "n_ctx", "C", "H", "L"))), np.random.default_rng(0))


@pytest.fixture(scope="module")
def step(model):
    """The calls of forward and of backward; loss and dlogits between them."""
    tokens = np.arange(6).reshape(2, 3)
    (logits, cache), forward = watch(model, lambda: model.forward(tokens))
    loss, c_loss = cross_entropy_forward(logits, tokens)
    dlogits = cross_entropy_backward(1.0, c_loss)
    _, backward = watch(model, lambda: model.backward(dlogits, cache))
    return forward, loss, dlogits, backward


def pairs(rows, calls):
    """(row, its call) for the rows of a table that have a name, once the names are found to be those of the calls."""
    named = [row for row in rows if row[0].startswith("`")]
    assert [row[0].strip("`") for row in named] == [call.name for call in calls]
    return zip(named, calls)


def test_forward(step):
    (tokens, *rows, last), (calls, loss, *_) = table("Forward"), step
    for (name, _, weights, gives, _), call in pairs(rows, calls):
        assert (call.weights, call.gives[:1]) == (shapes(weights), shapes(gives)), name
    given = {row[0]: shapes(row[3])[0] for row in rows}
    assert calls[0].takes == shapes(tokens[3])[0] and calls[1].takes == given["`wpe`"][:1]
    follows = {call.name: shapes(before[3])[0] for before, row in itertools.pairwise(rows)
               for call in calls if row[0] == f"`{call.name}`"}
    for call in calls[2:]:                              # each takes what the row above it gives, sums included
        assert call.takes == (given["`wte`"] if call.name == "split_heads" else follows[call.name]), call.name
    assert last[0] == "`cross_entropy`" and shapes(last[3]) == [loss.shape] and shapes(last[1]) == shapes(tokens[3])
    assert [shapes(row[1]) for row in rows if "attention`" in row[0]] == [[(2, 4, 3, 3)]]               # p


def test_backward(step):
    (first, *rows), (_, loss, dlogits, calls) = table("Backward"), step
    assert [shapes(first[2]), shapes(first[3])] == [[loss.shape], [dlogits.shape]]
    for (name, _, takes, gives, gradients, _), call in pairs(rows, calls):
        assert not takes or [call.takes] == shapes(takes), name
        each = 3 if "attention" in name else 1          # dq, dk and dv
        assert call.gives == each * shapes(gives) + shapes(gradients), name
    for row, following in itertools.pairwise(rows):
        if row[0] == "sum" and following[2]:
            assert shapes(row[3])[0][-2:] == shapes(following[2])[0][-2:], following[0]


@pytest.mark.parametrize("heading, column", [("Forward", 3), ("Backward", 4)])
def test_the_numbers_of_124m(heading, column):
    for row in table(heading):
        if row[-1] and row[-1] != "a number":
            expected = ", ".join(" × ".join(map(str, shape)) for shape in shapes(row[column], LARGE))
            assert row[-1] == expected, row[0]


def test_the_letters():
    config = SIZES["124M"]
    assert [LARGE[n] for n in ("V", "n_ctx", "C", "H", "L")] == [
        config.n_vocab, config.n_ctx, config.n_embd, config.n_head, config.n_layer]
    for letter, number in re.findall(r"^\| `(\w)` \| .* \| (\d+)", PAGE, re.M):
        assert LARGE[letter] == int(number), letter
    assert [d["F"] for d in (SMALL, LARGE)] == [4 * d["C"] for d in (SMALL, LARGE)]
    assert [d["D"] for d in (SMALL, LARGE)] == [d["C"] // d["H"] for d in (SMALL, LARGE)]


def test_how_much_work(model):
    rows = table("How many numbers, how much work")
    small, large = ([eval(formula.strip("`"), dict(sizes)) for _, formula, _ in rows] for sizes in (SMALL, LARGE))
    parameters = dict(model.named_parameters())
    assert small[0] == sum(p.value.size for path, p in parameters.items() if path.startswith("h.0."))
    assert small[1] == sum(p.value.size for p in parameters.values())
    flops = {s.name: s.flops for s in gpt2np.trace(model, [[1, 2, 3], [4, 5, 6]])}
    assert small[3] == flops.pop("h.0.attn.attention") and small[2] == sum(flops.values())
    assert [number for *_, number in rows] == [
        f"{large[0]:,}", f"{large[1]:,}", f"{large[2] / 1e9:.1f} GFLOP", f"{large[3] / 1e9:.1f} GFLOP"]
