"""Makes transformer.npz: a small, odd-shaped encoder-decoder computed by PyTorch, in float64, in three forms.

    python tests/golden/make_transformer.py     needs torch, which the tests do not

The stacks are torch.nn's own (TransformerEncoder, TransformerDecoder, and nn.Transformer for the third form), the
positions are sines and cosines from math, and autograd gives the gradients.  Nothing here comes from gpt2np.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

V, C, H, F_INNER, L, B, S, T, SMOOTHING = 19, 8, 2, 11, 2, 3, 5, 4, 0.1
FORMS = ("post", "pre", "post, last")


def stacks(form):
    """The encoder and the decoder of a form."""
    options = {"dim_feedforward": F_INNER, "dropout": 0.0, "batch_first": True, "norm_first": form == "pre"}
    if form == "post, last":
        whole = nn.Transformer(C, H, L, L, **options)
        return whole.encoder, whole.decoder
    norms = [nn.LayerNorm(C) if form == "pre" else None for _ in range(2)]
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(C, H, **options), L, norms[0],
                                    enable_nested_tensor=False)
    return encoder, nn.TransformerDecoder(nn.TransformerDecoderLayer(C, H, **options), L, norms[1])


def position_table(n):
    return torch.tensor([[math.sin(t / 10000 ** (c / C)) if c % 2 == 0 else math.cos(t / 10000 ** ((c - 1) / C))
                          for c in range(C)] for t in range(n)])


def paths(form, wte, encoder, decoder):
    """(path in gpt2np, of a torch parameter the part that it is, whether it is transposed there)"""
    yield "wte", wte, slice(None), False
    for i, layer in enumerate(encoder.layers):
        yield from block(f"encoder.{i}", layer, {"ln_1": layer.norm1, "ln_2": layer.norm2})
    for i, layer in enumerate(decoder.layers):
        yield from block(f"decoder.{i}", layer, {"ln_1": layer.norm1, "ln_2": layer.norm2, "ln_3": layer.norm3})
        cross = layer.multihead_attn
        for path, part in (("c_q", slice(0, C)), ("c_kv", slice(C, 3 * C))):
            yield f"decoder.{i}.cross_attn.{path}.w", cross.in_proj_weight, part, True
            yield f"decoder.{i}.cross_attn.{path}.b", cross.in_proj_bias, part, False
        yield from linear(f"decoder.{i}.cross_attn.c_proj", cross.out_proj)
    if form != "post":
        yield from norm("ln_encoder", encoder.norm)
        yield from norm("ln_decoder", decoder.norm)


def block(path, layer, norms):
    attention = layer.self_attn
    yield f"{path}.attn.c_attn.w", attention.in_proj_weight, slice(None), True
    yield f"{path}.attn.c_attn.b", attention.in_proj_bias, slice(None), False
    yield from linear(f"{path}.attn.c_proj", attention.out_proj)
    yield from linear(f"{path}.mlp.c_fc", layer.linear1)
    yield from linear(f"{path}.mlp.c_proj", layer.linear2)
    for name, layer_norm in norms.items():
        yield from norm(f"{path}.{name}", layer_norm)


def linear(path, layer):
    yield f"{path}.w", layer.weight, slice(None), True
    yield f"{path}.b", layer.bias, slice(None), False


def norm(path, layer):
    yield f"{path}.g", layer.weight, slice(None), False
    yield f"{path}.b", layer.bias, slice(None), False


def main():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    source, tokens, targets = torch.randint(0, V, (B, S)), torch.randint(0, V, (B, T)), torch.randint(0, V, (B, T))
    mask = torch.ones(B, S, dtype=torch.bool)
    mask[0, 3:], mask[2, 1:] = False, False
    tokens[1] = source[1, 0]                            # one token many times, on both sides
    targets[2, 2:] = -100
    golden = {"source": source.numpy(), "source_mask": mask.numpy(), "tokens": tokens.numpy(),
              "targets": targets.numpy(), "sizes": np.array([V, C, H, L, F_INNER]), "smoothing": np.array(SMOOTHING)}
    for form in FORMS:
        encoder, decoder = stacks(form)
        wte = nn.Parameter(torch.zeros(V, C))
        table = list(paths(form, wte, encoder, decoder))
        assert sum(p[part].numel() for _, p, part, _ in table) == V * C + sum(
            p.numel() for stack in (encoder, decoder) for p in stack.parameters())
        with torch.no_grad():
            for path, parameter, part, _ in table:      # far from the initial values, where a bias of 0 would hide it
                drawn = torch.randn_like(parameter[part]) * (0.5 if path.endswith("w") else 0.3)
                parameter[part] = (drawn + path.endswith(".g")).float()     # float32's numbers: half the file
        places = position_table(max(S, T))
        memory = encoder(math.sqrt(C) * wte[source] + places[:S], src_key_padding_mask=~mask)
        future = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
        x = decoder(math.sqrt(C) * wte[tokens] + places[:T], memory, tgt_mask=future, memory_key_padding_mask=~mask)
        logits = x @ wte.T
        plain, loss = (F.cross_entropy(logits.reshape(-1, V), targets.reshape(-1), ignore_index=-100,
                                       label_smoothing=e) for e in (0.0, SMOOTHING))
        loss.backward()
        golden |= {f"{form}: logits": logits.detach().numpy(), f"{form}: loss": np.array(plain.item()),
                   f"{form}: smoothed": np.array(loss.item())}
        for path, parameter, part, transposed in table:
            value, grad = parameter.detach().float().numpy()[part], parameter.grad.numpy()[part]
            for name, array in (("value", value), ("grad", grad)):
                golden[f"{form}: {name} {path}"] = array.T if transposed else array
        print(f"PyTorch {torch.__version__}, {form}: loss {plain.item():.15f}")
    np.savez_compressed(Path(__file__).with_name("transformer.npz"), **golden)


if __name__ == "__main__":
    main()
