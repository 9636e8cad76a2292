"""How a run on labelled examples begins: what it learns from, its labels, its model.

Chapter: S002 3.2.
"""

import json
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from ..checkpoints.files import write_text
from ..memory import expect_room
from ..models.config import BertConfig, GPT2Config
from ..models.heads import Classifier
from ..text.bpe import Tokenizer, cut
from ..text.bpe_train import learn_merges
from ..text.protocol import AnyTokenizer
from ..text.wordpiece import WordPiece, learn_characters
from . import made_up
from .adapting import adapt
from .augmenting import lines_of_synonyms, words_in
from .errors import TrainingError
from .findings import Both, Findings
from .finetuning import LABELS, NARROW, TEST, TRAIN, VAL, FineTuning
from .label_rows import LAST
from .labelled import Answered, Repaired, Tagged, Warn, write_examples
from .mpi import Parallel
from .named_entities import NamedEntities
from .question_answering import QuestionAnswering
from .schedules import NOAM, noam_peak
from .tasks import Progress, unseen
from .text_classification import SYNONYMS_FILE, TextClassification, TextRegression
from .written_answers import WrittenAnswers

HELD_OUT, MOST_HELD_OUT = 0.1, 1000     # of the examples, those that are measured by where no others are
MADE, MADE_TO_MEASURE = 20_000, 500     # examples that are made up where there is no file
TUNED_LR, NARROW_LR = 5e-5, 5e-4        # of a model that has learned before, and of a narrow one


# ---- how a run on examples begins


def new_task(kind: type[FineTuning], out: str | Path, plan: Any, files: Sequence[str], *, val: str | None = None,
             test: str | None = None, init_from: str | Path | None = None, new_head: bool = False,
             config: Any = None, vocabulary: AnyTokenizer | None = None, language: str = "both",
             synonyms: str | None = None, fit: Collection[str] = (), epochs: float | None = None,
             warn: Warn = print) -> FineTuning:
    """The task of a new run, with its examples in the run's folder `out`, and its plan settled.

    files        of examples to learn from, see labelled.py; none: made ones, see made_up.py, in `language`
    val, test    files to measure by, while it learns and once at the end; None: some of `files`, and none
    init_from    the model to go on from, a name or a path, and new_head: without the head that it has; or
    config       BertConfig or GPT2Config of a new model, which begins with random weights
    vocabulary   the new model's; None to learn config.n_vocab pieces from the texts
    synonyms     a file of them, see augmenting.py; None: of made examples, those of made_up.py, where the plan asks
    fit          which of n_vocab, context, lr, warmup and label_on may be others, where nothing was asked for
    epochs       how often the examples are gone through; None for the plan's number of steps
    warn         is told what is to be said of the examples
    """
    said = list[Any]()
    train, held_out, tested = examples_of(kind, plan, files, val, test, language, said.append)
    for words in said:
        warn(words)
    labels, others = kind.labels_of(train), kind.synonyms_for(plan, synonyms, not files)
    if config is None:
        model, tokenizer, new = kind.model_to_train(init_from or "", plan, labels, new_head, warn)
        head = ["head"] if isinstance(model, Classifier) else []
        adapt(model, plan, kind.first_tokens(tokenizer, train, plan.prefix_length), besides=[*head, *new])
        if "context" in fit:
            plan = replace(plan, context=min(plan.context, model.n_ctx))
        if "lr" in fit:
            plan = replace(plan, lr=NARROW_LR if model.config.n_embd < NARROW else TUNED_LR)
    else:
        texts = [text for example in chain(train, held_out) for text in kind.texts_of(example)]
        texts += words_in(others)
        tokenizer = vocabulary or learn(texts, config, "n_vocab" in fit, kind.lower_case)
        expect_tokenizer(config, tokenizer)
        model = kind.new_model(replace(config, n_vocab=tokenizer.n_vocab, n_ctx=plan.context), labels, plan)
    if kind is NamedEntities and "label_on" in fit and isinstance(model.config, GPT2Config):
        plan = replace(plan, label_on=LAST)
    task = kind(model, tokenizer, labels, train, held_out, plan, tested)
    if long := len(task.rows) - len(task.train):
        warn(f"{long + len(task.train):,} rows for {len(task.train):,} examples: texts of more than {plan.context:,} "
             "positions are read in windows that share a half (--context)")
    if epochs is not None:
        plan = replace(plan, steps=max(1, round(epochs * len(task.batches))))
    if "warmup" in fit:
        plan = replace(plan, warmup=max(1, plan.steps // 10))
    if plan.schedule == NOAM:
        plan = replace(plan, lr=noam_peak(model.config.n_embd, plan.warmup))
    task.plan = plan
    task.repaired = [words for words in said if isinstance(words, Repaired)]
    task.begin_adapting(init_from if config is None else None)
    for name, examples in ((TRAIN, train), (VAL, held_out), (TEST, tested)):
        write_examples(Path(out, name), examples)
    if others:
        write_text(Path(out, SYNONYMS_FILE), lines_of_synonyms(others))
    about = labels._asdict() | {"repaired": task.repaired}
    write_text(Path(out, LABELS), json.dumps(about, ensure_ascii=False) + "\n")
    return task


def examples_of(kind: type[FineTuning], plan: Any, files: Sequence[str], val: str | None, test: str | None,
                language: str, warn: Warn) -> tuple[list[Any], list[Any], list[Any]]:
    """Examples to learn from, to measure by while that goes on, and to measure by once, at the end."""
    if not files:
        return (kind.made(MADE, plan.seed, language, made_up.TRAIN),
                kind.made(MADE_TO_MEASURE, plan.seed, language, made_up.VAL),
                kind.made(MADE_TO_MEASURE, plan.seed, language, made_up.TEST))
    train = [example for file in files for example in some_of(file, kind.read(file, plan, warn))]
    if val is None:
        train, held_out = split(train, kind.in_order)
        if not train:
            raise TrainingError("examples: expected at least two different ones, to learn from and to measure by, got "
                                f"{held_out[0]!r:.60} alone: give more, or --val")
    known = kind.labels_of(train)
    if val is not None:
        held_out = some_of(val, kind.read(val, plan, warn, known))
    elif unknown := sorted({label for example in held_out for label in kind.labels_in(example)} - set(known.names)):
        raise TrainingError(f"--val: expected one, for the examples that are held out to measure by have labels that "
                            f"no other has: {', '.join(unknown)[:80]}")
    return train, held_out, some_of(test, kind.read(test, plan, warn, known)) if test is not None else []


def some_of(name: str, examples: list[Any]) -> list[Any]:
    """The examples of a file; TrainingError where there are none."""
    if not examples:
        raise TrainingError(f"{name}: expected at least one example, got none")
    return examples


def split(examples: Sequence[Any], in_order: bool) -> tuple[list[Any], list[Any]]:
    """Examples to learn from and to measure by: the last ones, where neighbours are of one page; or chosen by what they
    say, so that one that is there twice is on one side.
    """
    n = max(1, min(MOST_HELD_OUT, round(HELD_OUT * len(examples))))
    if in_order:
        return list(examples[:-n]), list(examples[-n:])
    order = sorted(examples, key=lambda example: (zlib.crc32(str(example[:2]).encode()), str(example[:2])))
    chosen = {str(example[:2]) for example in order[:n]}
    return ([example for example in examples if str(example[:2]) not in chosen],
            [example for example in examples if str(example[:2]) in chosen])


def learn(texts: Sequence[str], config: Any, at_most: bool, lower_case: bool) -> AnyTokenizer:
    """A vocabulary of config.n_vocab pieces, or, if that is allowed, of as many as the texts suffice for: of their
    characters for a BERT, of bytes for a GPT-2.

    lower_case   whether capitals become small letters; where names are looked for, they say something
    """
    tokenizer: AnyTokenizer
    if isinstance(config, BertConfig):
        tokenizer = learn_characters(texts, config.n_vocab, do_lower_case=lower_case)
    else:
        counts = Counter(piece for text in texts for pieces in cut(text) for piece in pieces)
        tokenizer = Tokenizer(learn_merges(counts, config.n_vocab - 257))
    if tokenizer.n_vocab < config.n_vocab and not at_most:
        raise TrainingError(f"n_vocab: expected at most the {tokenizer.n_vocab:,} pieces that the texts suffice for, "
                            f"got {config.n_vocab:,}: ask for fewer, or give more text")
    return tokenizer


def expect_tokenizer(config: Any, tokenizer: AnyTokenizer) -> None:
    """TrainingError where a body cannot use a vocabulary."""
    if isinstance(config, BertConfig) and not isinstance(tokenizer, WordPiece):
        raise TrainingError("--vocab: expected a folder with vocab.txt, for BERT needs [CLS] and [SEP], got a "
                            "byte-level BPE")


def expect_room_to_train(config: Any, plan: Any) -> None:
    """MemoryError where weights, gradients, moments and activations cannot all be there."""
    rows = -(-plan.batch // plan.accumulate)
    kept = (1 if plan.recompute else 20) * config.n_layer * config.n_embd
    expect_room(4 * ((3 + plan.threads) * config.n_parameters + rows * plan.context * kept),
                f"training {config.n_parameters:,} parameters on {rows:,} rows of {plan.context:,} positions at once")


TASKS: dict[str, type[FineTuning]] = {
    "ner": NamedEntities, "classify": TextClassification, "regress": TextRegression, "qa": QuestionAnswering,
    "answer": WrittenAnswers}


# ---- how it ends


TITLES = {"ner": Both("Names in sentences", "句子里的名字"), "classify": Both("Labels of texts", "文本的标签"),
          "regress": Both("Numbers of texts", "文本的数值"), "qa": Both("Answers in a text", "文中的答案"),
          "answer": Both("Written answers", "写出的答案")}
MADE_UP = Both(
    "The texts are made up from templates and lists, so what is right is known from how they are made; the names and "
    "things in them stand in no example to learn from.",
    "这些文本由模板和词表生成，正确答案由生成方式得知；其中的名字和事物都没有出现在训练样本里。")
NO_TEST = Both("There was no test (--test): these examples have also said which model is the best, so the figures are "
               "a little too good.", "没有单独的测试集（--test）：这些样本也用来挑选最好的模型，所以成绩略微偏高。")
ONCE = Both("This test was used once, at the end.", "测试集只在最后用了一次。")
AGAIN = Both("This test has been used before: the run went on after it. What is tuned by it is no longer measured by "
             "it.", "测试集以前已用过一次：之后又继续训练了。若按它来调整，它就不再是测试。")


def reported(task: FineTuning, parallel: Parallel, about: dict[str, Any], step: int, again: bool,
             progress: Progress = unseen) -> tuple[Both, Findings]:
    """The title and what there is to say of the best model, which `task` has.

    about   what run.json says
    step    after which it was the best
    again   whether a report was written before
    """
    examples, rows = (task.test, task.encoded(task.test)) if task.test else (task.val, task.val_rows)
    loss, predictions = task.predicted(parallel, examples, rows, progress)
    findings = task.findings(examples, predictions, loss)
    name = next(name for name, kind in TASKS.items() if kind is type(task))
    source = ", ".join([Path(file).name for file in about["files"]]) or "made-up examples"
    start = about.get("init_from")
    findings.notes[:0] = [
        Both(f"{len(task.train):,} examples to learn from ({source}), {len(examples):,} measured; "
             f"{start or 'a new model'}, step {step:,}.",
             f"训练样本 {len(task.train):,} 个（{source if about['files'] else '生成的'}），测量 {len(examples):,} 个；"
             f"{start or '新模型'}，第 {step:,} 步。"),
        *map(in_both, task.repaired), *([] if about["files"] else [MADE_UP]), *remembered(task.train, examples),
        *([AGAIN if again else ONCE] if task.test else [NO_TEST])]
    return TITLES[name], findings


def remembered(train: Sequence[Any], measured: Sequence[Any]) -> list[Both]:
    """A note on examples that are measured, and were learned from too, where there are some."""
    learned = {asked_in(example) for example in train}
    if not (n := sum(asked_in(example) in learned for example in measured)):
        return []
    return [Both(f"{n:,} of the {len(measured):,} measured stand among the examples to learn from, too: of those it "
                 "shows what the model remembers, and not what it can tell of new ones.",
                 f"测量的 {len(measured):,} 个样本里有 {n:,} 个也是训练样本：它们只说明模型记住了什么，"
                 "不说明它对新样本的判断。")]


def asked_in(example: Any) -> str:
    """What an example says without what is right of it."""
    return str(list(example[0]) if isinstance(example, Tagged) else example[:1 if isinstance(example, Answered) else 2])


def in_both(repaired: Repaired) -> Both:
    """What was repaired in a file, for a report."""
    name, broken, n = Path(repaired.file).name, f"{repaired.broken:,}", f"{repaired.n:,}"
    return Both(f"{name}: {broken} of {n} tags are broken in {repaired.scheme}, and were repaired by conlleval's rule.",
                f"{name}：{n} 个标记中有 {broken} 个不合 {repaired.scheme}，已按 conlleval 的规则修复。")
