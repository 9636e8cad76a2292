"""Makes adversarial.npz: FGM and PGD of three steps on the classifiers of make_heads.py, by PyTorch's autograd.

    python tests/golden/make_adversarial.py     after make_heads.py; needs torch and transformers; the tests do not

In float64.  An array r, of the shape of the embeddings, is added to what the table of words gives, before positions and
norms.  Of each classifier: the gradient by r at 0; and of each attack r itself, the loss as it is and with r, and the
gradient of their sum by every parameter, r being held still.  A text is a row: the norm of r is that of all its
numbers.  Some of PGD's steps leave the ball, so that there is something to project, and some do not.  Nothing here
comes from gpt2np.
"""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import BertForSequenceClassification, GPT2ForSequenceClassification

FOLDER = Path(__file__).with_name("heads")
EPSILON, STEPS, ALPHA = 0.7, 3, 0.4
ATTACKS = {"fgm": (1, EPSILON), "pgd": (STEPS, ALPHA)}


@contextmanager
def moved(model, r):
    """A model whose embeddings of words have r added to them."""
    hook = model.get_input_embeddings().register_forward_hook(lambda module, given, y: y + r)
    try:
        yield
    finally:
        hook.remove()


def norm(r):
    """Of each text by itself, (B, 1, 1)."""
    return torch.linalg.vector_norm(r, dim=(1, 2), keepdim=True)


def main():
    transformers.logging.set_verbosity_error()
    golden, found = np.load(FOLDER.with_suffix(".npz")), {}
    mask = torch.tensor(golden["padding_mask"])
    tokens, targets = torch.tensor(golden["tokens"]) * mask, torch.tensor(golden["targets single_label_classification"])
    batch = {"input_ids": tokens, "attention_mask": mask.long(), "labels": targets}
    for kind in (BertForSequenceClassification, GPT2ForSequenceClassification):
        model = kind.from_pretrained(FOLDER / kind.__name__, dtype=torch.float64).eval()
        model.config.problem_type = "single_label_classification"
        segments = {"token_type_ids": torch.tensor(golden["segments"])} if kind is BertForSequenceClassification else {}
        found |= {f"{kind.__name__}{name}": a for name, a in of_model(model, batch | segments).items()}
    np.savez_compressed(Path(__file__).with_name("adversarial.npz"),
                        **{name: a.detach().numpy() for name, a in found.items()})


def of_model(model, batch):
    """All that is kept of a classifier."""

    def loss_at(r):
        with moved(model, r):
            return model(**batch).loss

    def gradient(r):
        r = r.detach().requires_grad_()
        return torch.autograd.grad(loss_at(r), r)[0]

    nothing = torch.zeros(*batch["input_ids"].shape, model.config.hidden_size, dtype=torch.float64)
    found = {": g": gradient(nothing)}
    for attack, (steps, size) in ATTACKS.items():
        r, projected = nothing, []
        for step in range(steps):
            g = gradient(r)
            r = r + size * g / norm(g)
            if attack == "pgd":
                left = norm(r) > EPSILON
                r = torch.where(left, EPSILON * r / norm(r), r)
                projected.append(left.flatten())
            found[f", {attack}: r {step + 1}"] = r
        assert attack == "fgm" or 0 < torch.stack(projected).double().mean() < 1
        model.zero_grad()
        losses = loss_at(nothing), loss_at(r.detach())
        sum(losses).backward()
        found[f", {attack}: losses"] = torch.stack(losses)
        found |= {f", {attack}: grad {path}": p.grad.clone() for path, p in model.named_parameters()}
        versions = f"transformers {transformers.__version__}, PyTorch {torch.__version__}"
        print(f"{versions}, {type(model).__name__}, {attack}: {losses[0].item():.15f}, {losses[1].item():.15f}")
    return found


if __name__ == "__main__":
    main()
