"""Masked words and next sentences, the two tasks of BERT: what was here, and does this follow that?

Chapter: S001 3.1.1.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from ..adapt.trimming import leave_out_heads, taken_out
from ..checkpoints import loading
from ..checkpoints.files import write_text
from ..errors import Gpt2npError
from ..filling import fill
from ..hints import Array
from ..layers.cross_entropy import IGNORED, count_targets, cross_entropy_forward
from ..layers.embedding import embedding_forward
from ..layers.module import Module
from ..layers.tiles import rows
from ..memory import expect_room
from ..models.bert import BERT, BertForPreTraining
from ..models.config import BertConfig
from ..text.protocol import AnyTokenizer
from ..text.vocab_txt import MASK
from ..text.wordpiece import WordPiece, learn_characters
from .adapting import NONE, AdaptableTask, AdaptPlan, adapt, base_of
from .documents import HIDDEN, PIECES, UNITS, MaskedBatches, encode_documents, has_pairs, read_documents
from .errors import TrainingError
from .mpi import Parallel
from .parallel import Batch
from .plan import FOR_MASKS, SHARE, YES_OR_NO, at_least, one_of
from .tasks import Progress

TRAIN, VAL = "train.txt", "val.txt"             # in the folder of a run
HELD_OUT, MOST_HELD_OUT = 0.1, 1000             # of the documents, those that are measured by where no others are
NARROW = 512                                    # widths below begin with Linear's own weights: see BERT


@dataclass(frozen=True)
class MaskedPlan(AdaptPlan):
    """A run on documents."""

    batch: Annotated[int, at_least(1), "rows in a step"] = 32
    context: Annotated[int, at_least(5), "positions of the longest row, [CLS] and [SEP] among them"] = 64
    unit: Annotated[str, one_of(UNITS), "what is hidden whole or not at all: single pieces; words, each Chinese "
                    "character being one; or what stands between spaces, for Chinese that is cut into words"] = PIECES
    dropout: Annotated[float, SHARE, "the rate of dropout"] = 0.1
    recompute: Annotated[bool, YES_OR_NO, "need far less memory, and some more time: run each block again in the "
                         "backward pass"] = False
    sample: Annotated[int, at_least(0), "sentences in which the model fills gaps at each evaluation"] = 3


class MaskedWords(AdaptableTask):
    """A BERT that learns documents.

    model, tokenizer   what is trained (with the plan's dropout and recompute), and what it comes with
    train, val         documents, lists of sentences: to learn from, and to measure by
    plan               MaskedPlan

    raises             TrainingError for documents and sizes that do not fit together

    A model without a head for pairs is asked none, nor is one whose documents have none: see has_pairs.
    """

    name = "masked words"
    plan_type = MaskedPlan
    data: ClassVar = (TRAIN, VAL)

    def __init__(self, model: BertForPreTraining, tokenizer: WordPiece, train: Sequence[Sequence[str]],
                 val: Sequence[Sequence[str]], plan: MaskedPlan):
        if plan.context > model.n_ctx:
            raise TrainingError(f"context: expected at most the model's n_ctx, {model.n_ctx}, got {plan.context}")
        if not val:
            raise TrainingError("validation text: expected at least one sentence, got none: give more text (--val)")
        self.model, self.tokenizer, self.val, self.plan = model, tokenizer, val, plan
        self.batches, self.val_batches = (
            MaskedBatches(documents, tokenizer, model.nsp is not None and has_pairs(documents, plan.context),
                          plan.batch, plan.context, plan.seed)
            for documents in (encode_documents(texts, tokenizer, plan.unit, plan.context - 3)
                              for texts in (train, val)))

    @classmethod
    def load(cls, folder: Path, out: Path, plan: MaskedPlan) -> "MaskedWords":
        model, tokenizer, _ = load_to_train(base_of(folder, plan), plan)
        task = cls(model, tokenizer, read_documents([out / TRAIN]), read_documents([out / VAL]), plan)
        task.go_on_adapting(folder)
        return task

    @classmethod
    def expect_shares(cls, plan: MaskedPlan, processes: int) -> None:
        if plan.batch < processes:
            raise TrainingError(f"--batch: expected a row for each of the {processes} processes at least, got "
                                f"{plan.batch}")

    def batch(self, step: int) -> Batch:
        return tuple(self.batches.batch(step))

    def inputs(self, batch: Batch) -> Batch:
        return batch[:3]

    def tokens(self, batch: Batch) -> int:
        """How many tokens a batch has, without the padding."""
        return int(batch[2].sum())

    def evaluate(self, parallel: Parallel, progress: Progress) -> dict[str, float]:
        """Both mean losses of all rows to measure by, and the shares of words and pairs that the model tells right.

        What is hidden is the same every time, in every run.
        """
        total, n = np.zeros(6), len(self.val_batches)
        for i, batch in enumerate(self._val_batches()):
            total += parallel.total(partial(score, parallel.replicas[0]), batch)
            progress(i + 1, n)
        words, right, n_words, pairs, right_pairs, n_pairs = map(float, total)
        figures = {"val_loss": words / n_words, "val_masked_accuracy": right / n_words}
        if n_pairs:
            figures = {"val_loss": words / n_words + pairs / n_pairs, "val_masked_loss": words / n_words,
                       "val_masked_accuracy": right / n_words, "val_pair_loss": pairs / n_pairs,
                       "val_pair_accuracy": right_pairs / n_pairs}
        return figures

    def _val_batches(self) -> list[Batch]:
        return [tuple(self.val_batches.rows(chosen, np.random.default_rng([FOR_MASKS, i * self.plan.batch])))
                for i, chosen in enumerate(self.val_batches.order.each())]

    def guessing(self) -> float:
        """Which part of the hidden words to measure by are told right by who always says the commonest piece."""
        counts = Counter(i for document in self.batches.documents for sentence in document for i, _ in sentence)
        commonest = counts.most_common(1)[0][0]
        targets = np.concatenate([batch[3][batch[3] != IGNORED] for batch in self._val_batches()])
        return float((targets == commonest).mean())

    def sample(self, rng: np.random.Generator) -> str | None:
        """Some sentences to measure by, each with a gap, and what the model holds for likely there."""
        lines = []
        sentences = [sentence for document in self.val for sentence in document]
        for i in sorted(rng.choice(len(sentences), min(self.plan.sample, len(sentences)), replace=False)):
            words = self.tokenizer.words(sentences[i])[:self.plan.context - 2]
            if not words:
                continue
            at = int(rng.integers(len(words)))
            missing = words[at]
            words[at] = MASK
            text = self.tokenizer.decode(self.tokenizer.encode(" ".join(words), allowed_special=(MASK,)))
            try:
                (guesses, *_) = fill(self.model, self.tokenizer, " ".join(words), 3, cut=True)
            except Gpt2npError:                         # the gap is beyond what the model sees
                continue
            lines.append(f"{text}   {', '.join(f'{piece} {p:.0%}' for piece, p in guesses)}   ({missing})")
        return "\n".join(lines) or None


def score(model: BertForPreTraining, share: Batch) -> Array:
    """(6,)   of some rows: the sum of the losses of the hidden words, how many are told right, and of how many; and
    the same of the pairs."""
    tokens, segments, mask, targets, not_next = share
    hidden = np.flatnonzero(targets.reshape(-1) != IGNORED)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):     # found afterwards, in the loss
        x, _ = model.bert.forward(tokens, segments, mask, keep_cache=False)
        words, _ = model.mlm.forward(embedding_forward(hidden, rows(x))[0], keep_cache=False)
        pairs, _ = model.pairs(x)
        sums = list[float]()
        for logits, right in ((words, targets.reshape(-1)[hidden]), (pairs, not_next)):
            if logits is None:
                sums += [0.0, 0.0, 0.0]
                continue
            loss, _ = cross_entropy_forward(logits, right, counted=1)
            sums += [float(loss), float((logits.argmax(axis=-1) == right).sum()), count_targets(right)]
    return np.array(sums)


def load_to_train(name_or_path: str | Path, plan: MaskedPlan) -> tuple[BertForPreTraining, WordPiece, list[str]]:
    """A model and its tokenizer for training: with the plan's options, and in memory of its own: the files may go; and
    the names of what the files have not, and is drawn anew: the heads, where they are of an encoder alone.
    """
    loaded, tokenizer = loading.load_with_tokenizer(name_or_path, kind=Module)
    if not isinstance(loaded, BERT | BertForPreTraining) or not isinstance(tokenizer, WordPiece):
        raise TrainingError(f"--init-from: expected a BERT, got a {type(loaded).__name__}: {name_or_path}")
    alone = isinstance(loaded, BERT)
    pairs = loaded.pooler is not None if isinstance(loaded, BERT) else loaded.nsp is not None
    model = BertForPreTraining(loaded.config, np.random.default_rng(plan.seed) if alone else None, plan.dropout,
                               recompute=plan.recompute, next_sentence=pairs)
    leave_out_heads(model, taken_out(loaded))
    stored = {("bert." if alone else "") + path: p for path, p in loaded.named_parameters()}
    new = []
    for path, p in model.named_parameters():
        if path in stored:
            p.value = np.array(stored[path].value, order="C")
        else:
            new.append(path)
    return model, tokenizer, new


# ---- how a run on documents begins


def new_task(out: str | Path, plan: MaskedPlan, files: Sequence[str], *, val: str | None = None,
             init_from: str | Path | None = None, config: BertConfig | None = None,
             vocabulary: AnyTokenizer | None = None, fit: Collection[str] = (), epochs: float | None = None,
             warn: Callable[[str], None] = print) -> MaskedWords:
    """The task of a new run, with its documents in the run's folder `out`, and its plan settled.

    files        of documents to learn from, see documents.py; and val, to measure by: None for some of those
    init_from    the model to go on from, a name or a path; or
    config       BertConfig of a new model, which begins with random weights
    vocabulary   the new model's; None to learn config.n_vocab characters from the texts
    fit          which of n_vocab, context and warmup may become less, where texts, model or steps are small
    epochs       how often the documents are gone through; None for the plan's number of steps
    warn         is told what is to be said of the documents
    """
    train = read_documents(files)
    train, held_out = split(train) if val is None else (train, read_documents([val]))
    if not train:
        raise TrainingError("text: expected at least one sentence to learn from, beside those to measure by, got none: "
                            "give more text")
    if config is None:
        model, tokenizer, new = load_to_train(init_from or "", plan)
        if new and plan.adapt != NONE:
            raise TrainingError(f"--adapt {plan.adapt}: expected a BERT with its heads, got one without, {init_from}: "
                                "train all of it first")
        if new:
            warn(f"{init_from} has no {' and no '.join(new)}: they begin with random weights")
        adapt(model, plan)
        if "context" in fit:
            plan = replace(plan, context=min(plan.context, model.n_ctx))
    else:
        if vocabulary is not None and not isinstance(vocabulary, WordPiece):
            raise TrainingError("--vocab: expected a folder with vocab.txt, for BERT needs [CLS], [SEP] and [MASK], "
                                "got a byte-level BPE")
        tokenizer = vocabulary or learn(train, config.n_vocab, "n_vocab" in fit)
        config = replace(config, n_vocab=tokenizer.n_vocab, n_ctx=plan.context)
        pairs = has_pairs(encode_documents(train, tokenizer, plan.unit, plan.context - 3), plan.context)
        if not pairs:
            warn("no two sentences of a document are in a row, or there is one document alone: what follows what is "
                 "not learned, but hidden words alone (a sentence a line, an empty line between documents)")
        model = BertForPreTraining(config, np.random.default_rng(plan.seed), plan.dropout, recompute=plan.recompute,
                                   std=None if config.n_embd < NARROW else 0.02, next_sentence=pairs)
    task = MaskedWords(model, tokenizer, train, held_out, plan)
    if unknown := unknown_share(task):
        warn(f"{unknown:.1%} of the pieces to learn from are [UNK], which the vocabulary cannot spell")
    if epochs is not None:
        plan = replace(plan, steps=max(1, math.ceil(epochs * len(task.batches))))
    if "warmup" in fit:
        plan = replace(plan, warmup=min(plan.warmup, plan.steps // 2))
    task.plan = plan
    task.begin_adapting(init_from if config is None else None)
    for name, documents in ((TRAIN, train), (VAL, held_out)):
        write_text(Path(out, name), "\n\n".join("\n".join(document) for document in documents) + "\n")
    return task


def split(documents: list[list[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """Documents to learn from and to measure by: the last ones; of a single one, its last sentences."""
    if len(documents) == 1:
        n = max(1, round(HELD_OUT * len(documents[0])))
        return [part for part in [documents[0][:-n]] if part], [documents[0][-n:]]
    n = max(1, min(MOST_HELD_OUT, round(HELD_OUT * len(documents))))
    return documents[:-n] if documents else [], documents[-n:]


def learn(documents: Sequence[Sequence[str]], n_vocab: int, at_most: bool) -> WordPiece:
    """A vocabulary of so many characters, or, if that is allowed, of as many as the texts have."""
    tokenizer = learn_characters((sentence for document in documents for sentence in document), n_vocab)
    if tokenizer.n_vocab < n_vocab and not at_most:
        raise TrainingError(f"n_vocab: expected at most the {tokenizer.n_vocab:,} pieces that the texts have "
                            f"characters for, got {n_vocab:,}: ask for fewer, or give more text")
    return tokenizer


def example(task: MaskedWords) -> str:
    """A sentence to measure by, with a gap: for gpt2np.fill."""
    words = task.tokenizer.words(task.val[0][0])[:task.plan.context - 2]
    words[len(words) // 2] = MASK
    return task.tokenizer.decode(task.tokenizer.encode(" ".join(words), allowed_special=(MASK,)))


def unknown_share(task: MaskedWords) -> float:
    """Which part of the pieces to learn from is [UNK]."""
    ids = [i for document in task.batches.documents for sentence in document for i, _ in sentence]
    return ids.count(task.tokenizer.unk) / len(ids)


def expect_room_to_train(config: BertConfig, plan: MaskedPlan) -> None:
    """MemoryError where weights, gradients, moments, logits and activations cannot all be there."""
    tokens = -(-plan.batch // plan.accumulate) * plan.context
    kept = HIDDEN * config.n_vocab + (1 if plan.recompute else 20) * config.n_layer * config.n_embd
    expect_room(4 * ((3 + min(plan.threads, plan.batch)) * config.n_parameters + tokens * kept),
                f"training {config.n_parameters:,} parameters on {tokens:,} positions at once")
