"""Times decoding with random weights in the shape of a GPT-2, beside the bandwidth of the memory and PyTorch.

    python -m benchmarks.generate [--model 124M] [--tokens 128] [--rounds 3]

Interleaved in one run (ours, theirs, ours, ...), medians of the rounds, on all cores, in float32, greedy unless it says
otherwise, after a prompt of 16 tokens.  Decoding reads every weight, and all keys and values, once for each step, so

    bound   bytes read / bandwidth, which is measured in the same run by a product of a large matrix with a vector

is the least time of a step: `of the bound` says how near a step of batch 1 comes to it; the last line says it of the
attention alone, of one query in each block, whose keys and values are its only bytes.  PyTorch is a plain eager model
with scaled_dot_product_attention and a preallocated cache of keys and values; it is left out where it is not installed.
"""

import argparse
import statistics
import time
from itertools import islice

import numpy as np

from benchmarks.timing import Machine, seconds
from gpt2np.blocks.kv_cache import KVCache
from gpt2np.decoding import GREEDY, NgramDraft, Texts, generate, generate_batch, lay_out_for_decoding, speculate
from gpt2np.layers.attention import attention_forward
from gpt2np.memory import keep_freed_memory
from gpt2np.models.config import SIZES
from gpt2np.models.gpt2 import GPT2
from gpt2np.sampling import Sampler

try:
    import torch
    from torch.nn import functional
except ImportError:
    torch = None

PROMPT = 16
CONTEXTS, STEPS = (16, 256, 512, 1000), 16
ONE_TOKEN = Sampler(temperature=0, logit_bias={0: 1e4})     # all others are forbidden: a text that repeats itself
SAMPLED = Sampler()                                         # of random weights: any token, so hardly ever three again


def ours(model, B, n, n_prompt=PROMPT):
    """Tokens per second of a batch, without the prompt's run."""
    rows = generate_batch(model, [list(range(n_prompt))] * B, n + 1, GREEDY)
    next(rows)
    return B * n / seconds(lambda: list(rows))


def ours_plain(model, n, sampler):
    """Tokens per second of one text."""
    return one_text(generate(model, list(range(PROMPT)), n + 1, sampler, np.random.default_rng(0)))


def ours_speculating(model, n, sampler):
    """The same with guesses by n-grams."""
    draft = NgramDraft(model.n_vocab)
    return one_text(speculate(model, list(range(PROMPT)), n + 1, draft, sampler, np.random.default_rng(0)))


def one_text(tokens):
    next(tokens)
    start = time.perf_counter()
    n = sum(1 for _ in tokens)
    return n / (time.perf_counter() - start)


def ours_prefill(model, n):
    """Tokens per second of a prompt's run."""
    return n / seconds(Texts(model, [np.arange(n)], 1).last_logits)


class OneQuery:
    """The attention of one query in each of a model's blocks, over the last of `CONTEXTS`: keys, values and queries."""

    def __init__(self, config):
        S, H = CONTEXTS[-1], config.n_head
        D, rng = config.n_embd // H, np.random.default_rng(0)
        self.q = rng.standard_normal((1, H, 1, D), np.float32)
        self.seen = []
        for _ in range(config.n_layer):
            past = KVCache(1, H, config.n_ctx, D, self.q)
            self.seen.append(past.append(*rng.standard_normal((2, 1, H, S, D), np.float32)))

    def seconds(self):
        return seconds(lambda: [attention_forward(self.q, k, v, True, keep_cache=False) for k, v in self.seen])

    def bytes(self):
        return sum(k.nbytes + v.nbytes for k, v in self.seen)


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

    def decode(self, B, n, n_prompt=PROMPT):
        steps = self.steps(B, n_prompt, n)
        next(steps)
        return B * n / seconds(lambda: list(islice(steps, n)))

    def prefill(self, n):
        return n / seconds(lambda: list(self.steps(1, n, 0)))


def bytes_of_a_token(model, context):
    """What a step of one text reads with so many tokens before: every weight, and all keys and values."""
    weights = sum(p.value.size for path, p in model.named_parameters() if path != "wpe")
    return 4 * (weights + 2 * model.config.n_layer * model.config.n_embd * context)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=SIZES, default="124M")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()
    model = GPT2(SIZES[options.model], np.random.default_rng(0))
    lay_out_for_decoding(model)
    peer, n = Peer(model) if torch else None, options.tokens
    against_torch = {
        "decode, batch 1": (lambda: ours(model, 1, n), peer and (lambda: peer.decode(1, n))),
        "decode, batch 8": (lambda: ours(model, 8, n), peer and (lambda: peer.decode(8, n))),
        "prefill of 1,024": (lambda: ours_prefill(model, 1024), peer and (lambda: peer.prefill(1024))),
    }
    against_plain = {
        name: (lambda sampler=sampler: ours_speculating(model, n, sampler),
               lambda sampler=sampler: ours_plain(model, n, sampler))
        for name, sampler in (("text that repeats itself", ONE_TOKEN), ("text that does not", SAMPLED))}
    at = {context: (lambda context=context: ours(model, 1, STEPS, context),
                    peer and (lambda context=context: peer.decode(1, STEPS, context))) for context in CONTEXTS}
    rows = against_torch | against_plain | at
    speeds, machine = {name: ([], []) for name in rows}, Machine()
    query, queries = OneQuery(model.config), []
    ours(model, 1, 8), peer and peer.decode(1, 8)           # what is first would have to warm up
    for _ in range(options.rounds):
        for name, runs in rows.items():
            machine.measure()
            queries.append(query.seconds())
            for measured, run in zip(speeds[name], runs):
                if run: measured.append(run())

    bandwidth, rate = machine.median()

    def bound(context):
        """Tokens per second at most, of a sequence with so many tokens before."""
        return bandwidth / bytes_of_a_token(model, context)

    print(f"read {bandwidth / 1e9:.1f} GB/s, products {rate / 1e9:.0f} GFLOP/s, "
          f"weights {bytes_of_a_token(model, 0) / 1e6:.0f} MB\n")
    print(f"{'tokens/s':28}{'gpt2np':>9}{'PyTorch':>9}{'ratio':>7}{'of the bound':>14}")
    for name in against_torch:
        part = statistics.median(speeds[name][0]) / bound(PROMPT + n / 2)
        print(line(name, *speeds[name]) + (f"{part:14.0%}" if name == "decode, batch 1" else ""))
    print(f"\n{'':28}{'n-grams':>9}{'plain':>9}{'ratio':>7}")
    for name in against_plain:
        print(line(name, *speeds[name]))
    print(f"\n{'ms/token, batch 1':28}{'gpt2np':>9}{'PyTorch':>9}{'ratio':>7}{'bound':>14}")
    for context in CONTEXTS:
        least = 1000 / bound(context + STEPS / 2)
        print(line(f"after {context:,} tokens", *speeds[context], lambda speed: 1000 / speed) + f"{least:14.1f}")
    least = query.bytes() / bandwidth
    print(f"attention over {CONTEXTS[-1]:,} alone   {1000 * statistics.median(queries):9.1f}{1000 * least:30.1f}"
          f"   {statistics.median(queries) / least:.2f} times the bound")


def line(name, mine, theirs, shown=lambda speed: speed):
    """The medians of two sides' speeds, and their ratio."""
    speed = statistics.median(mine)
    if not theirs:
        return f"{name:28}{shown(speed):9.1f}{'':16}"
    other = statistics.median(theirs)
    return f"{name:28}{shown(speed):9.1f}{shown(other):9.1f}{speed / other:7.2f}"


if __name__ == "__main__":
    main()
