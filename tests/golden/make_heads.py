"""Makes heads/: small BERTs and GPT-2s of transformers with a head, as it saves them, and what they compute in float64.

    python tests/golden/make_heads.py     needs torch and transformers, which the tests do not

A folder of save_pretrained for each class, and heads.npz: a batch, and for each class and objective the logits, the
loss, and the gradient of every parameter, by transformers' names. Nothing here comes from gpt2np.

Padding is on the right; GPT-2's sequences are classified once more with padding on the left, with the positions that
their tokens then have. transformers lets padding take part in the softmax over the places of an answer, so the answers
are of whole rows. A row's answer that lies beyond the row is left out.
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Config,
    GPT2ForQuestionAnswering,
    GPT2ForSequenceClassification,
    GPT2ForTokenClassification,
)

FOLDER = Path(__file__).with_name("heads")
V, B, T, C, K = 17, 3, 6, 8, 3
NAMES = {"id2label": {0: "O", 1: "B-PER", 2: "地名"}, "label2id": {"O": 0, "B-PER": 1, "地名": 2}}
BERT = {"vocab_size": V, "hidden_size": C, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 10,
        "max_position_embeddings": 9, "layer_norm_eps": 1e-3}
GPT2 = {"vocab_size": V, "n_positions": 9, "n_embd": C, "n_layer": 2, "n_head": 2, "pad_token_id": 0,
        "bos_token_id": None, "eos_token_id": None}
ONE, SEVERAL, NUMBERS = "single_label_classification", "multi_label_classification", "regression"
SEQUENCES = (BertForSequenceClassification, GPT2ForSequenceClassification)
TOKENS = (BertForTokenClassification, GPT2ForTokenClassification)
ANSWERS = (BertForQuestionAnswering, GPT2ForQuestionAnswering)


def model_of(kind):
    names = {} if kind in ANSWERS else NAMES
    if kind.__name__.startswith("Bert"):
        rate = {} if kind in ANSWERS else {"classifier_dropout": 0.3}
        model = kind(BertConfig(**BERT, **names, **rate))
    else:
        model = kind(GPT2Config(**GPT2, **names))
    with torch.no_grad():
        for name, p in model.named_parameters():        # far from the initial values, where a bias of 0 would hide it
            gain = name.endswith(("LayerNorm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight"))
            p.copy_(torch.randn_like(p) * (0.5 if p.ndim > 1 else 0.3) + gain)
    model.eval().save_pretrained(FOLDER / kind.__name__)
    return model.double()


def main():
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    # From 1: transformers gives the row of the padding, 0, no gradient by looking it up, also where it is a real token.
    tokens = torch.randint(1, V, (B, T))
    tokens[1, 1] = tokens[0, 2]                         # one token in two rows
    segments = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 0, 0], [0] * T])
    lengths = torch.tensor([T, 4, 1])
    mask = (torch.arange(T) < lengths[:, None]).long()
    left = mask.flip(1)
    labels = torch.randint(0, K, (B, T)).masked_fill(mask == 0, -100)
    labels[0, 2] = -100
    targets = {ONE: torch.tensor([2, 0, 2]), SEVERAL: torch.tensor([[1, 0, 1], [0, 0, 0], [0.25, 1, 0]]).double(),
               NUMBERS: torch.randn(B, K).double(), "tokens": labels,
               "answers": torch.tensor([[1, 3], [T, T], [5, 5]])}
    right = tokens * mask
    on_the_left = torch.zeros_like(tokens).masked_scatter(left.bool(), right[mask.bool()])
    golden = {"tokens": tokens, "segments": segments, "padding_mask": mask.bool(), "left tokens": on_the_left,
              "left mask": left.bool()} | {f"targets {name}": a for name, a in targets.items()}

    def keep(name, model, logits, loss):
        model.zero_grad()
        loss.backward()
        golden[f"{name}: logits"], golden[f"{name}: loss"] = logits, loss
        golden.update({f"{name}: grad {path}": p.grad for path, p in model.named_parameters()})
        print(f"transformers {transformers.__version__}, PyTorch {torch.__version__}, {name}: loss {loss.item():.15f}")

    for kind in (*SEQUENCES, *TOKENS, *ANSWERS):
        model, name = model_of(kind), kind.__name__
        given = {"token_type_ids": segments} if name.startswith("Bert") else {}
        if kind in SEQUENCES:
            for objective in (ONE, SEVERAL, NUMBERS):
                model.config.problem_type = objective
                out = model(right, attention_mask=mask, labels=targets[objective], **given)
                keep(f"{name}, {objective}", model, out.logits, out.loss)
            if not given:
                positions = (left.cumsum(1) - 1).clamp(min=0)
                golden[f"{name}, left: logits"] = model(on_the_left, attention_mask=left, position_ids=positions).logits
        elif kind in TOKENS:
            out = model(right, attention_mask=mask, labels=targets["tokens"], **given)
            keep(name, model, out.logits, out.loss)
        else:
            starts, ends = targets["answers"].T
            out = model(tokens, start_positions=starts, end_positions=ends, **given)
            keep(name, model, torch.stack([out.start_logits, out.end_logits], 1), out.loss)
    for path in FOLDER.glob("*/config.json"):           # the versions of the machine that it was made on are no part
        fields = json.loads(path.read_text())
        path.write_text(json.dumps({name: fields[name] for name in sorted(fields)}, indent=2) + "\n")
    np.savez_compressed(Path(__file__).with_name("heads.npz"),
                        **{name: a.detach().numpy() for name, a in golden.items()})


if __name__ == "__main__":
    main()
