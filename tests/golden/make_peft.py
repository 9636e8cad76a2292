"""Makes peft.npz, and the folders in peft/: a small GPT-2 with LoRA, AdaLoRA and a prefix of huggingface/peft, float64.

    python tests/golden/make_peft.py     needs torch, transformers and peft, which the tests do not

Of each method: logits, loss and the gradient of every parameter that is added, the losses of five steps of AdamW, the
logits after them, and the folder that peft saves then, in float32; of LoRA and AdaLoRA the merged matrices; of AdaLoRA
the budget at every step of a run.  Nothing here comes from gpt2np.  The loss is worked out here, since transformers
casts to float32 for its own.
"""

import copy
import shutil
from pathlib import Path

import numpy as np
import torch
from peft import AdaLoraConfig, LoraConfig, PrefixTuningConfig, get_peft_model
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

HERE = Path(__file__).parent
V, N_CTX, C, H, L, B, T, P, STEPS = 17, 12, 8, 2, 2, 3, 5, 3, 5
AT = ["c_attn", "c_fc"]
METHODS = {
    "lora": LoraConfig(r=3, lora_alpha=5, target_modules=AT, fan_in_fan_out=True, task_type="CAUSAL_LM"),
    "rslora": LoraConfig(r=4, lora_alpha=5, target_modules=AT, fan_in_fan_out=True, use_rslora=True,
                         rank_pattern={"transformer.h.1.attn.c_attn": 2}, task_type="CAUSAL_LM"),
    "adalora": AdaLoraConfig(init_r=4, target_r=2, lora_alpha=5, tinit=1, tfinal=1, deltaT=1, total_step=STEPS,
                             orth_reg_weight=0.0, target_modules=AT, fan_in_fan_out=True, task_type="CAUSAL_LM"),
    "prefix": PrefixTuningConfig(num_virtual_tokens=P, task_type="CAUSAL_LM")}


def base_model():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=V, n_positions=N_CTX, n_embd=C, n_head=H, n_layer=L, attn_pdrop=0.0, resid_pdrop=0.0,
                        embd_pdrop=0.0, attn_implementation="eager", bos_token_id=None, eos_token_id=None)
    model = GPT2LMHeadModel(config).double()
    for _, p in model.named_parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model


def logits_of(model, tokens):
    return model(input_ids=tokens).logits[:, -T:]


def main():
    tokens = torch.tensor(np.random.default_rng(1).integers(0, V, (B, T)))
    targets = torch.tensor(np.random.default_rng(2).integers(0, V, (B, T)))
    out = {"tokens": tokens.numpy(), "targets": targets.numpy()}
    out |= {f"base/{name}": p.detach().numpy() for name, p in base_model().named_parameters()}
    shutil.rmtree(HERE / "peft", ignore_errors=True)
    for method, config in METHODS.items():
        model = get_peft_model(base_model(), config).double()
        # peft 0.21 leaves the number by which AdaLoRA's scale is divided among what is trained; it is meant to stay
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad and "ranknum" not in name}
        torch.manual_seed(3)
        for name, p in trained.items():
            p.data += 0.3 * torch.randn_like(p)
            out[f"{method}/first/{name}"] = p.detach().numpy().copy()
        optimizer = torch.optim.AdamW(list(trained.values()), lr=1e-2, weight_decay=0.0)
        losses, budgets, ranks = [], [], []
        for step in range(STEPS + 1):
            optimizer.zero_grad()
            logits = logits_of(model, tokens)
            loss = F.cross_entropy(logits.reshape(-1, V), targets.reshape(-1))
            losses.append(loss.item())
            if step == 0:
                loss.backward(retain_graph=True)
                out |= {f"{method}/logits": logits.detach().numpy(), f"{method}/loss": loss.item()}
                out |= {f"{method}/grad/{name}": p.grad.numpy().copy() for name, p in trained.items()}
            if step == STEPS:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if method == "adalora":
                model.base_model.update_and_allocate(step + 1)
                budgets.append(model.base_model.rankallocator.budget_schedule(step + 1)[0])
                ranks.append(sum(int((p != 0).sum()) for name, p in trained.items() if "lora_E" in name))
        out |= {f"{method}/losses": np.array(losses), f"{method}/last": logits_of(model, tokens).detach().numpy()}
        if method == "adalora":
            out |= {"adalora/budgets": np.array(budgets), "adalora/ranks": np.array(ranks)}
        if method != "prefix":
            merged = copy.deepcopy(model).merge_and_unload()
            out |= {f"{method}/merged/{name}": p.detach().numpy() for name, p in merged.named_parameters()
                    if name.endswith(("c_attn.weight", "c_fc.weight"))}
        model.float().save_pretrained(HERE / "peft" / method)
        (HERE / "peft" / method / "README.md").unlink()
    np.savez_compressed(HERE / "peft.npz", **out)


if __name__ == "__main__":
    main()
