"""Translation, the task of the original Transformer: to predict each token of a text in another language.

Chapter: S000 3.4.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from ..checkpoints import loading
from ..checkpoints.files import write_text
from ..decoding import translate
from ..errors import Gpt2npError
from ..memory import expect_room
from ..models.config import TransformerConfig
from ..models.transformer import Transformer
from ..text.bleu import TOKENISATIONS, corpus_bleu
from ..text.bpe import Tokenizer, cut
from ..text.bpe_train import learn_merges
from ..text.protocol import AnyTokenizer, end_of
from ..text.scripts import scripts_of
from .adapting import AdaptableTask, AdaptPlan, adapt, base_of
from .errors import TrainingError
from .evaluation import token_sums
from .mpi import Parallel
from .number_pairs import number_pairs
from .pairs import Pair, PairBatches, read_pairs
from .parallel import Batch
from .plan import SHARE, YES_OR_NO, at_least
from .schedules import NOAM, noam_peak
from .tasks import Progress

TRAIN, VAL = "train.tsv", "val.tsv"             # in the folder of a run
HELD_OUT, MOST_HELD_OUT = 0.05, 1000            # of the pairs, those that are measured by where no others are
NUMBERS = 100_000                               # generated pairs to learn from, where there is no file

TextPair = tuple[str, str]


@dataclass(frozen=True)
class TranslationPlan(AdaptPlan):
    """A run on pairs of texts."""

    batch_tokens: Annotated[int, at_least(4), "positions in a step, of sources and targets, padding included"] = 2500
    context: Annotated[int, at_least(2), "tokens of the longest source, and of the longest target: the rest of a "
                       "longer one is left out"] = 128
    dropout: Annotated[float, SHARE, "the rate of dropout"] = 0.1
    label_smoothing: Annotated[float, SHARE, "how much of each target is spread over all tokens"] = 0.1
    recompute: Annotated[bool, YES_OR_NO, "need far less memory, and some more time: run each block again in the "
                         "backward pass"] = False
    bleu: Annotated[int, at_least(0), "pairs that are translated at each evaluation, greedily, for BLEU; 0 for none"
                    ] = 200
    sample: Annotated[int, at_least(0), "translations that are shown at each evaluation"] = 3


class Translation(AdaptableTask):
    """A Transformer that learns pairs of texts.

    model, tokenizer   what is trained (with the plan's dropout, smoothing and recompute), and what it comes with
    train, val         pairs of texts: to learn from, and to measure by
    plan               TranslationPlan

    raises             TrainingError for pairs and sizes that do not fit together
    """

    name = "translation"
    plan_type = TranslationPlan
    data: ClassVar = (TRAIN, VAL)

    def __init__(self, model: Transformer, tokenizer: AnyTokenizer, train: Sequence[TextPair],
                 val: Sequence[TextPair], plan: TranslationPlan):
        if plan.context > model.n_ctx:
            raise TrainingError(f"context: expected at most the model's n_ctx, {model.n_ctx}, got {plan.context}")
        for name, pairs in (("pairs: expected at least one to learn from, beside those to measure by", train),
                            ("validation pairs: expected at least one", val)):
            if not pairs:
                raise TrainingError(f"{name}, got none: give more lines")
        self.model, self.tokenizer, self.val, self.plan = model, tokenizer, val, plan
        end = end_of(tokenizer)
        ids, self.cut = encoded(train, tokenizer, plan.context, model.config.source_end)
        self.batches = PairBatches(ids, plan.batch_tokens, end, plan.seed)
        ids, _ = encoded(val, tokenizer, plan.context, model.config.source_end)
        self.val_batches = PairBatches(ids, max(plan.batch_tokens, 2 * plan.context), end, plan.seed)

    @classmethod
    def load(cls, folder: Path, out: Path, plan: TranslationPlan) -> "Translation":
        model, tokenizer = translator_to_train(base_of(folder, plan), plan)
        task = cls(model, tokenizer, list(read_pairs([out / TRAIN])), list(read_pairs([out / VAL])), plan)
        task.go_on_adapting(folder)
        return task

    def batch(self, step: int) -> Batch:
        return tuple(self.batches.batch(step))

    def inputs(self, batch: Batch) -> Batch:
        return batch[:3]

    def tokens(self, batch: Batch) -> int:
        """How many tokens a batch has, of sources and targets, without the padding."""
        _, source_mask, _, targets = batch
        return int(source_mask.sum()) + self.model.counted(*batch)

    def evaluate(self, parallel: Parallel, progress: Progress) -> dict[str, float]:
        """The mean loss of a target token, the share of them that are the likeliest, and BLEU of some translations."""
        some = self.val[:self.plan.bleu]
        n = len(self.val_batches) + len(some)
        figures = loss_and_accuracy(parallel, self.val_batches, lambda done: progress(done, n))
        if some:
            with threadpool_limits(self.plan.threads, "blas"):
                texts = translate(self.model, self.tokenizer, [source for source, _ in some],
                                  done=lambda done: progress(len(self.val_batches) + done, n))
            references = [target for _, target in some]
            figures["val_bleu"] = corpus_bleu(texts, references, tokenisation_of(references)).score
            figures["val_exact"] = sum(map(str.__eq__, texts, references)) / len(some)
        return figures

    def sample(self, rng: np.random.Generator) -> str | None:
        """Some pairs to measure by, with what the model makes of the source."""
        if self.plan.sample == 0:
            return None
        chosen = rng.choice(len(self.val), min(self.plan.sample, len(self.val)), replace=False)
        pairs = [self.val[i] for i in sorted(chosen.tolist())]
        try:
            texts = translate(self.model, self.tokenizer, [source for source, _ in pairs])
        except Gpt2npError as error:                    # numbers that are finite in the loss, but not here
            return f"({error})"
        return "\n".join(f"{source} -> {text} ({target})" if text != target else f"{source} -> {text}"
                         for (source, target), text in zip(pairs, texts))


# ---- figures


def loss_and_accuracy(parallel: Parallel, batches: PairBatches, done: Callable[[int], None]) -> dict[str, float]:
    """The mean loss of a target token of all pairs, and the share of tokens that the model holds for the likeliest.

    Each token is predicted from the source and the right ones before it.
    """
    total = np.zeros(3)
    for i in range(len(batches)):
        total += parallel.total(partial(token_sums, parallel.replicas[0]), tuple(batches.batch(i)))
        done(i + 1)
    loss, right, n = total
    return {"val_loss": float(loss / n), "val_accuracy": float(right / n)}


def tokenisation_of(references: Iterable[str]) -> str:
    """By what tokens BLEU is taken where nobody says it: characters one by one for Chinese, words elsewhere."""
    name = "zh" if scripts_of(references)[:1] == ("CJK",) else "13a"
    assert name in TOKENISATIONS
    return name


def count_exact(model: Transformer, tokenizer: AnyTokenizer, pairs: Sequence[TextPair]) -> tuple[int, int]:
    """Of how many pairs the translation, greedy, is the target, letter by letter; and of how many."""
    texts = translate(model, tokenizer, [source for source, _ in pairs])
    return sum(text == target for text, (_, target) in zip(texts, pairs)), len(pairs)


# ---- how a run on pairs begins


def new_task(out: str | Path, plan: TranslationPlan, files: Sequence[str], *, val: str | None = None,
             init_from: str | Path | None = None, config: TransformerConfig | None = None,
             vocabulary: AnyTokenizer | None = None, fit: Collection[str] = (), epochs: float | None = None,
             warn: Callable[[str], None] = print) -> Translation:
    """The task of a new run, with its pairs in the run's folder `out`, and its plan settled.

    files        of pairs to learn from, see pairs.py; none: generated ones, see number_pairs.py
    val          a file of pairs to measure by; None for some of those, or for generated ones that are not learned from
    init_from    the model to go on from, a name or a path; or
    config       TransformerConfig of a new model, which begins with random weights
    vocabulary   the new model's; None to learn config.n_vocab tokens from both sides of the pairs; of generated ones,
                 where n_vocab may become less, a token for each character
    fit          which of n_vocab and warmup may become less, where pairs or steps are few
    epochs       how often the pairs are gone through; None for the plan's number of steps
    warn         is told what is to be said of the pairs
    """
    if files:
        train = list(read_pairs(files))
        train, held_out = split(train) if val is None else (train, list(read_pairs([val])))
    else:
        train, held_out = number_pairs(NUMBERS, plan.seed), number_pairs(MOST_HELD_OUT, plan.seed, held_out=True)
    tokenizer: AnyTokenizer
    if config is None:
        model, tokenizer = translator_to_train(init_from or loading.TRANSLATION, plan)
        adapt(model, plan)
        plan = replace(plan, context=min(plan.context, model.n_ctx)) if "context" in fit else plan
    else:
        tokenizer = vocabulary or (learn(train, config.n_vocab, "n_vocab" in fit) if files or "n_vocab" not in fit else
                                   of_characters(train))
        model = Transformer(replace(config, n_vocab=tokenizer.n_vocab, n_ctx=plan.context,
                                    scripts=scripts_of(source for source, _ in train)),
                            np.random.default_rng(plan.seed), plan.dropout, recompute=plan.recompute,
                            label_smoothing=plan.label_smoothing)
    task = Translation(model, tokenizer, train, held_out, plan)
    task.plan = fitted(plan, fit, len(task.batches), model.config.n_embd, epochs)
    task.begin_adapting(None if config is not None else init_from or loading.TRANSLATION)
    if task.cut:
        warn(f"{task.cut:,} of {len(train):,} pairs have a side of more than {plan.context:,} tokens: what is beyond "
             "is left out (--context)")
    for name, pairs in ((TRAIN, train), (VAL, held_out)):
        write_text(Path(out, name), "".join(f"{source}\t{target}\n" for source, target in pairs))
    return task


def translator_to_train(name_or_path: str | Path, plan: TranslationPlan) -> tuple[Transformer, AnyTokenizer]:
    """A model and its tokenizer for training: with the plan's options, and in memory of its own: the files may go."""
    loaded, tokenizer = loading.load_with_tokenizer(name_or_path, kind=Transformer)
    model = Transformer(loaded.config, dropout=plan.dropout, recompute=plan.recompute,
                        label_smoothing=plan.label_smoothing)
    for (_, p), (_, stored) in zip(model.named_parameters(), loaded.named_parameters()):
        p.value = np.array(stored.value, order="C")
    return model, tokenizer


def fitted(plan: TranslationPlan, fit: Collection[str], batches: int, n_embd: int,
           epochs: float | None) -> TranslationPlan:
    """The plan for pairs that make so many batches, and a model of this width: see new_task."""
    if epochs is not None:
        plan = replace(plan, steps=max(1, round(epochs * batches)))
    if "warmup" in fit:
        plan = replace(plan, warmup=min(plan.warmup, plan.steps // 2))
    return replace(plan, lr=noam_peak(n_embd, plan.warmup)) if plan.schedule == NOAM else plan


def split(pairs: Sequence[TextPair]) -> tuple[list[TextPair], list[TextPair]]:
    """Pairs to learn from, and pairs to measure by: of some sources, which are chosen by what they say, all pairs."""
    n = max(1, min(MOST_HELD_OUT, round(HELD_OUT * len(pairs))))
    order = sorted(pairs, key=lambda pair: (zlib.crc32(pair[0].encode()), pair[0]))
    chosen = {source for source, _ in order[:n]}
    return ([pair for pair in pairs if pair[0] not in chosen], [pair for pair in pairs if pair[0] in chosen])


def learn(pairs: Iterable[TextPair], n_vocab: int, at_most: bool) -> Tokenizer:
    """One vocabulary of both sides, of so many tokens, or, if that is allowed, of as many as the pairs suffice for.

    Sennrich, Haddow, Birch 2016, arXiv:1508.07909, section 3.2: so names and numbers are cut alike on both sides.
    """
    counts = Counter(piece for pair in pairs for text in pair for pieces in cut(text) for piece in pieces)
    tokenizer = Tokenizer(learn_merges(counts, n_vocab - 257, progress=True))
    if tokenizer.n_vocab < n_vocab and not at_most:
        raise TrainingError(f"n_vocab: expected at most the {tokenizer.n_vocab:,} tokens that the pairs suffice for, "
                            f"got {n_vocab:,}: ask for fewer, or give more pairs")
    return tokenizer


def of_characters(pairs: Iterable[TextPair]) -> Tokenizer:
    """A vocabulary with a token for each character, so that each digit is one, whatever stands beside it."""
    counts = Counter(character for pair in pairs for text in pair for character in text)
    return Tokenizer(learn_merges(counts, 3 * len(counts)))     # of the bytes of a character, at most four


def encoded(pairs: Iterable[TextPair], tokenizer: AnyTokenizer, n_ctx: int,
            source_end: bool = False) -> tuple[list[Pair], int]:
    """The ids of some pairs, none of more than n_ctx, with the target's end; and how many of the pairs were cut.

    source_end   whether a source ends, too: see TransformerConfig
    """
    found, cut_short, end = [], 0, [end_of(tokenizer)] * source_end
    for pair in pairs:
        source, target = map(tokenizer.encode, pair)
        found.append((source[:n_ctx - len(end)] + end, target[:n_ctx - 1]))
        cut_short += len(source) + len(end) > n_ctx or len(target) >= n_ctx
    return found, cut_short


def expect_room_to_train(config: TransformerConfig, plan: Any) -> None:
    """MemoryError where weights, gradients, moments, logits and activations cannot all be there."""
    tokens = -(-plan.batch_tokens // plan.accumulate)
    kept = config.n_vocab + (1 if plan.recompute else 20) * config.n_layer * config.n_embd
    expect_room(4 * ((3 + plan.threads) * config.n_parameters + tokens * kept),
                f"training {config.n_parameters:,} parameters on {tokens:,} positions at once")
