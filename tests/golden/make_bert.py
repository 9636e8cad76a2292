"""Makes bert/: three small BERTs of transformers, as it saves them, and what they compute in float64.

    python tests/golden/make_bert.py     needs torch and transformers, which the tests do not

pre_training/, masked/ and body/ are folders of save_pretrained: with both heads, with the first alone, and the encoder
with its pooler. bert.npz has a batch, and for each of them outputs, losses, and the gradient of every parameter, by
transformers' names. Nothing here comes from gpt2np.
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertModel

FOLDER = Path(__file__).with_name("bert")
V, B, T = 19, 3, 7
SIZES = {"vocab_size": V, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 10,
         "max_position_embeddings": 9, "type_vocab_size": 2, "layer_norm_eps": 1e-3}
KINDS = {"pre_training": BertForPreTraining, "masked": BertForMaskedLM, "body": BertModel}


def main():
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    # From 1: transformers gives the row of the padding, 0, no gradient by looking it up, also where it is a real token.
    tokens, targets = torch.randint(1, V, (B, T)), torch.full((B, T), -100)
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 0, 0], [0] * T])
    mask = torch.tensor([[1] * T, [1, 1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0]])
    targets[0, 1], targets[0, 4], targets[1, 2] = 3, 8, 8
    not_next = torch.tensor([0, 1, -100])
    tokens[1, 1] = tokens[0, 2]                         # one token in two rows
    weights = torch.randn(B, T, SIZES["hidden_size"], dtype=torch.float64)
    golden = {"tokens": tokens, "segments": segments, "padding_mask": mask.bool(), "targets": targets,
              "not_next": not_next, "weights": weights}
    for kind, Model in KINDS.items():
        model = Model(BertConfig(**SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)).eval()
        with torch.no_grad():
            for name, p in model.named_parameters():    # far from the initial values, where a bias of 0 would hide it
                p.copy_(torch.randn_like(p) * (0.5 if p.ndim > 1 else 0.3) + name.endswith("LayerNorm.weight"))
        model.save_pretrained(FOLDER / kind)
        model = model.double()
        if kind == "body":
            out = model(tokens, attention_mask=mask, token_type_ids=segments)
            real = mask.bool()[..., None]
            loss = (out.last_hidden_state * weights * real).sum() + (out.pooler_output * weights[:, 0]).sum()
            golden |= {"body: x": out.last_hidden_state, "body: pooled": out.pooler_output}
        else:
            answers = {"labels": targets} | ({"next_sentence_label": not_next} if kind == "pre_training" else {})
            out = model(tokens, attention_mask=mask, token_type_ids=segments, **answers)
            loss = out.loss
            golden |= {f"{kind}: words": out[1]} | ({f"{kind}: pairs": out[2]} if kind == "pre_training" else {})
        loss.backward()
        golden[f"{kind}: loss"] = loss
        golden |= {f"{kind}: grad {name}": p.grad for name, p in model.named_parameters()}
        print(f"transformers {transformers.__version__}, PyTorch {torch.__version__}, {kind}: loss {loss.item():.15f}")
    for path in FOLDER.glob("*/config.json"):           # the versions of the machine that it was made on are no part
        fields = json.loads(path.read_text())
        path.write_text(json.dumps({name: fields[name] for name in sorted(fields)}, indent=2) + "\n")
    np.savez_compressed(Path(__file__).with_name("bert.npz"),
                        **{name: a.detach().numpy() for name, a in golden.items()})


if __name__ == "__main__":
    main()
