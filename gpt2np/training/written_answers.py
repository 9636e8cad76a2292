"""Prompts and the answers that a GPT-2 is to write after them: summaries, dialogue.

Chapter: S002 3.4.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ..decoding import columns, generate_batch
from ..errors import Gpt2npError
from ..hints import Array
from ..layers.cross_entropy import IGNORED
from ..models.config import BertConfig, GPT2Config
from ..models.gpt2 import GPT2
from ..sampling import Sampler
from ..text.protocol import AnyTokenizer
from .by_length import ByLength
from .errors import TrainingError
from .evaluation import token_sums
from .findings import PREDICTED, RIGHT, THE_MODEL, Both, Findings, Line, Mistake, worst
from .finetuning import Encoded, FineTuning, FineTuningPlan, Labels
from .label_rows import NO_SPACE, Row, ends, padded
from .labelled import Answered, Warn, read_answered
from .language_modelling import load_to_train
from .mpi import Parallel
from .named_entities import in_a_row
from .parallel import Batch
from .plan import at_least
from .question_answering import words_f1
from .tasks import Progress, unseen


@dataclass(frozen=True)
class AnswersPlan(FineTuningPlan):
    """A run on prompts with answers."""

    answers: Annotated[int, at_least(0), "answers that are written at each evaluation, greedily, and compared; 0 for "
                       "none"] = 20


PROMPT = Both("prompt", "提示")


class WrittenAnswers(FineTuning):
    """Prompts and the answers that a GPT-2 is to write after them; the loss is that of the answers alone.

    An answer ends with <|endoftext|>, which it learns to write, too.
    """

    name = "written answers"
    plan_type = AnswersPlan
    kind = Answered

    @classmethod
    def read(cls, path: str, plan: Any, warn: Warn, known: Labels | None = None) -> list[Answered]:
        return read_answered(path)

    @classmethod
    def labels_of(cls, examples: Sequence[Any]) -> Labels:
        return Labels(())

    @classmethod
    def first_tokens(cls, tokenizer: AnyTokenizer, examples: Sequence[Answered], n: int) -> Array | None:
        ids = (i for example in examples for i in prompt_and_answer(tokenizer, example, n + 1)[0])
        return np.fromiter(islice(ids, n), int)

    def encoded(self, examples: Sequence[Answered]) -> list[Encoded]:
        found = []
        for number, example in enumerate(examples):
            ids, n = prompt_and_answer(self.tokenizer, example, self.plan.context)
            target = [IGNORED] * (n - 1) + ids[n:]      # each id is predicted where the one before it stands
            found.append(Encoded(Row(ids[:-1], [0] * (len(ids) - 1), 0, n), target, number))
        return found

    def batch_of(self, rows: Sequence[Encoded]) -> Batch:
        tokens, _, _ = padded([one.row for one in rows], 0)
        return tokens, self.targets([one.target for one in rows], tokens.shape[1])

    def inputs(self, batch: Batch) -> Batch:
        return batch[:1]

    def tokens(self, batch: Batch) -> int:
        return batch[0].size

    def targets(self, targets: Sequence[Any], T: int) -> Array:
        return in_a_row(targets, T)

    def evaluate(self, parallel: Parallel, progress: Progress) -> dict[str, float]:
        """The mean loss of an answer's token, the share of them that are the likeliest, and how many answers are right.
        """
        figures = self.token_figures(parallel, self.val_rows, progress)
        some = self.val[:self.plan.answers]
        if some:
            written = self.written(some)
            figures |= {f"val_{name}": value for name, value in self.figures(some, written).items()}
        return {"val_loss": figures.pop("loss"), "val_accuracy": figures.pop("accuracy")} | figures

    def token_figures(self, parallel: Parallel, rows: Sequence[Encoded], progress: Progress = unseen
                      ) -> dict[str, float]:
        """The mean loss of a token of the answers, and the share of those that the model holds for the likeliest."""
        total = np.zeros(3)
        by_length = ByLength([len(one.row.ids) for one in rows], self.plan.batch, 0).each()
        for done, chosen in enumerate(by_length, 1):
            total += parallel.total(partial(token_sums, parallel.replicas[0]), self.batch_of([rows[i] for i in chosen]))
            progress(done, len(by_length))
        return {"loss": float(total[0] / total[2]), "accuracy": float(total[1] / total[2])}

    def written(self, examples: Sequence[Answered]) -> list[str]:
        """What the model writes after the prompts, greedily, up to <|endoftext|>."""
        end, answers = self.tokenizer.end_of_text, list[str]()
        for first in range(0, len(examples), self.plan.batch):
            encoded = [prompt_and_answer(self.tokenizer, example, self.plan.context)
                       for example in examples[first:first + self.plan.batch]]
            most = max(1, *(min(self.model.n_ctx - n, 2 * (len(ids) - n) + 8) for ids, n in encoded))
            try:
                rows = generate_batch(self.model, [ids[:n] for ids, n in encoded], most,
                                      Sampler(temperature=0, end_of_text=end))
                written = columns(rows)
            except Gpt2npError:                         # numbers that are finite in the loss, but not here
                written = [[] for _ in encoded]
            answers += [self.tokenizer.decode([i for i in ids if i != end]).strip() for ids in written]
        return answers

    def figures(self, examples: Sequence[Answered], predictions: Sequence[str]) -> dict[str, float]:
        pairs = [(one.answer, found) for one, found in zip(examples, predictions)]
        return {"f1": sum(words_f1(*pair) for pair in pairs) / len(pairs),
                "exact": sum(gold.strip() == found for gold, found in pairs) / len(pairs)}

    def shown(self, example: Answered, prediction: str) -> str:
        right = example.answer.strip() == prediction
        return f"{example.prompt} -> {prediction}" + f" ({example.answer})" * (not right)

    def predicted(self, parallel: Parallel, examples: Sequence[Any], rows: Sequence[Encoded],
                  progress: Progress = unseen) -> tuple[float, list[Any]]:
        return self.token_figures(parallel, rows, progress)["loss"], list(self.written(examples))

    def findings(self, examples: Sequence[Answered], predictions: Sequence[str], loss: float) -> Findings:
        commonest = Counter(one.answer for one in self.train).most_common(1)[0][0]
        scores = [(THE_MODEL, [*self.figures(examples, predictions).values(), loss]),
                  (Both("who always writes the commonest answer", "总写最常见的答案"),
                   [*self.figures(examples, [commonest] * len(examples)).values(), np.nan])]
        wrong = [Mistake([Line(PROMPT, [(one.prompt, "")]), Line(RIGHT, [(one.answer, "")]),
                          Line(PREDICTED, [(its, "")])], 1 - words_f1(one.answer, its))
                 for one, its in zip(examples, predictions) if one.answer.strip() != its]
        return Findings(("F1", "exact", "loss"), scores, len(examples), len(wrong), mistakes=worst(wrong))

    @classmethod
    def new_model(cls, config: BertConfig | GPT2Config, labels: Labels, plan: Any) -> Any:
        if not isinstance(config, GPT2Config):
            raise TrainingError("--body: expected gpt2 with --task answer, for a BERT does not write, got bert")
        return GPT2(config, np.random.default_rng(plan.seed), plan.dropout, recompute=plan.recompute)

    @classmethod
    def model_to_train(cls, name_or_path: str | Path, plan: Any, labels: Labels, new_head: bool = False,
                       warn: Warn | None = None) -> tuple[Any, AnyTokenizer, list[str]]:
        return *load_to_train(name_or_path, plan), []


def prompt_and_answer(tokenizer: AnyTokenizer, example: Answered, context: int) -> tuple[list[int], int]:
    """The ids of a prompt, its answer and <|endoftext|>, and where the answer begins.

    A space before the answer, where neither brings one and both are not Chinese, belongs to the answer.  What is too
    long loses the beginning of its prompt, and only then the end of the answer: context + 1 ids are left, of which each
    but the first is predicted.
    """
    prompt, answer = example
    apart = not (prompt[-1].isspace() or answer[0].isspace() or NO_SPACE.match(prompt[-1]) or NO_SPACE.match(answer[0]))
    begin = ends(tokenizer)
    ids, its = tokenizer.encode(prompt), tokenizer.encode(" " * apart + answer)[:context - 1] + begin
    ids = ids[max(0, len(ids) + len(its) - context - 1):] or begin
    return ids + its, len(ids)
