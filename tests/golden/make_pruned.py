"""Makes pruned/: a small GPT-2 from which transformers took heads, as it saves it, and its logits in float64; and
pruned_bert/: a BERT likewise, with what it computes of two texts, of which the second one ends in padding.

    python tests/golden/make_pruned.py     needs torch and transformers 4 (4.46 made it), which the tests do not

transformers 5 no longer knows prune_heads. The heads go in two steps, the second one by the numbers that the heads had
at first. Nothing here comes from gpt2np.
"""

from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertForPreTraining, GPT2Config, GPT2LMHeadModel

FOLDER, BERT = (Path(__file__).with_name(name) for name in ("pruned", "pruned_bert"))
SIZES = {"vocab_size": 17, "n_positions": 9, "n_embd": 12, "n_layer": 3, "n_head": 4}
STEPS = {0: [1], 2: [0]}, {2: [2, 3]}
TOKENS = [[3, 1, 4, 1, 5, 9, 2], [16, 5, 3, 5, 8, 9, 7]]


BERT_SIZES = {"vocab_size": 17, "hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 4,
              "intermediate_size": 10, "max_position_embeddings": 9, "layer_norm_eps": 1e-3}
SEGMENTS, MASK = [[0, 0, 0, 1, 1, 1, 1], [0] * 7], [[1] * 7, [1] * 4 + [0] * 3]


def main():
    transformers.logging.set_verbosity_error()
    make_gpt2()
    make_bert()


def make_bert():
    torch.manual_seed(1)
    model = BertForPreTraining(BertConfig(**BERT_SIZES, attn_implementation="eager")).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * (0.5 if p.ndim > 1 else 0.3) + name.endswith("LayerNorm.weight"))
    for heads in STEPS:
        model.prune_heads(heads)
    model.save_pretrained(BERT)
    with torch.no_grad():
        out = model.double()(torch.tensor(TOKENS), attention_mask=torch.tensor(MASK),
                             token_type_ids=torch.tensor(SEGMENTS))
    np.savez(BERT / "logits.npz", words=out.prediction_logits.numpy(), pairs=out.seq_relationship_logits.numpy())


def make_gpt2():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**SIZES, bos_token_id=None, eos_token_id=None,
                                       attn_implementation="eager")).eval()     # "sdpa" fails without all heads
    with torch.no_grad():
        for name, p in model.named_parameters():        # far from the initial values, where a bias of 0 would hide it
            p.copy_(torch.randn_like(p) * 0.5 + name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight")))
    for heads in STEPS:
        model.prune_heads(heads)
    model.save_pretrained(FOLDER)
    with torch.no_grad():
        np.save(FOLDER / "logits.npy", model.double()(torch.tensor(TOKENS)).logits.numpy())
    (FOLDER / "generation_config.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
