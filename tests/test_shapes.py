"""docs/shapes.md says what shape everything has.  It is compared with a small model that runs."""

import itertools
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np.layers import activations, attention, cross_entropy, embedding, layernorm, linear, lm_head
from gpt2np.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from gpt2np.models.config import SIZES, GPT2Config
from gpt2np.models.gpt2 import GPT2

PAGE_FOLDER = Path(__file__).parents[1] / "docs"
PAGE = (PAGE_FOLDER / "shapes.md").read_text(encoding="utf-8")
SMALL = {"B": 2, "T": 3, "V": 11, "n_ctx": 5, "C": 12, "H": 4, "D": 3, "F": 48, "L": 1}
LARGE = {"B": 1, "T": 1024, "V": 50257, "n_ctx": 1024, "C": 768, "H": 12, "D": 64, "F": 3072, "L": 12}
HELPERS = ("split_heads", "merge_heads", "add_rows")     # what the page shows beside the pairs


def table(heading):
    """The cells of the table below a heading, row by row, without its own head."""
    lines = re.search(rf"^##+ {heading}\n[^|]*((?:\|.*\n)+)", PAGE, re.M)[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def shapes(cell, sizes=SMALL):
    """The shapes in a cell, each in brackets and backquotes: `(B, T, 3C)`."""
    return [tuple(int(n or 1) * sizes[letter] for n, letter in re.findall(r"(\d*)(\w+)", inside))
            for inside in re.findall(r"`\(([\w, ]*)\)`", cell)]


class Call:
    """What a module called: its name on the page, the shapes of the first argument, of the weights, of what came.

    function   what was called;  methods   in which methods that happened, as GPT2.hidden, from the innermost out
    """

    def __init__(self, caller, code, values, result, paths):
        self.function, self.methods = code.co_name, []
        frame = caller
        while frame is not None:
            if "self" in frame.f_locals:
                self.methods.append(f"{type(frame.f_locals['self']).__name__}.{frame.f_code.co_name}")
            frame = frame.f_back
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


# ---- one step with a finger

STACK = {"wte": "wte", "wpe": "wpe", "g_f": "ln_f.g", "b_f": "ln_f.b"}
BLOCK = {"g_1": "ln_1.g", "b_1": "ln_1.b", "w_attn": "attn.c_attn.w", "b_attn": "attn.c_attn.b",
         "w_proj": "attn.c_proj.w", "b_proj": "attn.c_proj.b", "g_2": "ln_2.g", "b_2": "ln_2.b", "w_fc": "mlp.c_fc.w",
         "b_fc": "mlp.c_fc.b", "w_out": "mlp.c_proj.w", "b_out": "mlp.c_proj.b"}
PAIRS = {name: f for module in (embedding, layernorm, linear, attention, activations, lm_head, cross_entropy)
         for name, f in vars(module).items() if name.endswith(("_forward", "_backward")) or name in HELPERS}


def lines(heading):
    """The rows of a table of lines: (number, code, the pair that it calls, the method that it is in, what it gives).

    The code leads to the file of its pair; a sum calls none, and leads nowhere.
    """
    for number, code, method, gives in table(heading):
        text, target = re.fullmatch(r"\[?`(.*)`(?:\]\((.*)\))?", code).groups()
        called = [name for name in PAIRS if re.search(rf"\b{name}\(", text)]
        assert len(called) == bool(target), f"{text} leads to {target}"
        for name in called:
            assert (PAGE_FOLDER / target).resolve() == Path(PAIRS[name].__code__.co_filename), text
        yield int(number), text, "".join(called), re.sub(r"\[`(.*)`\].*", r"\1", method), gives


def run_line(code, gives, names):
    """Run one line of the page, and see that what it makes has the shapes that the page gives."""
    exec(code, names)
    made = [names[name] for name in re.split(", ", code.split(" = ")[0]) if not name.startswith("c_")]
    each = 3 if re.match(r"q, k, v|dq, dk, dv", code) else 1
    assert [a.shape for a in made] == each * shapes(gives), code


def test_one_step_with_a_finger():
    """The lines on the page, run from top to bottom, are the model: its loss, its gradients, its shapes."""
    L, sizes = 2, (SMALL[n] for n in ("V", "n_ctx", "C", "H"))
    model = GPT2(GPT2Config(*sizes, L), np.random.default_rng(0), dtype=np.float64)
    for _, parameter in model.named_parameters():
        parameter.value += np.random.default_rng(1).normal(0, 0.3, parameter.value.shape)
    tokens, targets = np.array([[1, 5, 1], [2, 3, 1]]), np.array([[5, 1, 4], [3, 1, 0]])
    value = {path: parameter.value for path, parameter in model.named_parameters()}
    names = PAIRS | {"np": np, "H": SMALL["H"], "tokens": tokens, "targets": targets, "positions": np.arange(3)}
    names |= {name: value[path] for name, path in STACK.items()}
    forward, backward = list(lines("Forward, line by line")), list(lines("Backward, line by line"))
    blocks = [{name: value[f"h.{i}.{path}"] for name, path in BLOCK.items()} for i in range(L)]
    found = {}

    def run(rows, where):
        for number, code, _, _, gives in rows:
            if where(number):
                run_line(code, gives, names)

    run(forward, lambda line: line < 4)
    for block in blocks:
        names |= block
        run(forward, lambda line: 4 <= line <= 15)
        block.update({name: names[name] for name in names if name.startswith("c_") and name not in (
            "c_word", "c_place")})
    run(forward, lambda line: line > 15)
    run(backward, lambda line: line > 15)
    for i, block in reversed(list(enumerate(blocks))):
        names |= block
        run(backward, lambda line: 4 <= line <= 15)
        found |= {f"h.{i}.{path}": names[f"d{name}"] for name, path in BLOCK.items()}
    run(backward, lambda line: line < 4)
    found |= {path: names[f"d{name}"] for name, path in STACK.items()}

    assert names["loss"] == pytest.approx(float(model.loss_and_gradients(tokens, targets)), rel=1e-13)
    assert found.keys() == value.keys()
    for path, parameter in model.named_parameters():
        np.testing.assert_allclose(found[path], parameter.grad, rtol=0, atol=1e-13 * np.abs(parameter.grad).max())


def test_every_line_is_where_the_page_says(step):
    """The pairs come in the order in which the model calls them, each in the method that the page names."""
    forward, loss, dlogits, backward = step
    for heading, calls in (("Forward, line by line", forward), ("Backward, line by line", backward)):
        rows = [row for row in lines(heading) if row[2] and "cross_entropy" not in row[2]]
        merged = [call for call in calls if call.function != "add_rows"]
        expected = [row[2] for row in rows if not (row[0] == 1 and "Backward" in heading)]      # add_rows, in place
        assert [call.function for call in merged] == expected, heading
        for (_, code, pair, method, _), call in zip(rows, merged):
            assert pair in code and method in call.methods, f"{code}: {call.methods}"


def test_every_line_takes_another_back():
    """Each line of forward is taken back by one; only the sums of the embeddings, line 3, need none."""
    forward, backward = list(lines("Forward, line by line")), list(lines("Backward, line by line"))
    assert [number for number, *_ in forward] == list(range(1, 19))
    assert sorted(number for number, *_ in backward) == [n for n in range(1, 19) if n != 3]
    pairs_of = {number: pair.removesuffix("_forward") for number, _, pair, _, _ in forward}
    opposite = {"split_heads": "merge_heads", "merge_heads": "split_heads"}
    for number, code, pair, _, _ in backward:
        there = pairs_of[number]
        assert pair.removesuffix("_backward") == opposite.get(there, there), code


def test_how_much_work(model):
    rows = table("How many numbers, how much work")
    small, large = ([eval(formula.strip("`"), dict(sizes)) for _, formula, _ in rows] for sizes in (SMALL, LARGE))
    parameters = dict(model.named_parameters())
    assert small[0] == sum(p.value.size for path, p in parameters.items() if path.startswith("h.0."))
    assert small[1] == sum(p.value.size for p in parameters.values())
    steps = {s.name: s for s in gpt2np.trace(model, [[1, 2, 3], [4, 5, 6]])}
    assert small[3] == 2 * steps["h.0.attn.z"].flops    # q k' costs what p v does
    products = [s.flops - math.prod(s.shape) for s in steps.values() if s.formula == "y = x w + b"]     # but for biases
    assert small[2] == sum(products) + steps["lm_head"].flops
    assert [number for *_, number in rows] == [
        f"{large[0]:,}", f"{large[1]:,}", f"{large[2] / 1e9:.1f} GFLOP", f"{large[3] / 1e9:.1f} GFLOP"]
