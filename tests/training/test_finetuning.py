"""Fine-tuning: what is learned and predicted, how a run goes on, what is reported, and what is refused."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

import gpt2np
from gpt2np import finetune
from gpt2np.models.bert import BERT
from gpt2np.models.config import BertConfig, GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import AnswerFinder, Classifier, TokenClassifier
from gpt2np.text.bpe import Tokenizer
from gpt2np.training import run_folder
from gpt2np.training.errors import TrainingError
from gpt2np.training.finetuning import FineTuningPlan, Labels
from gpt2np.training.labelled import Answered, Asked, Classified, Tagged, Valued, read_tagged
from gpt2np.training.named_entities import NamedEntities, Names, NamesPlan, known_names, looked_up
from gpt2np.training.new_finetuning import new_task, split
from gpt2np.training.parallel import DataParallel
from gpt2np.training.question_answering import QuestionAnswering, words_f1
from gpt2np.training.text_classification import ChoicePlan, TextClassification, TextRegression, correlation, ranks
from gpt2np.training.written_answers import AnswersPlan, WrittenAnswers, prompt_and_answer
from tests.training.test_loop import records

NAMES = "王 B-PER\n明 I-PER\n在 O\n京 B-LOC\n\n李 B-PER\n去 O\n京 B-LOC\n州 I-LOC\n\n我 O\n在 O\n家 O\n"
TINY = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--batch", "4", "--context", "16", "--warmup", "2",
        "--eval-every", "2", "--sample", "1", "--threads", "2"]
FILES = {
    "ner": NAMES * 4,
    "classify": "好极了\tpos\n差极了\tneg\n真好\tpos\n真差\tneg\n很好\tpos\n很差\tneg\n" * 2,
    "regress": "one\t1\none two\t2\none two three\t3\none one\t2\n",
    "qa": "小明在北京工作。\t小明在哪里？\t北京\nBob likes red apples\tWhat does Bob like?\tred apples\n",
    "answer": "三\t3\n五\t5\none\t1\ntwo\t2\n" * 2,
}
BERT_SIZES, GPT2_SIZES = BertConfig(99, 16, 16, 2, 1, 32), GPT2Config(300, 16, 16, 2, 1)


@pytest.fixture(autouse=True)
def no_lasting_settings(monkeypatch, tmp_path):
    monkeypatch.setattr(finetune, "keep_freed_memory", lambda: None)
    monkeypatch.setenv("GPT2NP_WEIGHTS", str(tmp_path / "weights"))


@pytest.fixture
def files(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def command(files, task, out="run", *more, file=None):
    path = str(files / (file or task))
    return ["--task", task, path, "--val", path, "--out", str(files / out), "--steps", "3", *TINY, *more]


def begun(kind, files, name, config=BERT_SIZES, plan=None, **options):
    (out := files / f"begun-{name}").mkdir()
    plan = plan or kind.plan_type(steps=4, batch=4, context=16, warmup=2, dropout=0.0)
    path = str(files / name)
    return new_task(kind, out, plan, [path], val=path, config=config, fit=("n_vocab", "label_on"), **options)


# ---- the commands


@pytest.mark.parametrize("task, body", [("ner", "bert"), ("ner", "gpt2"), ("classify", "bert"), ("regress", "gpt2"),
                                        ("qa", "gpt2"), ("answer", "gpt2"), ("answer", "bert")])
def test_a_run_ends_with_a_report(files, task, body, capsys):
    if (task, body) == ("answer", "bert"):
        assert finetune.main(command(files, task, "run", "--body", body)) == 1
        assert capsys.readouterr().err.endswith("--body: expected gpt2 with --task answer, for a BERT does not write, "
                                                "got bert\n")
        assert not (files / "run").exists()
        return
    assert finetune.main([*command(files, task, "run", "--body", body), "--test", str(files / task)]) == 0
    said = capsys.readouterr().out
    report = (files / "run" / "report.txt").read_text(encoding="utf-8")
    assert report.partition("\n\nThe worst mistakes:")[0].rstrip() in said
    assert "This test was used once, at the end." in report and "the model   " in report
    model, tokenizer = gpt2np.load(files / "run" / "best")
    expected = {"ner": TokenClassifier, "classify": Classifier, "regress": Classifier, "qa": AnswerFinder,
                "answer": GPT2}[task]
    assert type(model) is expected and tokenizer is not None
    if expected is not GPT2:
        assert isinstance(model.body, BERT if body == "bert" else GPT2)
    page = (files / "run" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|src=|@import|url\(", page) and page.count("<html") == page.count("</html>") == 1
    assert page.count('lang="en">') == page.count('lang="zh-CN">') + 1      # <html lang="en">, and each in both


@pytest.mark.parametrize("task", ["ner"])
def test_a_resumed_run_is_the_same(files, task, capsys):
    options = ["--dropout", "0.1"] + ["--answers", "2"] * (task == "answer")
    assert finetune.main([*command(files, task, "whole", *options), "--test", str(files / task)]) == 0
    short = command(files, task, "parts", *options)
    short[short.index("--steps") + 1] = "3"
    assert finetune.main([*short, "--test", str(files / task), "--save-every", "1", "--keep", "9"]) == 0
    # As it was after two steps of four, and after its evaluation.
    for folder in run_folder.checkpoints(files / "parts")[3:]:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    capsys.readouterr()
    assert finetune.main(["--resume", str(files / "parts")]) == 0
    assert (files / "parts" / "report.txt").read_bytes() == (files / "whole" / "report.txt").read_bytes()
    whole, parts = (records(files / name) for name in ("whole", "parts"))
    for record in (*whole, *parts):
        record.pop("tokens_per_second", None)
    assert whole == parts
    names = ("model.safetensors",) if task == "ner" else ("model.ckpt.data-00000-of-00001",)
    for name in names:
        assert (files / "whole" / "best" / name).read_bytes() == (files / "parts" / "best" / name).read_bytes()


def test_a_head_alone_is_trained(files, capsys):
    """--train-only: the body stays as it was, to the bit."""
    assert finetune.main(command(files, "ner", "first")) == 0
    path = command(files, "ner", "second", "--train-only", "head", "--init-from", str(files / "first"), "--best-by",
                   "loss", "--lr", "0.01")
    path = [a for i, a in enumerate(path) if a not in ("--n-layer", "--n-head", "--n-embd") and
            path[i - 1] not in ("--n-layer", "--n-head", "--n-embd")]
    assert finetune.main(path) == 0
    assert re.search(r"\d of [\d,]+ parameters to train", capsys.readouterr().out)
    before, after = (dict(gpt2np.load(files / name / "best")[0].named_parameters()) for name in ("first", "second"))
    changed = [name for name in before if not np.array_equal(before[name].value, after[name].value)]
    assert changed == [name for name in before if name.startswith("head.")]


def test_patience_and_best(files, capsys):
    """Ends early, and keeps the best: by F1 the highest, by loss the lowest."""
    for by in ("f1", "loss"):
        out = command(files, "classify", by, "--best-by", by, "--lr", "0.03", "--patience", "2")
        out[out.index("--steps") + 1] = "20"
        assert finetune.main(out) == 0
        logged = [record for record in records(files / by) if "val_loss" in record]
        figures = [record[f"val_{by}"] for record in logged]
        best = figures.index(max(figures) if by == "f1" else min(figures))
        assert [record["step"] for record in logged if record["best"]][-1] == logged[best]["step"]
        assert len(figures) == best + 3 or logged[-1]["step"] == 20


REFUSED = [
    ("ner", "a O\nb\n", "{0}, line 2: expected a word, blanks and its tag, got 'b'"),
    ("ner", "a O\n\nb O\n", "labels: expected names to learn, got none: every tag is O"),
    ("ner", "", "{0}: expected at least one example, got none"),
    ("classify", "a\tx\nb\tx\n", "labels: expected at least two to tell apart, got 'x' alone"),
    ("regress", "a\tnan\n", "{0}, line 1: expected a finite number, got 'nan'"),
    ("qa", "a\tb\tc\n", "{0}, line 1: expected an answer that stands in the context, got 'c'"),
    ("answer", "a\n", "{0}, line 1: expected a prompt, a tab and its answer, got 1 in 'a'"),
]


@pytest.mark.parametrize("task, text, problem", REFUSED)
def test_bad_input_is_one_sentence(files, capsys, task, text, problem):
    (files / "bad").write_text(text, encoding="utf-8")
    assert finetune.main(command(files, task, file="bad")) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: " + problem.format(files / "bad")) and err.count("\n") == 1
    assert not (files / "run").exists()


@pytest.mark.parametrize("task, text, got", [
    ("ner", "a B-PER\n", "Tagged("), ("classify", "a\tx\na\tx\n", "Classified("), ("answer", "a\tb\n", "Answered(")])
def test_one_example_cannot_be_learned_from_and_measured(files, capsys, task, text, got):
    (files / "one").write_text(text)
    assert finetune.main(["--task", task, str(files / "one"), "--out", str(files / "run"), *TINY]) == 1
    assert capsys.readouterr().err.startswith("error: examples: expected at least two different ones, to learn from "
                                              f"and to measure by, got {got}")


@pytest.mark.parametrize("arguments, lr", [
    (["--optimizer", "sgd"], 0.1), (["--init-from", "first", "--optimizer", "sgd"], 0.01), (["--init-from", "first"],
     5e-4), (["--schedule", "noam"], (16 * 2) ** -0.5), (["--init-from", "first", "--schedule", "noam"], 32 ** -0.5)])
def test_the_learning_rate_that_help_promises(files, arguments, lr):
    common = ["--steps", "2", "--batch", "4", "--warmup", "2", "--threads", "1"]
    if "--init-from" in arguments:
        assert finetune.main(command(files, "classify", "first")) == 0
    sizes = [] if "--init-from" in arguments else ["--n-layer", "1", "--n-head", "2", "--n-embd", "16"]
    assert finetune.main(["--task", "classify", str(files / "classify"), "--out", str(files / "run"), *common, *sizes,
                          *(str(files / "first") if one == "first" else one for one in arguments)]) == 0
    assert run_folder.read_run(files / "run")["plan"]["lr"] == pytest.approx(lr)


def test_the_last_learning_rate_is_not_above_the_highest(files, capsys):
    assert finetune.main([*command(files, "classify"), "--min-lr", "5"]) == 1
    assert capsys.readouterr().err == "error: --min-lr: expected at most the highest learning rate, 0.001, got 5\n"
    assert not (files / "run").exists()


def test_a_report_says_which_measured_examples_were_learned(files, capsys):
    (files / "test").write_text("好极了\tpos\n真差\tneg\n好极了\tneg\n从来没有\tpos\n", encoding="utf-8")
    assert finetune.main([*command(files, "classify"), "--test", str(files / "test")]) == 0
    report = (files / "run" / "report.txt").read_text("utf-8").replace("\n", " ")
    assert "3 of the 4 measured stand among the examples to learn from, too" in report
    assert "测量的 4 个样本里有 3 个也是训练样本" in (files / "run" / "report.html").read_text("utf-8")
    (files / "new").write_text("从来没有\tpos\n", encoding="utf-8")
    assert finetune.main([*command(files, "classify", "other"), "--test", str(files / "new")]) == 0
    assert "stand among the" not in (files / "other" / "report.txt").read_text("utf-8")


def test_a_report_is_made_once_for_the_same_steps(files, capsys):
    assert finetune.main([*command(files, "classify"), "--test", str(files / "classify")]) == 0
    report, page = (files / "run" / name for name in ("report.txt", "report.html"))
    first = report.read_text("utf-8")
    assert "used once" in first
    said = capsys.readouterr().out.rpartition("To use it:")[2]
    assert finetune.main(["--resume", str(files / "run")]) == 0
    assert report.read_text("utf-8") == first and capsys.readouterr().out.rpartition("To use it:")[2] == said
    page.unlink()                                       # as where the power fails between the two
    assert finetune.main(["--resume", str(files / "run")]) == 0
    assert report.read_text("utf-8") == first and page.exists()
    assert finetune.main(["--resume", str(files / "run"), "--steps", "4"]) == 0
    again = report.read_text("utf-8")
    assert "used before: the run went on after it" in again
    assert finetune.main(["--resume", str(files / "run")]) == 0 and report.read_text("utf-8") == again


def test_a_run_of_another_task_is_named(files, capsys):
    assert finetune.main(command(files, "classify")) == 0
    capsys.readouterr()
    assert finetune.main(["--resume", str(files / "run"), "--task", "ner"]) == 1
    assert capsys.readouterr().err == (f"error: {files / 'run' / 'run.json'}: expected a run of named entities, got "
                                       "one of text classification: another command, or another --task, goes on with "
                                       "it\n")


def test_a_label_that_was_not_learned(files, capsys):
    (files / "other").write_text("很好\tpos\n很怪\todd\n", encoding="utf-8")
    arguments = command(files, "classify")
    arguments[arguments.index("--val") + 1] = str(files / "other")
    assert finetune.main(arguments) == 1
    assert capsys.readouterr().err == (f"error: {files / 'other'}, line 2: expected one of the 2 known labels, "
                                       "neg, pos, got 'odd'\n")


def test_a_head_of_other_labels_is_refused_and_can_be_left_out(files, capsys):
    assert finetune.main(command(files, "ner", "first")) == 0
    (files / "fewer").write_text("王 B-PER\n去 O\n" * 3, encoding="utf-8")
    arguments = ["--task", "ner", str(files / "fewer"), "--val", str(files / "fewer"), "--out", str(files / "run"),
                 "--init-from", str(files / "first"), "--steps", "2", "--threads", "1"]
    capsys.readouterr()
    assert finetune.main(arguments) == 1
    err = capsys.readouterr().err
    best = files / "first" / "best"
    assert err.startswith(f"error: --init-from {best}: labels: expected those of the model's head, 5 ('O', ")
    assert "; --new-head begins with a new head" in err and err.count("\n") == 1
    assert finetune.main([*arguments, "--new-head"]) == 0
    assert gpt2np.load(files / "run" / "best")[0].labels == ("O", "B-PER", "I-PER")


@pytest.mark.parametrize("arguments, problem", [
    ("--task ner --val x --out run", "--val and --test: expected with FILE; made-up examples are measured by made-up"),
    ("--task qa --out run", "FILE: expected one or more with --task qa: a context, a question and its answer"),
    ("x --out run", "expected --task, one of ner, classify, regress, qa, answer (or --resume DIR)"),
    ("--task ner x", "expected --out DIR, a new folder for the run (or --resume DIR)"),
    ("--task ner x --out run --scheme IOE", "--scheme: invalid choice: 'IOE' (choose from "),
    ("--task ner --out run --scheme IOB1", "--scheme: expected with a FILE of words and tags"),
    ("--task ner x.jsonl --out run --scheme IOB1", "--scheme: expected with a FILE of words and tags"),
    ("--task ner x --out run --rank 8", "--rank: expected only with --adapt lora or adalora, got it without"),
    ("--task ner x --out run --init-from demo --adapt lora --prefix-length 3",
     "--prefix-length: expected only with --adapt prefix, got it with lora"),
    ("--task ner x --out run --schedule noam --min-lr 1e-9",
     "--min-lr: expected only with --schedule linear or cosine, which have an end, got it with noam"),
    ("--task ner x --out run --language zh", "--language: expected without FILE, for it is of what is made up"),
    ("--task ner x --out run --new-head", "--new-head: expected with --init-from"),
    ("--task ner x --out run --init-from demo --n-layer 2", "expected either --init-from or --n-layer, got both"),
    ("--task named x --out run", "--task: invalid choice: 'named' (choose from "),
    ("--task classify x --out run --label-on all", "unrecognized arguments: --label-on all"),
    ("--resume run --task ner --lr 1", "beside --resume, expected no option but --steps and --threads"),
    ("--task ner x --out run --context 2", "--context: expected a whole number of 3 or more, got 2"),
])
def test_wrong_usage(capsys, arguments, problem):
    with pytest.raises(SystemExit) as caught:
        finetune.main(arguments.split())
    out, err = capsys.readouterr()
    assert caught.value.code == 2 and err.startswith(f"error: {problem}") and not out


# ---- what is learned, and predicted


def test_names_in_windows_and_alone_are_predicted_alike(files):
    """Of a sentence that fits, what is predicted does not depend on those beside it; a longer one has all its words."""
    task = begun(NamedEntities, files, "ner")
    long = Tagged(list("王明在京李去京州我在家" * 4), ["O"] * 44)
    task.model = float64(task.model)
    examples = [*task.val, long]
    with DataParallel(task.model, 2) as parallel:
        loss, together = task.predicted(parallel, examples, task.encoded(examples))
        alone = [task.predicted(parallel, [one], task.encoded([one])) for one in examples]
    counts = [len(one.words) for one in examples]
    assert loss == pytest.approx(np.dot([its for its, _ in alone], counts) / sum(counts), rel=1e-12)
    for (_, (its,)), beside, one in zip(alone, together, examples):
        assert its.tags == beside.tags and np.allclose(its.right, beside.right, rtol=1e-12)
        assert len(its.tags) == len(one.words)
    rows = task.encoded([long])
    assert len(rows) > 2 and sorted(word for one in rows for word, _, _ in one.places) == list(range(44))
    assert sum(target != -100 for one in rows for target in one.target) == 44


def float64(model):
    for _, p in model.named_parameters():
        p.value = p.value.astype(np.float64)
    return model


@pytest.mark.parametrize("on", ["first", "last", "all"])
def test_a_word_of_several_pieces(files, on):
    """Its label stands on the pieces that --label-on says, and is read from there."""
    (files / "words").write_text("New B-LOC\nYork I-LOC\nis O\n" * 3, encoding="utf-8")
    plan = NamesPlan(steps=4, context=32, label_on=on)
    task = begun(NamedEntities, files, "words", replace(GPT2_SIZES, n_ctx=32), plan=plan)
    assert task.plan.label_on == "last"                 # where nothing was asked for, of a GPT-2
    task.plan = plan
    task.tokenizer = Tokenizer([])
    one, = task.encoded([Tagged(["New", "York", "is"], ["B-LOC", "I-LOC", "O"])])
    labels = dict(zip(task.labels.names, range(9)))
    assert [one.row.ids[first:last + 1] for _, first, last in one.places] == [
        list(task.tokenizer.encode(word)) for word in ("New", " York", " is")]
    counted = [(i, target) for i, target in enumerate(one.target) if target != -100]
    expected = [(i, labels[tag]) for (_, first, last), tag in zip(one.places, ("B-LOC", "I-LOC", "O"))
                for i in {"first": [first], "last": [last], "all": range(first, last + 1)}[on]]
    assert counted == expected
    z = np.zeros((len(one.row.ids), 3))
    at = [last if on == "last" else first for _, first, last in one.places]
    z[at, [1, 2, 0]] = 9
    assert task.prediction(task.train[0], [(one, z)]).tags[:3] == ["B-LOC", "I-LOC", "O"]


def test_bert_begins_with_the_first_piece(files):
    assert begun(NamedEntities, files, "ner").plan.label_on == "first"


def test_long_texts_and_pairs(files):
    task = begun(TextClassification, files, "classify")
    long = Classified("好" * 40, None, ["pos"])
    rows = task.encoded([long, Classified("好" * 40, "差" * 5, ["neg"]), task.train[0]])
    assert [one.example for one in rows].count(0) > 2 and all(len(one.row.ids) <= 16 for one in rows)
    pair = next(one for one in rows if one.example == 1)
    assert pair.row.segments == [0] * 10 + [1] * 6      # [CLS], eight, [SEP]; five, [SEP]
    z = [np.array([3.0, 0]), np.array([0, 1.0])]
    assert task.prediction(long, [(rows[0], its) for its in z]).labels == ["neg"]       # the mean decides


def test_several_labels_and_none(files):
    (files / "several").write_text("好\tx|y\n差\t\n真\ty\n" * 4, encoding="utf-8")
    task = begun(TextClassification, files, "several")
    assert task.labels == Labels(("x", "y"), True)
    rows = task.encoded([Classified("好", None, ["x", "y"]), Classified("差", None, [])])
    assert [one.target for one in rows] == [[1, 1], [0, 0]]
    assert task.prediction(None, [(rows[0], np.array([1.0, -1]))]).labels == ["x"]
    assert task.prediction(None, [(rows[0], np.array([-1.0, -1]))]).labels == []


def test_answers_in_a_text_longer_than_the_model(files):
    """The window with the answer points at it, the others at [CLS]; the best of all windows is the answer."""
    context = "白" * 30 + "北京" + "白" * 30
    task = begun(QuestionAnswering, files, "qa")
    example = Asked(context, "哪里", "北京", 30)
    rows = task.encoded([example])
    inside = [one for one in rows if one.target != [0, 0]]
    assert len(rows) > 4 and 1 <= len(inside) <= 2
    for one in inside:
        assert [word for word, first, _ in one.places if first in one.target] == [30, 31]
    z = [np.zeros((2, len(one.row.ids))) for one in rows]
    for one, its in zip(rows, z):
        its[[0, 1], one.target] = 9
    assert task.prediction(example, list(zip(rows, z))).answer == "北京"
    assert words_f1("The red apples", "red apples.") == pytest.approx(0.8) and words_f1("北京", "北京市") == 0.8
    backwards = np.zeros((2, len(rows[0].row.ids)))
    backwards[0, -2], backwards[1, 5] = 9, 9            # an answer that ends before it begins is none
    found = task.prediction(example, [(rows[0], backwards)]).answer
    assert found and found in context


def test_the_loss_is_that_of_the_answer_alone():
    tokenizer = Tokenizer([])
    ids, n = prompt_and_answer(tokenizer, Answered("a b:", "cd"), 32)
    assert tokenizer.decode(ids[:n]) == "a b:" and tokenizer.decode(ids[n:-1]) == " cd" and ids[-1] == 256
    assert tokenizer.decode(prompt_and_answer(tokenizer, Answered("三", "3"), 32)[0][:-1]) == "三3"
    ids, n = prompt_and_answer(tokenizer, Answered("abcdefgh", "xy"), 6)            # the end of the prompt is kept
    assert tokenizer.decode(ids[:-1]) == "fgh xy"[-6:] and len(ids) == 7
    model = GPT2(GPT2Config(257, 8, 8, 2, 1), np.random.default_rng(0))
    plan = AnswersPlan(steps=1, context=8, warmup=0, answers=0)
    example = Answered("ab", "cd")
    task = WrittenAnswers(model, tokenizer, Labels(()), [example], [example], plan)
    tokens, targets = task.batch(0)
    a, b, space, c, d = tokenizer.encode("ab cd")
    assert tokens.tolist() == [[a, b, space, c, d]] and targets.tolist() == [[-100, space, c, d, 256]]


def test_numbers(files):
    task = begun(TextRegression, files, "regress", plan=FineTuningPlan(steps=1, context=16, warmup=0))
    assert task.batch(0)[3].shape == (len(task.rows), 1)
    a, b = np.array([1.0, 2, 2, 5]), np.array([10.0, 30, 20, 25])
    assert ranks(a).tolist() == [0, 1.5, 1.5, 3]
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1]) and correlation(a, np.ones(4)) == 0
    assert set(task.figures([Valued("", None, v) for v in a], b)) == {"pearson", "spearman"}


def test_a_mistake_is_a_name_that_is_wrong(files):
    """Not a tag that spells a name in another way: I-PER for B-PER.  That is what the strict F1 tells."""
    task = begun(NamedEntities, files, "ner")
    one, other = task.val[0], task.val[1]
    right = [Names(["I-PER", *one.tags[1:]], [1.0] * 4, [0.5] * 4), Names(list(other.tags), [1.0] * 4, [1.0] * 4)]
    findings = task.findings([one, other], right, 0.0)
    assert findings.wrong == 0 and findings.scores[0][1][:3] == pytest.approx([1, 6 / 7, 7 / 8])
    wrong = [right[0]._replace(tags=["O"] * 4), right[1]]
    findings = task.findings([one, other], wrong, 0.0)
    assert findings.wrong == 1 and findings.n == 2
    assert findings.mistakes[0].lines[0].pieces == [("王明", "PER"), ("在", ""), ("京", "LOC")]
    assert findings.mistakes[0].lines[1].pieces == [("王明在京", "")]
    assert findings.mistakes[0].loss == pytest.approx(4 * np.log(2))


def test_known_names_are_looked_up():
    known = known_names([Tagged("New York is far".split(), ["B-LOC", "I-LOC", "O", "O"]),
                         Tagged(["York"], ["B-PER"]), Tagged(["York"], ["B-PER"]), Tagged(["York"], ["B-LOC"])])
    assert looked_up(known, "York New York New".split()) == ["B-PER", "B-LOC", "I-LOC", "O"]
    assert looked_up({}, ["a"]) == ["O"]


def test_what_is_held_out():
    examples = [Classified(f"text {i}", None, ["a"]) for i in range(40)]
    train, val = split(examples * 2, in_order=False)
    assert len(val) == 8 and not {e.first for e in train} & {e.first for e in val} and len(train) + len(val) == 80
    assert split(examples, in_order=True) == (examples[:36], examples[36:])


def test_a_vocabulary_of_names_keeps_capitals(files):
    (files / "words").write_text("Bob B-PER\nran O\n" * 3, encoding="utf-8")
    task = begun(NamedEntities, files, "words")
    assert "B" in task.tokenizer.pieces and task.tokenizer.options["do_lower_case"] is False
    assert begun(TextRegression, files, "regress").tokenizer.options["do_lower_case"] is True


def test_repairs_are_said(files, capsys):
    (files / "iob1").write_text("王 I-PER\n去 O\n京 I-LOC\n" * 3, encoding="utf-8")
    assert finetune.main(command(files, "ner", file="iob1")) == 0
    assert "2 of 3 tags are broken in BIO" not in capsys.readouterr().out       # three sentences are one: no empty line
    report, page = ((files / "run" / name).read_text(encoding="utf-8") for name in ("report.txt", "report.html"))
    said = "iob1: 6 of 9 tags are broken in BIO, and were repaired by conlleval's rule."
    assert " ".join(report.split()).count(said) == 2 and page.count("iob1：9 个标记中有 6 个不合 BIO") == 2
    assert page.count(said.replace("'", "&#x27;")) == 2     # of the file that is learned from, and of --val
    sentences = read_tagged(files / "iob1", "IOB1", print)
    assert sentences[0].tags[:3] == ["B-PER", "O", "B-LOC"]


@pytest.mark.slow
def test_it_learns_names_that_it_has_not_seen(tmp_path, capsys):
    assert finetune.main(["--task", "ner", "--out", str(tmp_path / "run"), "--language", "zh", "--steps", "300",
                          "--sample", "0", "--threads", "2"]) == 0
    report = (tmp_path / "run" / "report.txt").read_text()
    scores = {name: float(f1) for name, f1 in re.findall(r"^(the model|who always says O|known names looked up) +(\S+)",
                                                         report, re.MULTILINE)}
    assert scores["the model"] > 0.9 and scores["who always says O"] == scores["known names looked up"] == 0
    assert json.loads((tmp_path / "run" / "labels.json").read_text())["names"][0] == "O"


def test_a_plan_says_what_it_may_be():
    assert ChoicePlan(steps=1).best_by == "f1" and FineTuningPlan(steps=1).best_by == "loss"
    with pytest.raises(TrainingError, match="best_by: expected one of f1, loss"):
        ChoicePlan(steps=1, best_by="bleu")
