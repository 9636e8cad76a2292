"""Times whole training steps, beside PyTorch where it is installed: forward, backward, update, in float32.

    python -m benchmarks.train [--rounds N] [--only NAME]

Both on the same cores, interleaved in one run (ours, theirs, ours, ...), medians of the rounds. PyTorch is a plain
eager model with scaled_dot_product_attention and a tied head; its threads, and ours, are as many as there are cores.

    ours       milliseconds of a step: DataParallel, the norm of the gradient, AdamW
    products   how much of it the matrix products alone would take, at the rate that BLAS reached in the same run
    1 thread   how many times as fast as on one thread
    torch      how many times as fast as PyTorch with torch.optim.AdamW as it comes, and with fused=True
    MB         peak memory of a process that does nothing but such steps: ours, and PyTorch's

Freed memory is kept (mallopt) for both sides while they are timed, and for ours alone where memory is measured.
"""

import argparse
import platform
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.timing import environment, interleaved, seconds
from gpt2np.memory import cores, keep_freed_memory
from gpt2np.models.config import SIZES, GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.training.adamw import AdamW
from gpt2np.training.clipping import clip_scale
from gpt2np.training.parallel import DataParallel

torch = None
if sys.argv[-2:] != ["--memory-of", "ours"]:      # PyTorch alone would be 200 MB of it
    try:
        import torch
        from torch import nn
        from torch.nn import functional
    except ImportError:
        pass

CORES = cores()
SMALL = GPT2Config(n_vocab=4096, n_ctx=256, n_embd=256, n_head=8, n_layer=6)
CASES = {"small B16 T256": (SMALL, 16, 256), "124M B4 T64": (SIZES["124M"], 4, 64),
         "124M B1 T1024": (SIZES["124M"], 1, 1024)}


class Ours:
    """Steps of gpt2np on so many threads."""

    def __init__(self, config, threads):
        self.model = GPT2(config, np.random.default_rng(0))
        self.optimizer = AdamW(self.model)
        self.parallel = DataParallel(self.model, threads)

    def step(self, tokens, targets):
        _, norm = self.parallel.loss_and_gradients((tokens, targets))
        self.optimizer.step(1e-4, clip_scale(norm, 1.0), self.parallel.run)


if torch:
    class Block(nn.Module):
        """GPT-2's block of PyTorch's own layers."""

        def __init__(self, C, H):
            super().__init__()
            self.H = H
            self.ln_1, self.ln_2 = nn.LayerNorm(C), nn.LayerNorm(C)
            self.c_attn, self.attn_proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
            self.c_fc, self.mlp_proj = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

        def forward(self, x):
            B, T, C = x.shape
            q, k, v = (a.view(B, T, self.H, C // self.H).transpose(1, 2)
                       for a in self.c_attn(self.ln_1(x)).split(C, dim=-1))
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.attn_proj(y.transpose(1, 2).reshape(B, T, C))
            return x + self.mlp_proj(functional.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))

    class Theirs(nn.Module):
        """Steps of PyTorch."""

        def __init__(self, config, fused):
            super().__init__()
            C = config.n_embd
            self.wte, self.wpe = nn.Embedding(config.n_vocab, C), nn.Embedding(config.n_ctx, C)
            self.h = nn.Sequential(*(Block(C, config.n_head) for _ in range(config.n_layer)))
            self.ln_f = nn.LayerNorm(C)
            nn.init.normal_(self.wte.weight, std=0.02)
            self.optimizer = torch.optim.AdamW(self.parameters(), 1e-4, weight_decay=0.1, fused=fused)

        def step(self, tokens, targets):
            tokens, targets = torch.from_numpy(tokens), torch.from_numpy(targets)
            x = self.ln_f(self.h(self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))))
            loss = functional.cross_entropy((x @ self.wte.weight.T).flatten(0, 1), targets.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()


def sides(config, names):
    """The named sides of a comparison."""
    makers = {"ours": partial(Ours, config, CORES), "1 thread": partial(Ours, config, 1)}
    if torch:
        torch.set_num_threads(CORES)
        makers |= {"torch": partial(Theirs, config, False), "fused": partial(Theirs, config, True)}
    return [makers[name]() for name in names]


def batch_of(config, B, T):
    """Random tokens and targets."""
    return np.random.default_rng(1).integers(0, config.n_vocab, (2, B, T))


def product_seconds(config, B, T):
    """What the products of a step would take, if each ran as fast as one of the MLP's.

    Three products (forward, and two backward) of 2 operations an element of each matrix, for each token; and those of
    attention, of which causality leaves half.
    """
    C, N = config.n_embd, B * T
    operations = 6 * N * (12 * config.n_layer * C * C + config.n_vocab * C) + 6 * config.n_layer * B * T * T * C
    workers = min(CORES, B)
    x, w = np.ones((N // workers, C), np.float32), np.ones((C, 4 * C), np.float32)
    out = np.empty((workers, N // workers, 4 * C), np.float32)
    with threadpool_limits(1 if workers > 1 else CORES, "blas"), ThreadPoolExecutor(workers) as pool:
        times = [seconds(lambda: list(pool.map(partial(np.matmul, x, w), out))) for _ in range(7)]
    return operations / (workers * 2 * (N // workers) * 4 * C * C) * statistics.median(times)


def peak_memory(case, side):
    """Megabytes that a process of its own needs at most, for three steps of a case."""
    out = subprocess.run([sys.executable, "-m", "benchmarks.train", "--only", case, "--memory-of", side],
                         capture_output=True, text=True, check=True, env=environment())
    return int(out.stdout)


def peak_of_this_process():
    """In megabytes; 0 where there is no /proc. (getrusage would count what the parent had before exec, too.)"""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))
    except OSError:
        return 0


def step_times(case, rounds):
    """The seconds of each side's steps, by its name."""
    config, B, T = case
    batch = batch_of(config, B, T)
    names = ["ours", "1 thread", *(["torch", "fused"] if torch else [])]
    return dict(zip(names, interleaved(rounds, [partial(side.step, *batch) for side in sides(config, names)])))


def line(name, rounds):
    """The figures of one case, as text."""
    config, B, T = CASES[name]
    medians = {side: statistics.median(times) for side, times in step_times(CASES[name], rounds).items()}
    ours = medians["ours"]
    text = (f"{name:15s}{ours * 1e3:9.0f} {product_seconds(config, B, T) / ours:9.0%} "
            f"{medians['1 thread'] / ours:9.2f}")
    if torch:
        text += f" {medians['torch'] / ours:7.2f} {medians['fused'] / ours:7.2f}"
    return text + f" {peak_memory(name, 'ours'):7d}" + (f" {peak_memory(name, 'fused'):7d}" if torch else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", metavar="NAME", default="", help="only the cases whose name has NAME in it")
    parser.add_argument("--memory-of", metavar="SIDE", help=argparse.SUPPRESS)      # of the processes it starts
    options = parser.parse_args()
    names = [name for name in CASES if options.only in name]
    if options.memory_of != "fused":
        keep_freed_memory()
    if options.memory_of:
        config, B, T = CASES[names[0]]
        side, = sides(config, [options.memory_of])
        for _ in range(3):
            side.step(*batch_of(config, B, T))
        print(peak_of_this_process())
        return 0
    print(f"{platform.machine()}, {CORES} cores, Python {platform.python_version()}, NumPy {np.__version__}, "
          + (f"PyTorch {torch.__version__}" if torch else "PyTorch is not installed: its columns are left out"))
    print(f"{'':15s}{'ours, ms':>9s} {'products':>9s} {'1 thread':>9s}"
          + (f" {'torch':>7s} {'fused':>7s}" if torch else "") + f" {'MB':>7s}" + (f" {'torch':>7s}" if torch else ""))
    for name in names:
        print(line(name, options.rounds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
