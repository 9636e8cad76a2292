"""Times everything, beside the peers that are installed and beside what this machine can do, in a quarter of an hour.

    python -m benchmarks.all [--only NAME...] [--rounds 5] [--quick] [--text FILE] [--out DIR] [--keep]

One table on the terminal, and in DIR the same as results.json, with the seconds of every round, and as results.html,
with bars. All sides of a row take turns in one process on the same cores (ours, theirs, ours, ...), in float32.

    median, quartiles   of the rounds
    times as fast       the median of the rounds' ratios: above 1, we are ahead
    of ...              our share of what the machine allows at most, measured in the same run:
                        products    the multiplications, at the rate that BLAS reaches
                        reading     the bytes that have to go through memory, at the bandwidth of a large product with
                                    a vector
                        and what else a row names

PyTorch, transformers, tiktoken, tokenizers and onnxruntime (with onnx, for its graphs) are optional: what is not
installed is named, and left out. pip install '.[bench]' brings all of them.
"""

import argparse
import gc
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks import (
    bert,
    checkpoints,
    finetune,
    generate,
    layers,
    onnx_gpt2,
    onnx_graph,
    results,
    serve,
    start,
    text,
    train,
    translate,
)
from benchmarks.results import OURS, Row
from benchmarks.timing import Machine, in_turn, interleaved
from gpt2np.checkpoints import huggingface_gpt2, openai_gpt2, tf_bundle
from gpt2np.checkpoints.files import replace_text
from gpt2np.command import run_command, whole
from gpt2np.decoding import lay_out_for_decoding
from gpt2np.memory import cores, keep_freed_memory
from gpt2np.models.config import SIZES, GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.sampling import Sampler

PEERS = {"PyTorch": "torch", "transformers": "transformers", "tiktoken": "tiktoken", "tokenizers": "tokenizers",
         "onnxruntime": "onnxruntime"}
# What the benchmarks call the sides, and what the table does.
SIDES = {"ours": OURS, "1 thread": f"{OURS}, 1 thread", "torch": "PyTorch", "fused": "PyTorch, fused AdamW",
         "eager": "transformers, eager", "sdpa": "transformers, sdpa", "onnxruntime": "onnxruntime"}
TINY = GPT2Config(n_vocab=2048, n_ctx=1024, n_embd=32, n_head=2, n_layer=2)  # of --quick
TOKENS, FEW_TOKENS = 64, 4                  # that are written
SHORT = 3                                   # times as many rounds for what takes milliseconds
PAUSE = 0.02                                # seconds before what takes milliseconds: see timing.in_turn
LIMITS_EACH = 5                             # measurements of the machine before each group


class Setting(NamedTuple):
    """How much is measured."""

    rounds: int
    quick: bool
    text: Path | None
    machine: Machine

    def many(self) -> int:
        """The rounds of what takes milliseconds."""
        return 1 if self.quick else SHORT * self.rounds

    def least(self, n_bytes: float = 0, operations: float = 0) -> float:
        """The seconds that this machine needs at least, as it was before the group."""
        bandwidth, rate = self.machine.median(LIMITS_EACH)
        return n_bytes / bandwidth + operations / rate


Thunk = tuple[str, Callable[[], Row]]       # the name of a row, and what measures it
Rate = Callable[[Any], float]               # of a model: tokens a second


def named(times: dict[str, list[float]]) -> dict[str, list[float]]:
    """Seconds by the names that are shown."""
    return {SIDES[name]: seconds for name, seconds in times.items()}


# ---- the groups: each yields the names of its rows, and what measures them when it is called


def training(setting: Setting) -> Iterator[Thunk]:
    """Whole steps: forward, backward, norm of the gradient, AdamW."""
    names = {"GPT-2 124M, 4 x 64 tokens": "124M B4 T64", "GPT-2 124M, 1 x 1,024 tokens": "124M B1 T1024",
             "6 blocks of width 256, 16 x 256 tokens": "small B16 T256"}

    def row(name: str, case: Any) -> Row:
        seconds = named(train.step_times(case, setting.rounds))
        return Row(name, seconds, limit=("products", train.product_seconds(*case)))

    for name, case in names.items():
        yield name, partial(row, name, (TINY, 2, 16) if setting.quick else train.CASES[case])


def writing(setting: Setting) -> Iterator[Thunk]:
    """GPT-2 124M with random weights, greedy: token by token, and a prompt at once."""
    n, context, prompt = (FEW_TOKENS, 20, 64) if setting.quick else (TOKENS, 1000, 1024)
    ours, plain, guessing = generate.ours, generate.ours_plain, generate.ours_speculating

    @cache
    def models() -> tuple[Any, dict[str, Any]]:
        model = GPT2(TINY if setting.quick else SIZES["124M"], np.random.default_rng(0))
        makers = {"PyTorch": (generate.torch, generate.Peer), "onnxruntime": (onnx_graph.onnxruntime, onnx_gpt2.Peer)}
        peers = {name: Peer(model) for name, (there, Peer) in makers.items() if there}
        lay_out_for_decoding(model)
        return model, peers

    def row(name: str, mine: Rate, theirs: Rate, limit: Callable[[Any], tuple[str, float] | None]) -> Row:
        model, peers = models()
        others = {other: partial(theirs, peer) for other, peer in peers.items()}
        return rates(name, {OURS: partial(mine, model)} | others, limit(model))

    def with_guesses(name: str, sampler: Sampler) -> Row:
        model, _ = models()
        return rates(name, {OURS: lambda: guessing(model, n, sampler),
                            f"{OURS}, without n-grams": lambda: plain(model, n, sampler)}, None)

    def rates(name: str, sides: dict[str, Callable[[], float]], limit: tuple[str, float] | None) -> Row:
        """A row of what gives tokens a second."""
        found = in_turn(setting.rounds, list(sides.values()))
        return Row(name, {side: [1 / rate for rate in of] for side, of in zip(sides, found)}, "tokens/s", limit=limit)

    def reading(tokens: float, model: Any) -> tuple[str, float]:
        return "reading", setting.least(generate.bytes_of_a_token(model, tokens))

    def products(model: Any) -> tuple[str, float]:
        L, C = model.config.n_layer, model.config.n_embd
        return "products", setting.least(operations=L * (24 * C * C + 2 * prompt * C))

    for name, mine, theirs, limit in (
            ("GPT-2 124M writes", lambda model: ours(model, 1, n), lambda peer: peer.decode(1, n),
             partial(reading, generate.PROMPT + n / 2)),
            ("after 1,000 tokens", lambda model: ours(model, 1, generate.STEPS, context),
             lambda peer: peer.decode(1, generate.STEPS, context), partial(reading, context + generate.STEPS / 2)),
            ("8 texts at once", lambda model: ours(model, 8, n), lambda peer: peer.decode(8, n), lambda model: None),
            ("reads a prompt of 1,024 tokens", lambda model: generate.ours_prefill(model, prompt),
             lambda peer: peer.prefill(prompt), products)):
        yield name, partial(row, name, mine, theirs, limit)
    for name, sampler in (("n-grams, a text that repeats itself", generate.ONE_TOKEN),
                          ("n-grams, a text that does not", generate.SAMPLED)):
        yield name, partial(with_guesses, name, sampler)


def layer_by_layer(setting: Setting) -> Iterator[Thunk]:
    """Forward and backward of a pair on all cores, at GPT-2 124M's shapes."""

    @cache
    def rows() -> dict[str, Any]:
        return {row.name: row for row in layers.rows_of(setting.quick)}

    def limit(row: Any) -> tuple[str, float]:
        """What goes through memory at least: x, y and what is kept for the way back, dy, that again, and dx."""
        x, dy = row.batch[0], row.dy
        if row.name == "causal attention":              # six products, of which causality leaves half
            B, H, T, D = x.shape
            return "products", setting.least(operations=6 * B * H * T * T * D)
        if row.name == "embedding":
            return "reading", setting.least(3 * dy.nbytes + row.weights[0].nbytes)
        return "reading", setting.least(6 * x.nbytes)

    def measured(name: str) -> Row:
        row = rows()[name]
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(layers.CORES) as pool:
            seconds = layers.times_on_all_cores(row, pool, setting.many())
        return Row(name, named(seconds), limit=limit(row))

    for name in ("layernorm", "gelu", "gelu_erf", "embedding", "causal attention"):
        yield name, partial(measured, name)


def translation(setting: Setting) -> Iterator[Thunk]:
    """The Transformer of 2017, 3 + 3 blocks of width 256."""
    B, n = (2, 4) if setting.quick else (32, 32)
    V, C, L, F, T = translate.V, translate.C, translate.L, translate.F, translate.T

    def step() -> Row:
        products = 6 * B * T * (L * (12 * C * C + 4 * C * F) + V * C) + 30 * L * B * T * T * C
        return Row("a step of translation", named(translate.step_times(setting.rounds, B, 0.1)),
                   limit=("products", setting.least(operations=products)))

    def decode() -> Row:
        return Row("8 sources to 32 tokens each", named(translate.decode_times(setting.rounds, n)), "tokens/s",
                   translate.SOURCES * n)

    yield "a step of translation", step
    yield "8 sources to 32 tokens each", decode


def berts(setting: Setting) -> Iterator[Thunk]:
    """A BERT of 6 blocks: it reads, learns hidden words, and learns names."""

    def products(rows: int, T: int, C: int, L: int, F: int, head: int = 0) -> float:
        """Operations of a forward pass."""
        return rows * T * (L * 2 * (4 * C * C + 2 * C * F) + head) + L * 4 * rows * T * T * C

    def read(name: str, size: str) -> Row:
        sizes = bert.READ
        least = setting.least(operations=products(*bert.SIZES[size], sizes["n_embd"], sizes["n_layer"],
                                                  sizes["n_inner"]))
        return Row(name, named(bert.read_times(setting.many(), size)), limit=("products", least))

    def step() -> Row:
        sizes = bert.STEP
        head = int(bert.HIDDEN * 2 * sizes["n_vocab"] * sizes["n_embd"])
        least = setting.least(operations=3 * products(bert.B, bert.T, sizes["n_embd"], sizes["n_layer"],
                                                      sizes["n_inner"], head))
        return Row("a step with hidden words", named(bert.step_times(setting.rounds)), limit=("products", least))

    def names() -> Row:
        times = finetune.step_times(setting.rounds, 0.1)
        least = setting.least(operations=3 * products(finetune.B, finetune.T, finetune.C, finetune.L, finetune.F))
        return Row("a step with names", named({side: seconds for (side, frozen), seconds in times.items()
                                               if not frozen}), limit=("products", least))

    for name, size in (("reads 32 texts of 32 tokens", "32 x 32"), ("reads a text of 128 tokens", "1 x 128")):
        yield name, partial(read, name, size)
    yield "a step with hidden words", step
    yield "a step with names", names


def tokenizing(setting: Setting) -> Iterator[Thunk]:
    """A text to tokens on one thread, the first that a tokenizer meets, and again."""

    @cache
    def times() -> tuple[float, tuple[dict, ...]]:
        given = a_text(setting)
        with tempfile.TemporaryDirectory() as folder:
            text.write_files(folder)
            peers: dict[str, Callable] = {OURS: text.new_gpt2np}
            if text.tiktoken:
                peers["tiktoken"] = partial(text.new_tiktoken, folder)
            if text.tokenizers:
                peers["tokenizers"] = partial(text.new_tokenizers, folder)
            return len(given.encode()) / 1e6, text.times_of_encoding(given, peers, setting.rounds)

    for i, name in enumerate(("BPE, its files and the first text", "BPE, the first text", "BPE, the same text again")):
        yield name, lambda i=i, name=name: Row(name, times()[1][i], "MB/s", times()[0])


def a_text(setting: Setting) -> str:
    """The one that is asked for; Shakespeare's works where they lie beside the checkout; or this package's pages."""
    if path := setting.text or (text.SHAKESPEARE if text.SHAKESPEARE.is_file() else None):
        whole = path.read_bytes().decode()
    else:
        whole = "\n".join(page.read_text("utf-8") for page in sorted((results.ROOT / "docs").glob("*.md")))
    return whole[:20_000] if setting.quick else whole


def files(setting: Setting) -> Iterator[Thunk]:
    """From files to a model, and from a command to its first character; all files in the system's cache."""
    loads = {"loads GPT-2 124M from OpenAI's files": openai_gpt2,
             "loads GPT-2 124M from model.safetensors": huggingface_gpt2}

    def load(name: str, layout: Any) -> Row:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            model = GPT2(TINY if setting.quick else SIZES["124M"], np.random.default_rng(0))
            layout.write(folder, model, None)
            del model
            path = (tf_bundle.data_path(folder / "model.ckpt") if layout is openai_gpt2
                    else folder / "model.safetensors")
            given = folder if layout is openai_gpt2 else path
            runs = {OURS: partial(checkpoints.weights, layout, given), "raw": partial(np.fromfile, path, np.uint8)}
            if bert.transformers and layout is huggingface_gpt2:
                runs["transformers"] = partial(bert.transformers.GPT2LMHeadModel.from_pretrained, folder)
            seconds = dict(zip(runs, interleaved(setting.rounds, list(runs.values()))))
        return Row(name, seconds, limit=("reading the file", statistics.median(seconds.pop("raw"))))

    def first_character() -> Row:
        with tempfile.TemporaryDirectory() as scratch:
            ours, alone = in_turn(setting.rounds, [partial(start.first_character, name, start.keeping_in(scratch))
                                                   for name in ("generate", "NumPy")])
        return Row("the first character of python -m gpt2np.generate", {OURS: ours},
                   limit=("Python with NumPy alone", statistics.median(alone)))

    for name, layout in loads.items():
        yield name, partial(load, name, layout)
    yield "the first character of python -m gpt2np.generate", first_character


def serving(setting: Setting) -> Iterator[Thunk]:
    """The demo behind HTTP, for clients on the same cores."""

    def clients() -> Row:
        lasting, tokens = (0.1, 4) if setting.quick else (3, 64)
        with serve.serving("demo") as port:
            eight, one = in_turn(setting.rounds, [partial(serve.rate, port, n, lasting, tokens) for n in (8, 1)])
        return Row("8 clients at once", {OURS: [1 / rate for rate in eight],
                                         f"{OURS}, 1 client": [1 / rate for rate in one]}, "tokens/s")

    yield "8 clients at once", clients


GROUPS: dict[str, Callable[[Setting], Iterator[Thunk]]] = {
    "training": training, "writing": writing, "layers, forward and backward": layer_by_layer,
    "translation": translation, "BERT": berts, "text to tokens": tokenizing, "files": files, "serving": serving}


# ---- the command


def about_machine() -> dict[str, Any]:
    """What it is."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            processor = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    blas = "unknown"
    for found in threadpool_info():
        if found["user_api"] == "blas" and "numpy" in found["filepath"]:
            kernels = f" ({found['architecture']})" if found.get("architecture") else ""
            names = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS"}
            short = ".".join(str(found["version"]).split(".")[:3])
            blas = f"{names.get(found['internal_api'], found['internal_api'])} {short}{kernels}"
    return {"processor": processor, "cores": cores(), "BLAS": blas, "NumPy": np.__version__,
            "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
                      f"NumPy {np.__version__}"}


def version_of(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def asked_for(name: str, only: list[str]) -> bool:
    """Whether a row is wanted; without any word all are."""
    return not only or any(word in name for word in only)


def measure(setting: Setting, only: list[str], out: Path) -> dict[str, Any]:
    """Measure, print and write row by row, so that an end before time loses one of them."""
    begun = time.perf_counter()
    found: dict[str, Any] = {
        "date": date.today().isoformat(), "took": 0.0, "rounds": setting.rounds, "quick": setting.quick, "only": only,
        "machine": about_machine(), "versions": {name: version_of(package) for name, package in PEERS.items()},
        "limits": {"bandwidths": setting.machine.bandwidths, "rates": setting.machine.rates}, "groups": {}}
    print(results.about(found), flush=True)
    for group, rows in GROUPS.items():
        wanted = [row for name, row in rows(setting) if asked_for(f"{group}: {name}", only)]
        if not wanted:
            continue
        for _ in range(LIMITS_EACH):
            setting.machine.measure()
        print(results.heading(group))
        found["groups"][group] = []
        for row in wanted:
            measured = row()
            print(results.lines(measured), flush=True)
            found["groups"][group].append(measured.record())
            found["took"] = time.perf_counter() - begun
            results.write(found, out)
            gc.collect()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.all", description=__doc__.split("\n")[0])
    parser.add_argument("--only", metavar="NAME", nargs="+", default=[], help="only what has a NAME in its name")
    parser.add_argument("--rounds", type=whole(1), default=results.ENOUGH,
                        help="of every side of a row (default: %(default)s); what takes milliseconds has more")
    parser.add_argument("--quick", action="store_true", help="tiny models under the same names, one round: seconds")
    parser.add_argument("--text", type=Path, metavar="FILE", help="what is made tokens (default: Shakespeare's works, "
                        "where they lie beside the checkout, or this package's pages)")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("runs", "benchmarks"),
                        help="where results.json and results.html go (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="put the figures of a whole run into both READMEs, too")
    options = parser.parse_args(arguments)
    if options.keep and (options.only or options.quick):
        parser.error("--keep takes a whole run: without --only and --quick")
    if options.text and not options.text.is_file():
        parser.error(f"there is no file {options.text}")
    names = [f"{group}: {name}" for group, rows in GROUPS.items()
             for name, _ in rows(Setting(1, True, None, Machine(1, 1)))]
    for word in options.only:
        if not any(word in name for name in names):
            parser.error(f"--only: no row has {word!r} in its name; there are\n  " + "\n  ".join(names))
    options.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    if train.torch:
        train.torch.set_num_threads(cores())
    if bert.transformers:
        bert.transformers.logging.set_verbosity_error()
        bert.transformers.logging.disable_progress_bar()
    machine = Machine(64, 64) if options.quick else Machine()
    setting = Setting(1 if options.quick else options.rounds, options.quick, options.text, machine)
    found = measure(setting, options.only, options.out)
    print(f"\nthe machine {results.limits(found)}\n{results.rounds(found)}\n"
          f"{options.out / 'results.json'} and {options.out / 'results.html'} have all of it")
    if options.keep:
        replace_text(results.KEPT, results.as_json(found))
        results.into_readmes()
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, None))
