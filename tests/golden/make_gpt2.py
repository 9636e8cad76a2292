"""Makes gpt2.npz: a small, odd-shaped GPT-2 computed by PyTorch, in float64.

    python tests/golden/make_gpt2.py            needs torch, which the tests do not

Nothing here comes from gpt2np: the model is written with torch.nn's own layers, and autograd gives the gradients.
Every size is odd in some way: the width is no power of two, the sequence is shorter than n_ctx, the heads are three.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

V, N_CTX, C, H, L, B, T = 61, 11, 15, 3, 2, 4, 7


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(C, eps=1e-5), nn.LayerNorm(C, eps=1e-5)
        self.c_attn, self.attn_proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.c_fc, self.mlp_proj = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x):
        q, k, v = (a.view(B, T, H, C // H).transpose(1, 2) for a in self.c_attn(self.ln_1(x)).split(C, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(V, C), nn.Embedding(N_CTX, C)
        self.h = nn.ModuleList(Block() for _ in range(L))
        self.ln_f = nn.LayerNorm(C, eps=1e-5)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(T))
        for block in self.h:
            x = block(x)
        return self.ln_f(x) @ self.wte.weight.T


def paths(model):
    """Each parameter under its path in OpenAI's checkpoint, with the matrix as it stands there: (in, out)."""
    yield "wte", model.wte.weight, False
    yield "wpe", model.wpe.weight, False
    for i, block in enumerate(model.h):
        for path, layer in (("ln_1", block.ln_1), ("attn.c_attn", block.c_attn), ("attn.c_proj", block.attn_proj),
                            ("ln_2", block.ln_2), ("mlp.c_fc", block.c_fc), ("mlp.c_proj", block.mlp_proj)):
            linear = isinstance(layer, nn.Linear)
            yield f"h.{i}.{path}.{'w' if linear else 'g'}", layer.weight, linear
            yield f"h.{i}.{path}.b", layer.bias, False
    yield "ln_f.g", model.ln_f.weight, False
    yield "ln_f.b", model.ln_f.bias, False


def main():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    model = Model()
    with torch.no_grad():
        for _, parameter, _ in paths(model):            # far from the initial values, where a bias of 0 would hide it
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    tokens, targets = torch.randint(0, V, (B, T)), torch.randint(0, V, (B, T))
    tokens[1] = tokens[0, 0]                            # one token many times
    targets[2, 3:] = -100                               # some targets left out
    logits = model(tokens)
    loss = F.cross_entropy(logits.view(-1, V), targets.view(-1), ignore_index=-100)
    loss.backward()
    golden = {"tokens": tokens.numpy(), "targets": targets.numpy(), "logits": logits.detach().numpy(),
              "loss": np.array(loss.item()), "n_head": np.array(H)}
    for path, parameter, transposed in paths(model):
        value, grad = parameter.detach().numpy(), parameter.grad.numpy()
        golden["value " + path] = value.T if transposed else value
        golden["grad " + path] = grad.T if transposed else grad
    assert math.isfinite(loss.item())
    np.savez_compressed(Path(__file__).with_name("gpt2.npz"), **golden)
    print(f"PyTorch {torch.__version__}: loss {loss.item():.15f}, {len(golden)} arrays")


if __name__ == "__main__":
    main()
