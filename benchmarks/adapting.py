"""Times training steps of few parameters beside the step of all, and beside huggingface/peft where it is installed.

    python -m benchmarks.adapting [--rounds N] [--only NAME]

GPT-2 124M with random weights, B 4, T 64, float32; interleaved in one run, medians of the rounds.

    parameters   that are trained
    ms           of a step: DataParallel, the norm of the gradient, AdamW
    gradients    how much of it is the forward and the backward pass; the rest is the update
    full         its share of the time of a step in which all parameters are trained
    bound        the same of the multiplications of its products, the least that it could be but for the update
    peft         its share of the time of the same step with transformers, peft, and torch.optim.AdamW, fused=True
    MB, full     peak memory of a process of its own, and its share of the full step's
"""

import argparse
import subprocess
import sys
import time
from functools import partial

from benchmarks import train
from benchmarks.timing import environment, medians
from benchmarks.train import np
from gpt2np.adapt.adapter import add_adapters
from gpt2np.adapt.lora import add_lora
from gpt2np.adapt.prefix import add_prefix

CASE = "124M B4 T64"
ALL_FOUR = ["h.*.attn.*", "h.*.mlp.*"]
METHODS = {
    "all": lambda model: None,
    "LoRA r 8, c_attn": partial(add_lora, paths="h.*.attn.c_attn", r=8),
    "LoRA r 8, all four": partial(add_lora, paths=ALL_FOUR, r=8),
    "prefix 20": partial(add_prefix, length=20),
    "adapter 64": partial(add_adapters, width=64)}

peft = None
if train.torch:
    try:
        import peft
        import transformers
    except ImportError:
        pass


class Ours(train.Ours):
    """Steps of gpt2np on all cores."""

    def __init__(self, config, name):
        self.model = train.GPT2(config, np.random.default_rng(0))
        METHODS[name](self.model)
        self.optimizer = train.AdamW(self.model)
        self.parallel = train.DataParallel(self.model, train.CORES)
        self.gradients = []

    def step(self, tokens, targets):
        start = time.perf_counter()
        _, norm = self.parallel.loss_and_gradients((tokens, targets))
        self.gradients.append(time.perf_counter() - start)
        self.optimizer.step(1e-4, train.clip_scale(norm, 1.0), self.parallel.run)

    def trained(self):
        return sum(p.value.size for _, p in self.model.named_parameters() if p.trainable)


class Theirs:
    """Steps of transformers and peft."""

    def __init__(self, config, name):
        torch = train.torch
        self.model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False))
        lora = partial(peft.LoraConfig, r=8, lora_alpha=16, fan_in_fan_out=True, task_type="CAUSAL_LM")
        made = {"LoRA r 8, c_attn": lambda: lora(target_modules=["c_attn"]),
                "LoRA r 8, all four": lambda: lora(target_modules=["c_attn", "c_proj", "c_fc"]),
                "prefix 20": lambda: peft.PrefixTuningConfig(num_virtual_tokens=20, task_type="CAUSAL_LM")}
        if name in made:
            self.model = peft.get_peft_model(self.model, made[name]())
        self.left = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.left, 1e-4, weight_decay=0.1, fused=True)

    def step(self, tokens, targets):
        torch = train.torch
        logits = self.model(input_ids=torch.from_numpy(tokens)).logits
        loss = train.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())
        loss.backward()
        train.nn.utils.clip_grad_norm_(self.left, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def bound_of(name, config, B, T):
    """Multiplications of a step, over those of the full one: for each matrix one product forward, one for the gradient
    of its input, and one for its own where it is trained.
    """
    C, L, N = config.n_embd, config.n_layer, B * T
    blocks, head, attention = 12 * L * C * C * N, config.n_vocab * C * N, L * B * T * T * C
    full = 3 * (blocks + head + attention)
    if name == "all":
        return 1.0
    new = {"LoRA r 8, c_attn": 8 * L * 4 * C, "LoRA r 8, all four": 8 * L * 16 * C, "adapter 64": 4 * L * 64 * C}
    prefix = 3 * L * B * T * 20 * 2 * C if name == "prefix 20" else 0
    return (2 * (blocks + head) + 3 * (attention + N * new.get(name, 0)) + prefix) / full


def peak_of(name):
    """Megabytes that three steps of a process of its own need at most."""
    out = subprocess.run([sys.executable, "-m", "benchmarks.adapting", "--only", name, "--memory-of", "ours"],
                         capture_output=True, text=True, check=True, env=environment())
    return int(out.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", metavar="NAME", default="", help="only the methods whose name has NAME in it")
    parser.add_argument("--memory-of", metavar="SIDE", help=argparse.SUPPRESS)      # of the processes it starts
    options = parser.parse_args()
    config, B, T = train.CASES[CASE]
    batch = train.batch_of(config, B, T)
    train.keep_freed_memory()
    names = [name for name in METHODS if options.only in name]
    if options.memory_of:
        side = Ours(config, names[0])
        for _ in range(3):
            side.step(*batch)
        print(train.peak_of_this_process())
        return 0
    names = list(dict.fromkeys(["all", *names]))
    if peft:
        train.torch.set_num_threads(train.CORES)
    ours = {name: Ours(config, name) for name in names}
    theirs = {name: Theirs(config, name) for name in names if name != "adapter 64"} if peft else {}
    sides = [*(("ours", name) for name in ours), *(("peft", name) for name in theirs)]
    seconds = dict(zip(sides, medians(options.rounds, [
        partial((ours if who == "ours" else theirs)[name].step, *batch) for who, name in sides])))
    memory = {name: peak_of(name) for name in names}
    print(f"{CASE:20s} {'parameters':>11s} {'ms':>6s} {'gradients':>9s} {'full':>6s} {'bound':>6s} {'peft':>6s} "
          f"{'MB':>6s} {'full':>6s}")
    for name in names:
        mine, side = seconds["ours", name], ours[name]
        gradients = float(np.median(side.gradients[1:])) / mine
        beside = f"{mine / seconds['peft', name]:6.2f}" if ("peft", name) in seconds else f"{'-':>6s}"
        print(f"{name:20s} {side.trained():11,d} {mine * 1e3:6.0f} {gradients:9.0%} "
              f"{mine / seconds['ours', 'all']:6.2f} {bound_of(name, config, B, T):6.2f} {beside} {memory[name]:6d} "
              f"{memory[name] / memory['all']:6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
