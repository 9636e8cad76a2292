"""Times decoding with random weights in the shape of a GPT-2, beside the bandwidth of the memory and PyTorch.

    python benchmarks/generate.py [--model 124M] [--tokens 128] [--rounds 3]

Interleaved in one run (ours, theirs, ours, ...), medians of the rounds, on all cores, in float32, greedy, after a
prompt of 16 tokens.  Decoding reads every weight once for each step, so

    bound   bytes of the weights / bandwidth of reading, measured in the same run by summing an array

is the least time of a step: `of the bound` says how near a step of batch 1 comes to it.  PyTorch is a plain eager model
with scaled_dot_product_attention and a preallocated cache of keys and values; it is left out where it is not installed.
"""

import argparse
import statistics
import time
from itertools import islice

import numpy as np

from gpt2np.decoding import GREEDY, NgramDraft, Texts, generate_batch, lay_out_for_decoding, speculate
from gpt2np.models.config import SIZES
from gpt2np.models.gpt2 import GPT2
from gpt2np.sampling import Sampler

try:
    import torch
    from torch.nn import functional
except ImportError:
    torch = None

PROMPT = 16


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ours(model, B, n):
    """Tokens per second of a batch, without the prompt's run."""
    rows = generate_batch(model, [list(range(PROMPT))] * B, n + 1, GREEDY)
    next(rows)
    return B * n / seconds(lambda: list(rows))


def ours_speculating(model, n):
    """Tokens per second on text that repeats itself: with all but one token forbidden, it can do nothing else."""
    sampler = Sampler(temperature=0, logit_bias={0: 1e4})
    tokens = speculate(model, list(range(PROMPT)), n + 1, NgramDraft(model.config.n_vocab), sampler)
    next(tokens)
    return n / seconds(lambda: list(tokens))


def ours_prefill(model, n):
    """Tokens per second of a prompt's run."""
    return n / seconds(Texts(model, [np.arange(n)], 1).last_logits)


class Peer:
    """The same model in PyTorch."""

    def __init__(self, model):
        self.config = model.config
        self.p = {path: torch.from_numpy(np.ascontiguousarray(p.value)) for path, p in model.named_parameters()}

    def norm(self, x, path):
        return functional.layer_norm(x, x.shape[-1:], self.p[path + ".g"], self.p[path + ".b"])

    def linear(self, x, path):
        B, T, C = x.shape
        return torch.addmm(self.p[path + ".b"], x.reshape(B * T, C), self.p[path + ".w"]).reshape(B, T, -1)

    def logits(self, tokens, cache, seen):
        (B, T), H = tokens.shape, self.config.n_head
        x = self.p["wte"][tokens] + self.p["wpe"][seen:seen + T]
        for i, (keys, values) in enumerate(cache):
            qkv = self.linear(self.norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn")
            q, k, v = (a.reshape(B, T, H, -1).transpose(1, 2) for a in qkv.chunk(3, -1))
            keys[:, :, seen:seen + T], values[:, :, seen:seen + T] = k, v
            y = functional.scaled_dot_product_attention(q, keys[:, :, :seen + T], values[:, :, :seen + T],
                                                        is_causal=T > 1)
            x = x + self.linear(y.transpose(1, 2).reshape(B, T, -1), f"h.{i}.attn.c_proj")
            y = self.linear(self.norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc")
            x = x + self.linear(functional.gelu(y, approximate="tanh"), f"h.{i}.mlp.c_proj")
        return self.norm(x[:, -1], "ln_f") @ self.p["wte"].T

    def steps(self, B, n_prompt, n):
        """Yield after the prompt's run, and after each of n steps."""
        H, D = self.config.n_head, self.config.n_embd // self.config.n_head
        cache = [(torch.empty(B, H, n_prompt + n, D), torch.empty(B, H, n_prompt + n, D))
                 for _ in range(self.config.n_layer)]
        tokens, seen = torch.arange(n_prompt).repeat(B, 1), 0
        for _ in range(n + 1):
            with torch.no_grad():
                best = self.logits(tokens, cache, seen).argmax(-1)
            seen, tokens = seen + tokens.shape[1], best[:, None]
            yield best

    def decode(self, B, n):
        steps = self.steps(B, PROMPT, n)
        next(steps)
        return B * n / seconds(lambda: list(islice(steps, n)))

    def prefill(self, n):
        return n / seconds(lambda: list(self.steps(1, n, 0)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=SIZES, default="124M")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = GPT2(SIZES[options.model], np.random.default_rng(0))
    lay_out_for_decoding(model)
    peer, n = Peer(model) if torch else None, options.tokens
    read = np.ones(1 << 26, np.float32)
    square = np.ones((2048, 2048), np.float32)
    rows = {
        "decode, batch 1": (lambda: ours(model, 1, n), peer and (lambda: peer.decode(1, n))),
        "decode, batch 8": (lambda: ours(model, 8, n), peer and (lambda: peer.decode(8, n))),
        "decode, repeating, n-grams": (lambda: ours_speculating(model, n), None),
        "prefill of 1,024": (lambda: ours_prefill(model, 1024), peer and (lambda: peer.prefill(1024))),
    }
    times, bandwidth, rate = {name: ([], []) for name in rows}, [], []
    for _ in range(options.rounds):
        bandwidth.append(read.nbytes / seconds(read.sum))
        rate.append(2 * 2048**3 / seconds(lambda: square @ square))
        for name, runs in rows.items():
            for measured, run in zip(times[name], runs):
                if run: measured.append(run())
    weights = 4 * sum(p.value.size for path, p in model.named_parameters() if path != "wpe")
    bound = statistics.median(bandwidth) / weights
    print(f"read {statistics.median(bandwidth) / 1e9:.1f} GB/s, products {statistics.median(rate) / 1e9:.0f} GFLOP/s, "
          f"bound {bound:.1f} tokens/s a sequence\n")
    print(f"{'tokens/s':28}{'gpt2np':>9}{'PyTorch':>9}{'ratio':>7}{'of the bound':>14}")
    for name, (mine, theirs) in times.items():
        speed = statistics.median(mine)
        other = f"{statistics.median(theirs):9.1f}{speed / statistics.median(theirs):7.2f}" if theirs else " " * 16
        print(f"{name:28}{speed:9.1f}{other}" + (f"{speed / bound:14.0%}" if name.startswith("decode, ") and
                                                  "8" not in name else ""))


if __name__ == "__main__":
    main()
