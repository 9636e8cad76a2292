"""Makes beams.npz: what Hugging Face's beam search finds with a small encoder-decoder of random weights, in float64.

    python tests/golden/make_beams.py           needs torch and transformers, which the tests do not

The model is a MarianMTModel, which is the paper's Transformer but for its positions: sines in the first half of the
columns, cosines in the second.  Its tables are replaced by those in turns.
"""

import math
from pathlib import Path

import numpy as np
import torch
from transformers import MarianConfig, MarianMTModel

V, C, H, F, L, N_CTX, END = 13, 8, 2, 11, 2, 24, 12
SOURCES = ((3, 1, 4, 1, 5), (9, 2, 6), (5, 3, 5, 8, 9, 7, 10))
RULES = ({"num_beams": 4, "length_penalty": 1.0, "early_stopping": False},
         {"num_beams": 4, "length_penalty": 1.0, "early_stopping": True},
         {"num_beams": 3, "length_penalty": 2.0, "early_stopping": "never"},
         {"num_beams": 5, "length_penalty": 0.0, "early_stopping": False},
         {"num_beams": 3, "length_penalty": -1.0, "early_stopping": "never"},
         {"num_beams": 4, "length_penalty": 1.0, "early_stopping": True, "no_repeat_ngram_size": 2},
         {"num_beams": 4, "length_penalty": 0.5, "early_stopping": True, "min_new_tokens": 5})


def paths(model):
    """(path in gpt2np, array)"""
    yield "wte", model.model.shared.weight
    for side, stack in (("encoder", model.model.encoder), ("decoder", model.model.decoder)):
        for i, layer in enumerate(stack.layers):
            start = f"{side}.{i}"
            yield from attention(f"{start}.attn", layer.self_attn, {"c_attn": ("q_proj", "k_proj", "v_proj")})
            yield from norm(f"{start}.ln_1", layer.self_attn_layer_norm)
            if side == "decoder":
                yield from attention(f"{start}.cross_attn", layer.encoder_attn,
                                     {"c_q": ("q_proj",), "c_kv": ("k_proj", "v_proj")})
                yield from norm(f"{start}.ln_2", layer.encoder_attn_layer_norm)
            yield from linear(f"{start}.mlp.c_fc", layer.fc1)
            yield from linear(f"{start}.mlp.c_proj", layer.fc2)
            yield from norm(f"{start}.ln_{3 if side == 'decoder' else 2}", layer.final_layer_norm)


def attention(path, layer, fused):
    for name, parts in {**fused, "c_proj": ("out_proj",)}.items():
        yield f"{path}.{name}.w", torch.cat([getattr(layer, part).weight.T for part in parts], dim=1)
        yield f"{path}.{name}.b", torch.cat([getattr(layer, part).bias for part in parts])


def linear(path, layer):
    yield f"{path}.w", layer.weight.T
    yield f"{path}.b", layer.bias


def norm(path, layer):
    yield f"{path}.g", layer.weight
    yield f"{path}.b", layer.bias


def main():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(2)
    config = MarianConfig(vocab_size=V, d_model=C, encoder_layers=L, decoder_layers=L, encoder_attention_heads=H,
                          decoder_attention_heads=H, encoder_ffn_dim=F, decoder_ffn_dim=F, dropout=0.0,
                          activation_function="relu", scale_embedding=True, max_position_embeddings=N_CTX,
                          pad_token_id=0, eos_token_id=END, decoder_start_token_id=END, forced_eos_token_id=None)
    model = MarianMTModel(config).double().eval()
    table = torch.tensor([[math.sin(t / 10000 ** (c / C)) if c % 2 == 0 else math.cos(t / 10000 ** ((c - 1) / C))
                           for c in range(C)] for t in range(N_CTX)])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" in name:
                parameter.copy_(table)
            else:
                # Gains of either sign: with all near 1, the tied table makes a model that repeats its last word.
                drawn = torch.randn_like(parameter) * (1.0 if "norm.weight" in name else 0.5)
                parameter.copy_(drawn.float())
        model.model.shared.weight[END] *= 2             # so that some texts end
    golden = {"sizes": np.array([V, C, H, F, L, N_CTX, END])}
    golden |= {f"value {path}": array.detach().float().numpy() for path, array in paths(model)}
    for i, rules in enumerate(RULES):
        for j, source in enumerate(SOURCES):
            ids = torch.tensor([source])
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=10,
                                 num_return_sequences=rules["num_beams"], return_dict_in_generate=True,
                                 output_scores=True, use_cache=True, **rules)
            golden[f"{i} {j}"] = out.sequences.numpy()[:, 1:]
            golden[f"{i} {j} scores"] = out.sequences_scores.numpy()
    print(golden["0 0"], golden["0 0 scores"])
    np.savez_compressed(Path(__file__).with_name("beams.npz"), **golden)


if __name__ == "__main__":
    main()
