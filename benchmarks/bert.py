"""Times a BERT beside transformers on PyTorch and beside onnxruntime: vectors of sentences, and a step of learning
hidden words.

    python -m benchmarks.bert [--rounds 9] [--only NAME]

Both on the same cores, interleaved in one run (ours, theirs, ours, ...), medians of the rounds, in float32, weights at
random: the numbers in them cost no time.

    read    6 blocks, width 384, 12 heads, vocabulary 30,522 (MiniLM's shape): 32 texts of 32 tokens (ours in batches on
            threads, as `similar` reads them), and single texts of 128 and 16; transformers' eager and sdpa, of
            which the ratio takes the faster; and the graph of onnx_bert.py, which has to compute what ours does
    step    6 blocks, width 256, 4 heads, vocabulary 4,096, 32 rows of 64 tokens of which 15 % are hidden: forward,
            backward, norm of the gradient and AdamW; theirs BertForPreTraining with torch.optim.AdamW as it comes, and
            in brackets with fused=True
"""

import argparse
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from benchmarks import onnx_bert
from benchmarks.onnx_graph import onnxruntime
from benchmarks.timing import interleaved
from gpt2np.memory import cores, keep_freed_memory
from gpt2np.models.bert import BERT, BertForPreTraining
from gpt2np.models.config import BertConfig
from gpt2np.training.adamw import AdamW
from gpt2np.training.clipping import clip_scale
from gpt2np.training.parallel import DataParallel

try:
    import torch
    import transformers
except ImportError:
    torch = transformers = None

READ = {"n_vocab": 30_522, "n_ctx": 512, "n_embd": 384, "n_head": 12, "n_layer": 6, "n_inner": 1536}
STEP = {"n_vocab": 4096, "n_ctx": 64, "n_embd": 256, "n_head": 4, "n_layer": 6, "n_inner": 1024}
SIZES = {"32 x 32": (32, 32), "1 x 128": (1, 128), "1 x 16": (1, 16)}
B, T, HIDDEN = 32, 64, 0.15
AT_ONCE = 512                   # tokens from which a batch is divided among threads
PAUSE = 0.25                    # seconds, in which the threads of the one before stop waiting for more at full speed


def their_config(sizes: dict[str, int]) -> Any:
    return transformers.BertConfig(
        vocab_size=sizes["n_vocab"], hidden_size=sizes["n_embd"], num_hidden_layers=sizes["n_layer"],
        num_attention_heads=sizes["n_head"], intermediate_size=sizes["n_inner"], max_position_embeddings=sizes["n_ctx"])


def read_times(rounds: int, name: str) -> dict[str, list[float]]:
    """The seconds in which each side reads the texts, by its name."""
    ids = np.random.default_rng(1).integers(1000, READ["n_vocab"], SIZES[name])
    model = BERT(BertConfig(**READ), np.random.default_rng(0), pooler=False)
    blas = ThreadpoolController().select(user_api="blas")
    pool = ThreadPoolExecutor(cores())
    read = partial(model.forward, keep_cache=False)

    def ours() -> None:
        if ids.size < AT_ONCE:
            read(ids)
        else:
            with blas.limit(limits=1):
                list(pool.map(read, np.array_split(ids, cores())))

    def theirs(peer: Any) -> None:
        with torch.no_grad():
            peer(torch.from_numpy(ids))

    runs: dict[str, Callable[[], Any]] = {"ours": ours}
    for way in ("eager", "sdpa") if torch else ():
        peer = transformers.BertModel._from_config(their_config(READ), attn_implementation=way).eval()
        runs[way] = partial(theirs, peer)
    if onnxruntime:
        graph = onnx_bert.Peer(model)
        np.testing.assert_allclose(graph.read(ids), read(ids)[0], atol=1e-4)
        runs["onnxruntime"] = partial(graph.read, ids)
    return dict(zip(runs, interleaved(rounds, list(runs.values()), PAUSE)))


def read_line(rounds: int, name: str) -> str:
    median = {side: statistics.median(times) for side, times in read_times(rounds, name).items()}
    mine = median["ours"]
    text = f"read {name:<8}{mine * 1e3:14.1f}"
    if torch:
        eager, sdpa = median["eager"], median["sdpa"]
        text += f"{eager * 1e3:10.1f}{sdpa * 1e3:8.1f}{min(eager, sdpa) / mine:8.2f}"
    if onnxruntime:
        text = f"{text:53}{median['onnxruntime'] * 1e3:13.1f}{median['onnxruntime'] / mine:8.2f}"
    return text


def step_times(rounds: int) -> dict[str, list[float]]:
    """The seconds of each side's steps, by its name."""
    rng = np.random.default_rng(1)
    ids = rng.integers(5, STEP["n_vocab"], (B, T))
    targets = np.where(rng.random((B, T)) < HIDDEN, ids, -100)
    segments, mask = np.repeat(np.arange(T)[None] >= T // 2, B, axis=0).astype(int), np.ones((B, T), bool)
    pairs = rng.integers(0, 2, B)
    model = BertForPreTraining(BertConfig(**STEP), np.random.default_rng(0), dropout=0.1)
    parallel, optimizer = DataParallel(model, cores()), AdamW(model)

    def ours() -> None:
        _, norm = parallel.loss_and_gradients((ids, segments, mask, targets, pairs), 1, [0])
        optimizer.step(1e-4, clip_scale(norm, 1.0), parallel.run)

    def theirs(peer: Any, adamw: Any) -> None:
        peer(torch.from_numpy(ids), token_type_ids=torch.from_numpy(segments), labels=torch.from_numpy(targets),
             next_sentence_label=torch.from_numpy(pairs)).loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()

    runs: dict[str, Callable[[], Any]] = {"ours": ours}
    for name in ("torch", "fused") if torch else ():
        peer = transformers.BertForPreTraining(their_config(STEP)).train()
        adamw = torch.optim.AdamW(peer.parameters(), 1e-4, weight_decay=0.1, fused=name == "fused")
        runs[name] = partial(theirs, peer, adamw)
    return dict(zip(runs, interleaved(rounds, list(runs.values()), PAUSE)))


def step_line(rounds: int) -> str:
    mine, *others = map(statistics.median, step_times(rounds).values())
    text = f"step {B} x {T}{mine * 1e3:15.1f}"
    return text + (f"{others[0] * 1e3:10.1f}{'':8}{others[0] / mine:8.2f} ({others[1] / mine:.2f})" if torch else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", metavar="NAME", default="", help="only the lines that begin with NAME")
    options = parser.parse_args()
    keep_freed_memory()
    if torch:
        torch.set_num_threads(cores())
        transformers.logging.set_verbosity_error()
    print(f"{'milliseconds':14}{'gpt2np':>13}{'eager':>10}{'sdpa':>8}{'ratio':>8}{'onnxruntime':>13}{'ratio':>8}")
    lines = {f"read {name}": partial(read_line, options.rounds, name) for name in SIZES}
    lines["step"] = partial(step_line, options.rounds)
    for name, line in lines.items():
        if name.startswith(options.only):
            print(line(), flush=True)


if __name__ == "__main__":
    main()
