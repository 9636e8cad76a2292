"""Labels for new texts: what the command prints is what the run itself predicts, and what is refused."""

import io
import json

import numpy as np
import pytest

import gpt2np
from gpt2np import evaluate, finetune, label, labelling
from gpt2np.errors import Gpt2npError
from gpt2np.models.bert import BERT
from gpt2np.models.config import BertConfig
from gpt2np.models.heads import SQUARED, Classifier, TokenClassifier
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training.labelled import read_classified, read_tagged
from gpt2np.training.named_entities import pieces
from gpt2np.training.parallel import DataParallel
from gpt2np.training.run import plan_of
from tests.training.test_finetuning import FILES, command

TASKS = {"ner": "bert", "classify": "gpt2", "regress": "bert", "qa": "gpt2"}
PAIRS = "好\t差\tno\n好\t真好\tyes\n" * 4
SEVERAL = "好 坏\ta|b\n好\ta\n坏\tb\n无\t\n" * 2


@pytest.fixture(autouse=True)
def no_lasting_settings(monkeypatch, tmp_path):
    for module in (evaluate, label, finetune):
        monkeypatch.setattr(module, "keep_freed_memory", lambda: None)
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setenv("GPT2NP_WEIGHTS", str(tmp_path / "weights"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a run of each task, three steps long."""
    folder = tmp_path_factory.mktemp("runs")
    for name, text in (FILES | {"pairs": PAIRS, "several": SEVERAL}).items():
        (folder / name).write_text(text, encoding="utf-8")
    for task, body in (TASKS | {"answer": "gpt2"}).items():
        assert finetune.main([*command(folder, task, f"{task}-run", "--body", body, "--lr", "0.03")]) == 0
    for name in ("pairs", "several"):
        assert finetune.main(command(folder, "classify", f"{name}-run", "--lr", "0.03", file=name)) == 0
    return folder


def said(capsys, *arguments):
    """What the command prints, in lines."""
    capsys.readouterr()
    assert label.main([*map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert not err
    return out.split("\n")[:-1]


def piped(monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8"))


@pytest.mark.parametrize("task", ["ner", "classify", "regress", "qa", "pairs", "several"])
def test_what_a_run_predicts(runs, capsys, monkeypatch, task):
    """The run's own predictions for the texts of its file; from a file, a pipe and the command line alike."""
    run, kind = runs / f"{task}-run", finetune.TASKS.get(task, finetune.TASKS["classify"])
    its = kind.load(run / "best", run, plan_of(kind, run))
    with DataParallel(its.model, 1) as parallel:
        _, predicted = its.predicted(parallel, its.val, its.val_rows)
    if task == "ner":
        lines = ["".join(one.words) for one in its.val]
        expected = [its.shown(*pair) for pair in zip(its.val, predicted)]
    elif task == "qa":
        lines = [f"{one.context}\t{one.question}" for one in its.val]
        expected = [f"{line}\t{found.answer}" for line, found in zip(lines, predicted)]
    else:
        lines = [one.first if one.second is None else f"{one.first}\t{one.second}" for one in its.val]
        expected = [f"{line}\t{f'{found:.4g}' if task == 'regress' else '|'.join(found.labels)}"
                    for line, found in zip(lines, predicted)]
    assert said(capsys, *lines, "--model", run) == expected
    (runs / "new").write_text("\n".join(lines), encoding="utf-8")
    assert said(capsys, "--file", runs / "new", "--model", run, "--threads", 2) == expected
    piped(monkeypatch, "\ufeff\r\n" + "\r\n".join(lines) + "\r\n")
    assert said(capsys, "--model", run / "best") == ["", *expected]
    sure = said(capsys, *lines, "--model", run, "--probability")
    if task == "classify":
        p = [max(one.p) for one in predicted]
        assert sure == [f"{line}\t{p:.4f}" for line, p in zip(expected, p)]
    assert (sure == expected) == (task == "regress")


def test_words_in_lines(runs, capsys, monkeypatch):
    """The words of a CoNLL file, whatever stands behind them, come out with tags, as finetune reads them again."""
    run = runs / "ner-run"
    out = said(capsys, "--words", "--file", runs / "ner", "--model", run)
    (runs / "out.conll").write_text("\n".join(out), encoding="utf-8")
    found, given = read_tagged(runs / "out.conll", "BIO", print), read_tagged(runs / "ner", "BIO", print)
    assert [one.words for one in found] == [one.words for one in given]
    lines = said(capsys, *("".join(one.words) for one in given[:3]), "--model", run)
    assert lines == [label.bracketed(pieces(*one)) for one in found[:3]]
    piped(monkeypatch, "王\n明\n\n\n京")
    rows = [line.split("\t") for line in said(capsys, "--words", "--model", run, "--probability")]
    assert [row[0] for row in rows] == ["王", "明", "", "京", ""] and 0 < float(rows[0][1]) <= 1


def test_objects_get_their_labels(runs, capsys):
    path = runs / "new.jsonl"
    path.write_text('{"id": 7, "sentence": "真好"}\n\n{"sentence": "很差", "label": "?"}\n', encoding="utf-8")
    rows = [json.loads(line) for line in said(capsys, "--file", path, "--model", runs / "classify-run")]
    lines = said(capsys, "真好", "很差", "--model", runs / "classify-run")
    assert [(row["sentence"], row["label"]) for row in rows] == [tuple(line.split("\t")) for line in lines]
    assert rows[0]["id"] == 7
    path.write_text('{"text": "王 明在京州"}\n', encoding="utf-8")
    (row,) = [json.loads(line) for line in said(capsys, "--file", path, "--model", runs / "ner-run")]
    (shown,) = said(capsys, "王 明在京州", "--model", runs / "ner-run")
    for its_type, names in row["label"].items():
        for name, spans in names.items():
            assert f"[{name} {its_type}]" in shown and all(row["text"][a:b + 1] == name for a, b in spans)
    assert shown.count("[") == sum(len(spans) for names in row["label"].values() for spans in names.values())
    path.write_text('{"sentence1": "a", "sentence2": "b"}\n{"sentence": "one"}\n', encoding="utf-8")
    assert [type(json.loads(line)["label"]) for line in said(
        capsys, "--file", path, "--model", runs / "regress-run", "--probability")] == [float, float]


def test_words_are_characters_where_they_were(runs):
    assert labelling.load_labeller(str(runs / "ner-run")).by_characters
    assert not labelling.load_labeller(str(runs / "classify-run")).by_characters
    task = labelling.load_labeller(str(runs / "ner-run")).task
    words = labelling.Labeller(task), labelling.Labeller(task, True)
    assert [labelling.read_line(one, "在19 年", "") for one in words] == [["在", "19", "年"], ["在", "1", "9", "年"]]
    assert labelling.names_in(words[0], "在19 年", ["O", "B-X", "I-X"]) == [("X", 1, 5)]


def test_an_adapter_brings_its_head(runs, capsys):
    base, run = runs / "classify-run" / "best", runs / "adapted"
    path = str(runs / "classify")
    assert finetune.main(["--task", "classify", path, "--val", path, "--out", str(run), "--init-from", str(base),
                          "--adapt", "lora", "--steps", "2", "--threads", "1"]) == 0
    beside = said(capsys, "真好", "--adapter", run)
    assert beside == said(capsys, "真好", "--adapter", run / "best", "--model", base)
    model, tokenizer = gpt2np.load(base, adapter=run)
    (found,) = labelling.label(labelling.labeller(model, tokenizer), [("真好", None)])
    assert beside == [f"真好\t{found.labels[0]}"]
    assert evaluate.main([path, "--model", str(base), "--adapter", str(run)]) == 0
    task = labelling.load_labeller(None, str(run)).task
    examples = read_classified(path)
    figures = task.figures(examples, labelling.label(task, [one[:2] for one in examples]))
    assert f"{len(examples):>9,}{figures['f1']:>10.1%}{figures['accuracy']:>10.1%}" in capsys.readouterr().out


@pytest.mark.parametrize("task, arguments, status, problem", [
    ("answer", ["a"], 1, "{0}/answer-run/best: expected a model that labels texts, found one that goes on from a text: "
                         "python -m gpt2np.generate --model {0}/answer-run/best uses it"),
    ("qa", ["a"], 1, "text 1: expected a context, a tab and its question, got 1 column in 'a'"),
    ("regress", ["b", "a\tb\tc"], 1, "text 2: expected a text, or two with a tab between them, got 3 columns in 'a"),
    ("classify", ["a\t "], 1, "text 1: expected a text in each column, got 'a\\t '"),
    ("classify", ["a\tb\tc"], 1, "text 1: expected two names that stand in the text, apart from each other, got "),
    ("classify", ["--words", "--file", "{0}/ner"], 1, "--words: expected a model that labels words, got one of text"),
    ("ner", ["--words", "--file", "{0}/bad.json"], 1, "--words: expected a word in each line of --file, got {0}/bad.j"),
    ("classify", ["--file", "{0}/none"], 1, "{0}/none: No such file or directory"),
    ("classify", ["--file", "{0}/bad.json"], 1, "{0}/bad.json, line 2: expected an object in JSON, got '[]'"),
    ("classify", ["a", "--file", "x"], 2, "expected either TEXT or --file, got both"),
    ("classify", ["a", "--words"], 2, "--words: expected --file FILE or a pipe with it, got TEXT"),
    ("classify", ["--task", "ner"], 2, "unrecognized arguments: --task; the model knows what it has learned"),
])
def test_what_is_refused(runs, capsys, task, arguments, status, problem):
    (runs / "bad.json").write_text('{"sentence": "a"}\n[]\n')
    capsys.readouterr()
    try:
        got = label.main([*(one.format(runs) for one in arguments), "--model", str(runs / f"{task}-run")])
    except SystemExit as error:
        got = error.code
    out, err = capsys.readouterr()
    assert got == status and not out and err.startswith(f"error: {problem.format(runs)}")
    assert err.count("\n") == (2 if status == 2 else 1)


def test_an_empty_text_comes_back_as_an_empty_line_as_it_does_in_a_pipe(runs, capsys):
    assert said(capsys, "", "--model", runs / "classify-run") == [""]


def test_a_typed_line_may_be_wrong(runs, capsys, monkeypatch):
    """What is wrong with it is said, and the next one is asked for."""
    piped(monkeypatch, "一\n小明在北京\t小明在哪里\n")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert label.main(["--model", str(runs / "qa-run")]) == 0
    out, err = capsys.readouterr()
    assert "error: standard input, line 1: expected a context, a tab and its question" in err and out.count("\n") == 1


def test_models_without_a_run():
    """A head from elsewhere: the labels are what they are; words that are no names are shown one by one."""
    tokenizer = learn_characters(["a b c"], 99)
    config = BertConfig(tokenizer.n_vocab, 16, 16, 2, 1, 32)
    words = TokenClassifier(BERT(config, np.random.default_rng(0), pooler=False), ["NOUN", "VERB"])
    task = labelling.labeller(words, tokenizer)
    assert task.plan.context == 16 and task.plan.label_on == "first"
    assert labelling.label(task, [["a", "b"], ["c"] * 30])[1].tags == ["NOUN"] * 30 and labelling.label(task, []) == []
    with pytest.raises(Gpt2npError, match="model: expected one whose labels are tags of names, such as B-PER, got 'NO"):
        labelling.expect_names(task)
    two = Classifier(BERT(config, np.random.default_rng(0)), ["x", "y"], objective=SQUARED)
    with pytest.raises(Gpt2npError, match="model: expected one that gives one number, got one that gives 2"):
        labelling.labeller(two, tokenizer)


def test_relations_are_texts_with_marks(runs, capsys):
    """As columns and as OpenNRE's objects alike; a name that stands in another one is looked for elsewhere."""
    lines = ["北京大学在北京\t北京\t北京大学\t位于", "Tim knows Tim\tTim\tTim\tknows"]
    (runs / "r.tsv").write_text("\n".join(lines), encoding="utf-8")
    objects = [{"text": "北京大学在北京", "h": {"name": "北京"}, "t": {"name": "北京大学", "pos": [0, 4]},
                "relation": "位于"},
               {"text": "Tim knows Tim", "h": {"name": "Tim", "pos": [0, 3]}, "t": {"name": "Tim", "pos": [10, 13]},
                "relation": "knows"}]
    (runs / "r.json").write_text("".join(json.dumps(one) + "\n" for one in objects), encoding="utf-8")
    found = read_classified(runs / "r.tsv")
    assert found == read_classified(runs / "r.json")
    assert [(one.first, one.second, one.labels) for one in found] == [
        ("# 北京大学 #在$ 北京 $", None, ["位于"]), ("$ Tim $ knows # Tim #", None, ["knows"])]
    out = said(capsys, "北京大学在北京\t北京\t北京大学", "# 北京大学 #在$ 北京 $", "--model", runs / "classify-run")
    assert len({line.split("\t")[-1] for line in out}) == 1
