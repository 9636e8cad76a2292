"""Times training steps of a model that is frozen in part, beside the whole one and PyTorch frozen alike.

    python -m benchmarks.freezing [--rounds N]

GPT-2 124M with random weights, B 4, T 64, float32; interleaved in one run, medians of the rounds.

    ms      of a step: DataParallel, the norm of the gradient, AdamW
    full    its share of the time of a step in which all parameters are trained
    torch   how many times as fast as PyTorch, frozen alike, with torch.optim.AdamW and fused=True
    MB      what a step adds to the weights at its peak, in a process of its own, and its share of the full step's
"""

import argparse
import subprocess
import sys
from functools import partial

from benchmarks import train
from benchmarks.timing import environment, medians

CASE = "124M B4 T64"
TRAINED = {"all": [""], "top block, ln_f": ["h.11.", "ln_f."], "top 2 blocks, ln_f": ["h.10.", "h.11.", "ln_f."]}


class Ours(train.Ours):
    """Steps of gpt2np on all cores, of a model whose parameters are trained if they begin with one of these."""

    def __init__(self, config, trained):
        self.model = train.GPT2(config, train.np.random.default_rng(0))
        for path, parameter in self.model.named_parameters():
            parameter.trainable = path.startswith(tuple(trained))
        self.optimizer = train.AdamW(self.model)
        self.parallel = train.DataParallel(self.model, train.CORES)


if train.torch:
    class Theirs(train.Theirs):
        """Steps of PyTorch, likewise."""

        def __init__(self, config, trained):
            super().__init__(config, fused=True)
            for path, parameter in self.named_parameters():
                parameter.requires_grad = path.startswith(tuple(trained))
            left = [p for p in self.parameters() if p.requires_grad]
            self.optimizer = train.torch.optim.AdamW(left, 1e-4, weight_decay=0.1, fused=True)


def peak_above_the_weights(name):
    """Megabytes that three steps of a process of its own need above the model."""
    out = subprocess.run([sys.executable, "-m", "benchmarks.freezing", "--memory-of", name], capture_output=True,
                         text=True, check=True, env=environment())
    return int(out.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", metavar="NAME", help=argparse.SUPPRESS)      # of the processes it starts
    options = parser.parse_args()
    config, B, T = train.CASES[CASE]
    batch = train.batch_of(config, B, T)
    train.keep_freed_memory()
    if options.memory_of:
        before = train.peak_of_this_process()
        side = Ours(config, TRAINED[options.memory_of])
        for _ in range(3):
            side.step(*batch)
        print(train.peak_of_this_process() - before - round(4 * config.n_parameters / 2**20))
        return 0
    kinds = {"ours": Ours}
    if train.torch:
        train.torch.set_num_threads(train.CORES)
        kinds["torch"] = Theirs
    runs = {(name, kind): partial(Side(config, trained).step, *batch)
            for name, trained in TRAINED.items() for kind, Side in kinds.items()}
    seconds = dict(zip(runs, medians(options.rounds, list(runs.values()))))
    memory = {name: peak_above_the_weights(name) for name in TRAINED}
    print(f"{CASE:20s} {'ms':>6s} {'full':>6s} {'torch':>6s} {'MB':>6s} {'full':>6s}")
    for name in TRAINED:
        ours = seconds[name, "ours"]
        torch = f"{seconds[name, 'torch'] / ours:6.2f}" if train.torch else f"{'-':>6s}"
        print(f"{name:20s} {ours * 1e3:6.0f} {ours / seconds['all', 'ours']:6.2f} {torch} {memory[name]:6d} "
              f"{memory[name] / memory['all']:6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
