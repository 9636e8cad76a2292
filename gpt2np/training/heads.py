"""How fine-tuning begins: a head on the body of a model that was trained before, as something else or as the same.

Chapter: S001 3.1.2; S002 3.2.
"""

from collections.abc import Sequence

import numpy as np

from ..adapt.trimming import leave_out_heads, taken_out
from ..checkpoints.errors import some
from ..hints import Rng
from ..layers.module import Module
from ..models.bert import BERT, BertForPreTraining, Pooler
from ..models.gpt2 import GPT2
from ..models.heads import SOFTMAX, AnswerFinder, Classifier, Objective, TokenClassifier
from .errors import TrainingError


def put_head_on(loaded: Module, kind: type[Classifier], labels: Sequence[str], rng: Rng | None, *,
                objective: Objective = SOFTMAX, dropout: float = 0.0,
                recompute: bool = False) -> tuple[Classifier, list[str], list[str]]:
    """A model to fine-tune, in memory of its own: the files that `loaded` came from may go.

    loaded     GPT2, BERT or BertForPreTraining, whose heads are left out; or a Classifier, of which all is kept where
               it is of this kind and has this objective
    kind       Classifier, TokenClassifier or AnswerFinder
    labels     the names of its labels; an AnswerFinder's are its own
    rng        for what is made anew: the head, and the pooler of a BERT that has none; None leaves them 0
    objective  of a Classifier
    dropout    rate in training, of the body and before the head; recompute as the models have it
    returns    the model; the paths of the parameters that are made anew; and those of `loaded` that are left out
    raises     TrainingError for a model without a body, and where a head that would be kept has other labels: to have
               a new one, give loaded.body
    """
    old = loaded.body if isinstance(loaded, Classifier) else loaded.bert if isinstance(loaded, BertForPreTraining) \
        else loaded
    body: BERT | GPT2
    if isinstance(old, BERT):
        body = BERT(old.config, None, dropout, recompute=recompute, pooler=False)
        if not issubclass(kind, TokenClassifier):       # whole texts are read from what is pooled
            body.pooler = Pooler(old.config.n_embd, rng)
    elif isinstance(old, GPT2):
        body = GPT2(old.config, None, dropout, recompute=recompute)
        body.unused = list(old.unused)
    else:
        raise TrainingError(f"model: expected a BERT or a GPT-2 below the head, got a {type(old).__name__}")
    leave_out_heads(body, taken_out(old))
    if issubclass(kind, AnswerFinder):
        model: Classifier = kind(body, rng, dropout=dropout)
    elif issubclass(kind, TokenClassifier):
        model = kind(body, labels, rng, dropout=dropout)
    else:
        model = kind(body, labels, rng, objective=objective, dropout=dropout)
    stored = {f"body.{path}": p for path, p in old.named_parameters()}
    if isinstance(loaded, Classifier) and type(loaded) is kind and loaded.objective == model.objective:
        if loaded.labels != model.labels:
            raise TrainingError(f"labels: expected those of the model's head, {len(loaded.labels)} "
                                f"({some(loaded.labels)}), got {len(model.labels)} ({some(model.labels)})")
        stored |= {f"head.{path}": p for path, p in loaded.head.named_parameters()}
    used, new = set[int](), []
    for path, p in model.named_parameters():
        if path in stored:
            p.value = np.array(stored[path].value, order="C")
            used.add(id(stored[path]))
        else:
            new.append(path)
    return model, new, [path for path, p in loaded.named_parameters() if id(p) not in used]


def what_is_new(name: str, new: Sequence[str], left_out: Sequence[str]) -> str | None:
    """One line for whoever begins with a model of this name; None where all of it is kept, and nothing is new."""
    parts = [f"it has no {' and no '.join(new)}: made anew, with random weights"] if new else []
    parts += [f"left out of what it has: {some(left_out)}"] if left_out else []
    return f"{name}: {'; '.join(parts)}" if parts else None
