"""Makes optimizers.npz: ten steps of PyTorch's optimizers on the GPT-2 of make_gpt2.py, in float64.

    python tests/golden/make_optimizers.py          needs torch, which the tests do not

For each of SGD with momentum, Adam with L2 and AdamW: the ten losses, and weights afterwards (all of them for AdamW).
Biases and gains are in a group without weight decay.
"""

from pathlib import Path

import numpy as np
import torch
from make_gpt2 import Model, V, paths
from torch.nn import functional as F

LR, STEPS, DECAY = 0.01, 10, 0.1
SOME = ("wte", "h.1.mlp.c_fc.w", "h.0.attn.c_attn.b", "ln_f.g")


def train(golden, make):
    model = Model()
    with torch.no_grad():
        for path, parameter, transposed in paths(model):
            value = golden["value " + path]
            parameter.copy_(torch.from_numpy((value.T if transposed else value).copy()))
    parameters = [p for _, p, _ in paths(model)]
    optimizer = make([{"params": [p for p in parameters if p.ndim > 1], "weight_decay": DECAY},
                      {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0}])
    tokens, targets = torch.from_numpy(golden["tokens"]), torch.from_numpy(golden["targets"])
    losses = []
    for _ in range(STEPS):
        loss = F.cross_entropy(model(tokens).view(-1, V), targets.view(-1), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses), {path: p.detach().numpy().T if transposed else p.detach().numpy()
                              for path, p, transposed in paths(model)}


def main():
    torch.set_default_dtype(torch.float64)
    folder = Path(__file__).parent
    with np.load(folder / "gpt2.npz") as arrays:
        golden = dict(arrays)
    out = {"lr": np.array(LR), "weight_decay": np.array(DECAY)}
    for name, make in (("SGD", lambda groups: torch.optim.SGD(groups, lr=LR, momentum=0.9)),
                       ("Adam", lambda groups: torch.optim.Adam(groups, lr=LR, betas=(0.9, 0.95))),
                       ("AdamW", lambda groups: torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95)))):
        losses, weights = train(golden, make)
        out["losses " + name] = losses
        out |= {f"{name} {path}": weights[path] for path in (weights if name == "AdamW" else SOME)}
        print(name, losses)
    np.savez_compressed(folder / "optimizers.npz", **out)


if __name__ == "__main__":
    main()
