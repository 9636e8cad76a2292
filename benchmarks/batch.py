"""Times the writing of eight texts at once, beside onnxruntime and PyTorch, and says where the time goes.

    python -m benchmarks.batch [--model 124M] [--texts 8] [--tokens 32] [--rounds 5]

Random weights in the shape of a GPT-2, greedy, on all cores, in float32, after a prompt of 16 tokens; interleaved in
one run, medians of the rounds.  The products alone are those of a step with the model's own matrices, as they lie
there, on as many rows as there are texts, and on one; beside them, what reading the weights takes at the bandwidth that
one row of a large product reaches.

The graph of onnxruntime comes from PyTorch: the model of benchmarks/generate.py, written for one new token, in which
keys and values come in and go out longer by one, exported by torch.onnx.export (dynamo=False, opset 20, with batch and
length left open), and run with all of onnxruntime's optimisations, and its outputs bound as the next step's inputs.  It
has to choose the same tokens as PyTorch.  It needs torch, onnx and onnxruntime.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.generate import PROMPT, Peer, ours
from benchmarks.timing import seconds
from gpt2np.decoding import lay_out_for_decoding
from gpt2np.layers.tiles import product
from gpt2np.memory import cores, keep_freed_memory
from gpt2np.models.config import SIZES
from gpt2np.models.gpt2 import GPT2

try:
    import onnxruntime
    import torch
    from torch.nn import functional
except ImportError:
    sys.exit("expected torch, onnx and onnxruntime: pip install torch onnx onnxruntime")


class OneToken(torch.nn.Module):
    """Peer's model for one token more, as a module that can be exported."""

    def __init__(self, peer):
        super().__init__()
        self.peer = peer

    def norm(self, x, path):                                # Peer's, with a width that does not hang on x
        return functional.layer_norm(x, (self.peer.config.n_embd,), self.peer.p[path + ".g"], self.peer.p[path + ".b"])

    def forward(self, tokens, position, *past):
        peer, (B, T), H = self.peer, tokens.shape, self.peer.config.n_head
        x, now = peer.p["wte"][tokens] + peer.p["wpe"][position], []
        for i in range(peer.config.n_layer):
            qkv = peer.linear(self.norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn")
            q, k, v = (a.reshape(B, T, H, -1).transpose(1, 2) for a in qkv.chunk(3, -1))
            k, v = torch.cat([past[2 * i], k], 2), torch.cat([past[2 * i + 1], v], 2)
            p = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, -1)      # one query: all keys are its past
            x = x + peer.linear((p @ v).transpose(1, 2).reshape(B, T, -1), f"h.{i}.attn.c_proj")
            y = functional.gelu(peer.linear(self.norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), approximate="tanh")
            x = x + peer.linear(y, f"h.{i}.mlp.c_proj")
            now += [k, v]
        return self.norm(x[:, -1], "ln_f") @ peer.p["wte"].T, *now


class Exported:
    """The same model in onnxruntime."""

    def __init__(self, peer, folder):
        self.peer, config = peer, peer.config
        self.n, self.shape = 2 * config.n_layer, (config.n_head, config.n_embd // config.n_head)
        H, D = self.shape
        path, before, after = Path(folder, "model.onnx"), *([f"{w}{i}" for i in range(self.n)] for w in ("past", "now"))
        example = (torch.zeros(2, 1, dtype=torch.long), torch.tensor([3]), *[torch.zeros(2, H, 3, D)] * self.n)
        lengths = {name: {0: "B", 2: "S"} for name in before} | {name: {0: "B", 2: "S1"} for name in after}
        with torch.no_grad():
            torch.onnx.export(OneToken(peer).eval(), example, str(path), input_names=["tokens", "position", *before],
                              output_names=["logits", *after], opset_version=20, dynamo=False,
                              dynamic_axes=lengths | {"tokens": {0: "B"}, "logits": {0: "B"}})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def decode(self, B, n):
        """Tokens per second, without the prompt's run, which PyTorch does; and the tokens."""
        H, D = self.shape
        past = [torch.empty(B, H, PROMPT, D) for _ in range(self.n)]
        with torch.no_grad():
            logits = self.peer.logits(torch.arange(PROMPT).repeat(B, 1), [*zip(past[::2], past[1::2])], 0)
        bound = [onnxruntime.OrtValue.ortvalue_from_numpy(a.numpy()) for a in past]
        tokens, written = logits.argmax(-1).numpy()[:, None], []

        def run():
            nonlocal bound, tokens
            for step in range(n):
                binding = self.session.io_binding()
                binding.bind_cpu_input("tokens", tokens)
                binding.bind_cpu_input("position", np.array([PROMPT + step]))
                for i, value in enumerate(bound):
                    binding.bind_ortvalue_input(f"past{i}", value)
                for name in ("logits", *(f"now{i}" for i in range(self.n))):
                    binding.bind_output(name)
                self.session.run_with_iobinding(binding)
                logits, *bound = binding.get_outputs()
                tokens = logits.numpy().argmax(-1)[:, None]
                written.append(tokens[:, 0])

        return B * n / seconds(run), np.array(written)


def products(matrices, B):
    """Every product of a step, on so many rows."""
    for w in matrices:
        product(np.ones((B, len(w)), np.float32), w)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=SIZES, default="124M")
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    B, n = options.texts, options.tokens
    keep_freed_memory()
    model = GPT2(SIZES[options.model], np.random.default_rng(0))
    lay_out_for_decoding(model)
    peer = Peer(model)
    with tempfile.TemporaryDirectory() as folder:
        exported = Exported(peer, folder)
    steps = peer.steps(B, PROMPT, 4)
    next(steps)
    if not np.array_equal(exported.decode(B, 4)[1], [best.numpy() for best in steps]):
        sys.exit("onnxruntime and PyTorch write different tokens: these times would mean nothing")
    matrices = [p.value for path, p in model.named_parameters() if path.endswith(".w")] + [model.wte.value.T]
    large = np.ones((1 << 13, 1 << 13), np.float32)
    speeds = {"gpt2np": lambda: ours(model, B, n), "onnxruntime": lambda: exported.decode(B, n)[0],
              "PyTorch": lambda: peer.decode(B, n)}
    parts = {f"the products alone, {B} rows": lambda: seconds(lambda: products(matrices, B)),
             "the products alone, 1 row": lambda: seconds(lambda: products(matrices, 1)),
             "reading the weights": lambda: sum(w.nbytes for w in matrices) * seconds(lambda: large @ large[0])
             / large.nbytes}
    ours(model, B, 2)
    measured = {name: [] for name in (*speeds, *parts)}
    for _ in range(options.rounds):
        for name, run in (speeds | parts).items():
            measured[name].append(run())
    for name in speeds:
        ratio = statistics.median(mine / other for mine, other in zip(measured["gpt2np"], measured[name]))
        median = statistics.median(measured[name])
        print(f"{name:32}{median:8.1f} tokens/s{1000 * B / median:8.1f} ms a step"
              + (f"   gpt2np is {ratio:.2f} times as fast" if name != "gpt2np" else ""))
    for name in parts:
        print(f"{name:32}{'':17}{1000 * statistics.median(measured[name]):8.1f} ms")


if __name__ == "__main__":
    main()
