"""Times the writing of eight texts at once, beside onnxruntime and PyTorch, and says where the time goes.

    python -m benchmarks.batch [--model 124M] [--texts 8] [--tokens 32] [--rounds 5]

Random weights in the shape of a GPT-2, greedy, on all cores, in float32, after a prompt of 16 tokens; interleaved in
one run, medians of the rounds.  The products alone are those of a step with the model's own matrices, as they lie
there, on as many rows as there are texts, and on one; beside them, what reading the weights takes at the bandwidth that
one row of a large product reaches.

The graph of onnxruntime is that of onnx_gpt2.py, and has to choose the same tokens as PyTorch.  It needs torch, onnx
and onnxruntime.
"""

import argparse
import statistics
import sys

import numpy as np

from benchmarks import generate, onnx_gpt2
from benchmarks.generate import PROMPT, ours
from benchmarks.onnx_graph import onnxruntime
from benchmarks.timing import in_turn, seconds
from gpt2np.decoding import lay_out_for_decoding
from gpt2np.layers.tiles import product
from gpt2np.memory import keep_freed_memory
from gpt2np.models.config import SIZES
from gpt2np.models.gpt2 import GPT2


def products(matrices, B):
    """Every product of a step, on so many rows."""
    for w in matrices:
        product(np.ones((B, len(w)), np.float32), w)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=("124M", "355M"), default="124M")     # a graph holds 2 GB
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not (generate.torch and onnxruntime):
        sys.exit("expected torch, onnx and onnxruntime: pip install torch onnx onnxruntime")
    B, n = options.texts, options.tokens
    keep_freed_memory()
    model = GPT2(SIZES[options.model], np.random.default_rng(0))
    lay_out_for_decoding(model)
    graph, peer = onnx_gpt2.Peer(model), generate.Peer(model)
    if not all(np.array_equal(*step) for step in zip(graph.steps(B, PROMPT, 4), peer.steps(B, PROMPT, 4))):
        sys.exit("onnxruntime and PyTorch write different tokens: these times would mean nothing")
    matrices = [p.value for path, p in model.named_parameters() if path.endswith(".w")] + [model.wte.value.T]
    large = np.ones((1 << 13, 1 << 13), np.float32)
    speeds = {"gpt2np": lambda: ours(model, B, n), "onnxruntime": lambda: graph.decode(B, n),
              "PyTorch": lambda: peer.decode(B, n)}
    parts = {f"the products alone, {B} rows": lambda: seconds(lambda: products(matrices, B)),
             "the products alone, 1 row": lambda: seconds(lambda: products(matrices, 1)),
             "reading the weights": lambda: sum(w.nbytes for w in matrices) * seconds(lambda: large @ large[0])
             / large.nbytes}
    measured = dict(zip([*speeds, *parts], in_turn(options.rounds, [*speeds.values(), *parts.values()])))
    for name in speeds:
        ratio = statistics.median(mine / other for mine, other in zip(measured["gpt2np"], measured[name]))
        median = statistics.median(measured[name])
        print(f"{name:32}{median:8.1f} tokens/s{1000 * B / median:8.1f} ms a step"
              + (f"   gpt2np is {ratio:.2f} times as fast" if name != "gpt2np" else ""))
    for name in parts:
        print(f"{name:32}{'':17}{1000 * statistics.median(measured[name]):8.1f} ms")


if __name__ == "__main__":
    main()
