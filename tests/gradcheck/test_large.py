"""What the table meets: every option at another value than its default, and both sides of every number at which the
code begins to work in another way; and that a mistake which begins at a size is found.
"""

import ast
import importlib
import inspect
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from gpt2np.gradcheck import __main__ as report
from gpt2np.gradcheck.cases import CASES, layers
from gpt2np.gradcheck.large import large
from gpt2np.layers import activations, attention, tiles

ROOT = Path(layers.__file__).parents[2]
FOLDERS = [f for f in ("layers", "blocks", "models", "adapt") if (ROOT / f).is_dir()]
# What a model begins with: tests/layers, tests/blocks and tests/models look at it; and what is said of its sources.
OF_NO_ROW = {"dtype", "std", "source_end", "scripts"}
HERE, LAWS = "tests/gradcheck/test_large.py", "gpt2np/gradcheck/laws/layers.py"
EVALUATION = "tests/training/test_evaluation.py::test_each_worker_has_a_window_and_all_have_as_many"
# Every constant of the mathematics, of decoding, encoding and evaluation: the test or law that meets it on both sides;
# None where nothing begins at it.
CONSTANTS = {
    "layers/activations.py": {"A1": None, "A3": None,
                              "LIMIT": f"{HERE}::test_gelu_meets_both_sides_of_where_exp_is_cut"},
    "layers/attention.py": {"QUERIES": f"{HERE}::test_attention_is_cut_in_every_direction_and_not",
                            "SCORES": f"{HERE}::test_attention_is_cut_in_every_direction_and_not",
                            "LOWEST": f"{LAWS}::padding_is_not_seen"},
    "layers/cross_entropy.py": {"IGNORED": None},
    "layers/paths.py": {"SHOWN": "tests/layers/test_paths.py::test_many_names_are_cut_short"},
    "adapt/adalora.py": {"STD": None}, "adapt/prefix.py": {"STD": None}, "adapt/narrow.py": {"MOST": None},
    "layers/tiles.py": {"TILE": f"{HERE}::test_every_loop_over_tiles_meets_one_tile_and_many",
                        "FEW": f"{HERE}::test_products_meet_one_row_few_and_many",
                        "SEVERAL":
                        "tests/layers/test_tiles.py::test_it_is_the_product_for_any_rows_and_any_layout"},
    "decoding/prefill.py": {"ROWS": "tests/decoding/test_prefill.py::test_it_is_next_logits"},
    "decoding/texts.py": {"PADDING": None},
    "decoding/together.py": {
        "PIECE": "tests/decoding/test_together.py::test_a_text_in_company_is_what_it_is_alone",
        "ROOM": "tests/decoding/test_together.py::test_a_text_in_company_is_what_it_is_alone"},
    "decoding/translating.py": {
        "MORE": "tests/decoding/test_translating.py::test_a_translation_may_have_so_many_tokens_more_than_its_source",
        "TOGETHER": "tests/decoding/test_translating.py::test_more_texts_than_go_together_keep_their_order"},
    "models/bert.py": {"IS_NEXT": None, "NOT_NEXT": None}, "models/heads.py": {"START": None, "END": None},
    "sampling.py": {"NEVER": None, "ABOVE_0": None,
                    "LARGEST": "tests/test_sampling.py::test_the_largest_options_leave_probabilities"},
    "text/bpe.py": {
        "WINDOW": "tests/text/test_bpe.py::test_cutting_a_long_text_into_windows_changes_nothing",
        "MAX_WORDS": "tests/text/test_bpe.py::test_memory_does_not_grow_with_the_text",
        "MAX_WORD_LENGTH": "tests/text/test_bpe.py::test_long_pieces_are_not_remembered",
        "LONG": "tests/text/test_bpe.py::test_both_ways_of_merging_equal_the_definition_for_any_order_of_merges",
        "NO_MERGE": None, "NO_TOKEN": None, "GONE": None},
    "training/evaluation.py": {
        "MAX_WINDOWS": EVALUATION, "MAX_LOGITS": EVALUATION, "BINS": None, "DRAWS": None,
        "ROWS": "tests/training/test_evaluation.py::test_a_few_rows_of_logits_at_a_time_and_all",
        "PARTS": "tests/training/test_evaluation.py::test_the_interval_is_that_of_means",
        "AT_A_TIME": "tests/training/test_evaluation.py::test_bytes_and_words_are_those_of_the_text"},
}


def constants(path):
    """The numbers that a file names in capitals."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for target in node.targets if isinstance(node, ast.Assign) else ():
            module = importlib.import_module(".".join(("gpt2np", *path.relative_to(ROOT).with_suffix("").parts)))
            for name in (n.id for n in ast.walk(target) if isinstance(n, ast.Name) and n.id.isupper()):
                if isinstance(getattr(module, name), (int, float)):
                    yield name


def test_every_constant_says_where_it_is_met_on_both_sides():
    files = [p for f in (*FOLDERS, "decoding") for p in sorted((ROOT / f).glob("*.py"))]
    files += [ROOT / "sampling.py", ROOT / "text" / "bpe.py", ROOT / "training" / "evaluation.py"]
    found = {p.relative_to(ROOT).as_posix(): set(constants(p)) for p in files}
    named = {file: set(names) for file, names in CONSTANTS.items()}
    assert {file: names for file, names in found.items() if names} == named, "name it in CONSTANTS, with its test"
    for places in CONSTANTS.values():
        for file, test in (place.split("::") for place in places.values() if place is not None):
            assert f"\ndef {test}(" in (ROOT.parent / file).read_text(encoding="utf-8"), f"no {test} in {file}"


def is_a_choice(node):
    """A comparison, or a call of min, max or range: where a number decides what is done."""
    return isinstance(node, ast.Compare) or getattr(getattr(node, "func", None), "id", "") in ("min", "max", "range")


def test_no_number_above_4_decides_without_a_name():
    """But for the limits of an option, which are tested where it is refused."""
    named, found = {"-10 <= self.length_penalty <= 10"}, []
    files = [p for f in (*FOLDERS, "decoding") for p in sorted((ROOT / f).glob("*.py"))] + [ROOT / "sampling.py"]
    for path in files:
        for node in filter(is_a_choice, ast.walk(ast.parse(path.read_text(encoding="utf-8")))):
            numbers = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and type(n.value) in (int, float)]
            if max(numbers, default=0) > 4 and ast.unparse(node) not in named:
                found.append(f"{path.relative_to(ROOT)}: {ast.unparse(node)}")
    assert found == [], "name the number, in capitals, and the test that meets both of its sides in CONSTANTS"


def functions_with_options():
    """Every function and method of the mathematics that has options, by its code: (name, {option: default})."""
    found = {}
    for path in sorted(p for f in FOLDERS for p in (ROOT / f).glob("*.py")
                       if p.name not in ("__init__.py", "protocols.py")):
        module = importlib.import_module(f"gpt2np.{path.parent.name}.{path.stem}")
        for thing in vars(module).values():
            if getattr(thing, "__module__", None) == module.__name__:
                for function in [thing, *vars(thing).values()] if inspect.isclass(thing) else [thing]:
                    if inspect.isfunction(function):
                        options = {n: p.default for n, p in inspect.signature(function).parameters.items()
                                   if p.default is not inspect.Parameter.empty and n not in OF_NO_ROW}
                        if options:
                            found[function.__code__] = f"{module.__name__}.{function.__qualname__}", options
    return found


class Met:
    """What is called, and with what, while all cases are made, run and asked for their laws."""

    def __init__(self):
        self.options = {(name, option): False for name, options in functions_with_options().values()
                        for option in options}
        self.tiles, self.blocks, self.rows, self.u, self.seen = (defaultdict(set) for _ in range(5))
        functions, resumed, cut = functions_with_options(), defaultdict(int), defaultdict(list)

        def watch(frame, event, argument):
            code = frame.f_code
            if event == "call" and code in functions:
                name, options = functions[code]
                for option, default in options.items():
                    value = frame.f_locals[option]
                    if value is not default and not (type(value) is type(default) and value == default):
                        self.options[name, option] = True
            if code is tiles.tiles.__code__:            # a generator: it is called for each tile, and once more
                if event == "call":
                    resumed[id(frame)] += 1
                elif argument is None:
                    self.tiles[frame.f_back.f_code.co_name].add(min(2, resumed.pop(id(frame), 1) - 1))
            elif code is attention._blocks.__code__ and event == "return":
                if argument is not None:
                    cut[id(frame)].append(argument)
                else:
                    parts = cut.pop(id(frame), [])
                    for i, axis in enumerate(("sequences", "heads", "queries")):
                        self.blocks[axis].add(min(2, len({block[i].start for block in parts})))
            elif code is tiles.product.__code__ and event == "call":
                x = frame.f_locals["x"]
                n = x.size // max(1, x.shape[-1])
                self.rows[frame.f_back.f_code.co_name].add("one" if n == 1 else "few" if n < tiles.FEW else "many")
            elif code is activations.exp_minus_u.__code__ and event == "call":
                u = frame.f_locals["x"].real * (activations.A1 + activations.A3 * frame.f_locals["xx"].real)
                self.u["above" if (-u).max(initial=0) > activations.LIMIT else "below"].add(frame.f_back.f_code.co_name)

        sys.setprofile(watch)
        try:
            for case in CASES:
                subject = case.make(np.random.default_rng(0))
                rng = np.random.default_rng([0, 1])
                y, cache = subject.forward(subject.arguments)
                subject.backward(np.ones_like(y), cache)
                for law in case.laws:
                    law(subject, rng)
        finally:
            sys.setprofile(None)


@pytest.fixture(scope="module")
def met():
    return Met()


def test_every_option_is_met_at_another_value_than_its_default(met):
    assert [f"{name}: {option}" for (name, option), seen in met.options.items() if not seen] == []


def test_every_loop_over_tiles_meets_one_tile_and_many(met):
    assert {name: n for name, n in met.tiles.items() if not {1, 2} <= n} == {}


def test_attention_is_cut_in_every_direction_and_not(met):
    assert {axis: n for axis, n in met.blocks.items() if not {1, 2} <= n} == {}


def test_products_meet_one_row_few_and_many(met):
    assert met.rows["linear_forward"] == met.rows["lm_head_forward"] == {"one", "few", "many"}


def test_gelu_meets_both_sides_of_where_exp_is_cut(met):
    assert met.u["above"] >= {"gelu_forward", "gelu"} and met.u["below"] >= {"gelu_forward", "gelu"}


def test_a_mistake_that_begins_at_a_size_is_found(capsys, monkeypatch):
    right = layers.layernorm_backward

    def wrong(dy, cache):
        dx, dg, db = right(dy, cache)
        return dx, dg * (1.001 if dy.shape[-1] > 64 else 1), db

    monkeypatch.setattr(layers, "layernorm_backward", wrong)
    assert report.main(["--layer", "layernorm, eps"]) == 0
    assert report.main(["--layer", "layernorm, eps", "--large"]) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if line.endswith("8/8 FAIL")]
    assert [" ".join(line[22:35].split()) for line in failed] == ["C = 300", "GPT-2 124M"]
    assert any(line.startswith("    adjoint of all: dg: expected <Jv, dy> = ") for line in lines)
    assert max(len(line) for line in lines if "expected" not in line) <= 80


def test_every_size_is_taken_alone():
    case = next(c for c in CASES if c.name == "attention, causal")
    names = [name for name, *_ in large(case)]
    assert names == ["B = 300", "H = 70", "T = 150", "past = 300", "D = 300", "GPT-2 124M"]
    assert [sizes for _, sizes, *_ in large(case)][1] == {"H": 70}
