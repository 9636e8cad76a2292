"""Makes inside.npz: what transformers says of the inside of a GPT-2, and how its loss changes with each of it.

    pip install transformers torch
    python -m tests.golden.make_inside

The model is the small odd one of gpt2.npz, with its tokens and targets, in float64: attentions and hidden states as
output_attentions and output_hidden_states give them, what the sub-layers of each block give, and the gradients of the
loss by all of these but the attentions.  transformers 5.24.0, torch 2.13.0.
"""

import numpy as np

from tests.golden.make_generation import GOLDEN, transformers_model


def main():
    import torch
    import transformers

    with np.load(GOLDEN / "gpt2.npz") as arrays:
        source = dict(arrays)
    model = transformers_model(transformers, torch, source)
    model.set_attn_implementation("eager")              # the only one that gives its weights
    kept = {}

    def keep(name):
        def hook(module, inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            output.retain_grad()
            kept[name] = output
        return hook

    for path, module in model.transformer.named_modules():
        if path == "ln_f" or (path.startswith("h.") and not path.endswith(("act", "dropout"))):
            module.register_forward_hook(keep(path))
    tokens, targets = (torch.tensor(source[name]) for name in ("tokens", "targets"))
    out = model(tokens, output_attentions=True, output_hidden_states=True)
    for state in out.hidden_states:
        state.retain_grad()
    out.logits.retain_grad()
    loss = torch.nn.functional.cross_entropy(out.logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
    loss.backward()
    assert abs(loss.item() - source["loss"]) < 1e-12
    named = {f"hidden_states.{i}": x for i, x in enumerate(out.hidden_states)} | {"logits": out.logits} | kept
    golden = {f"attentions.{i}": p.detach().numpy() for i, p in enumerate(out.attentions)}
    for name, x in named.items():
        golden[name], golden[f"{name}.grad"] = x.detach().numpy(), x.grad.numpy()
    np.savez_compressed(GOLDEN / "inside.npz", **golden)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}: {', '.join(golden)}")


if __name__ == "__main__":
    main()
