"""Makes pruned/: a small GPT-2 from which transformers took heads, as it saves it, and its logits in float64.

    python tests/golden/make_pruned.py     needs torch and transformers 4 (4.46 made it), which the tests do not

transformers 5 no longer knows prune_heads. The heads go in two steps, the second one by the numbers that the heads had
at first. Nothing here comes from gpt2np.
"""

from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

FOLDER = Path(__file__).with_name("pruned")
SIZES = {"vocab_size": 17, "n_positions": 9, "n_embd": 12, "n_layer": 3, "n_head": 4}
STEPS = {0: [1], 2: [0]}, {2: [2, 3]}
TOKENS = [[3, 1, 4, 1, 5, 9, 2], [16, 5, 3, 5, 8, 9, 7]]


def main():
    transformers.logging.set_verbosity_error()
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
