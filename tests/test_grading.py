"""What fine-tuned models say of labelled examples: each, and several together, by evaluate and by label."""

import re

import numpy as np
import pytest

import gpt2np
from gpt2np import evaluate, label
from gpt2np.ensemble import Ensemble
from gpt2np.labelling import label as labels_of
from gpt2np.labelling import label_together, load_labeller, load_together
from gpt2np.layers.cross_entropy import cross_entropy_forward
from gpt2np.models.bert import BERT, BertForPreTraining
from gpt2np.models.config import BertConfig, GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.models.heads import SIGMOID, SQUARED, AnswerFinder, Classifier, TokenClassifier
from gpt2np.terminal import columns_of
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.wordpiece import learn_characters
from gpt2np.training import gaps
from gpt2np.training.finetuning import Labels
from gpt2np.training.parallel import DataParallel
from gpt2np.training.text_classification import Choice, TextClassification, TextRegression, chosen

PIECES = learn_characters(["好极了差真坏无 one two abc"], 99)
OTHERS = learn_characters(["了极好差真 a of one"], 99)
EXAMPLES = "好极了\tpos\n差极了\tneg\n真好\tpos\n真差\tneg\n真坏\todd\n好 好 好 好 好 好 好 好 好 好 好 好\todd\n"
SEVERAL = "好 坏\tpos|neg\n好\tpos\n坏\tneg\n无\t\n"
NUMBERS = "one\t1\none two\t2.5\nabc\t-1\n"
NAMES = ("neg", "odd", "pos")


def head(seed, labels=NAMES, tokenizer=PIECES, kind=Classifier, objective=None, body="bert"):
    """A model that is sure of something: random weights, and large ones."""
    rng = np.random.default_rng(seed)
    V = tokenizer.n_vocab
    below = GPT2(GPT2Config(V, 12, 12, 3, 1), rng) if body == "gpt2" else \
        BERT(BertConfig(V, 12, 12, 3, 1, 24), rng, pooler=kind is Classifier)
    given = [] if kind is AnswerFinder else [labels]
    model = kind(below, *given, rng, **({} if objective is None else {"objective": objective}))
    for _, p in model.named_parameters():
        p.value = p.value * 6
    return model


def in_order(model, labels):
    """The same model with its labels in another order."""
    other = model.replica()
    places = [model.labels.index(name) for name in labels]
    other.labels = tuple(labels)
    other.head.wte.value = model.head.wte.value[places]
    if model.head.b is not None:
        other.head.b.value = model.head.b.value[places]
    return other


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with models of one kind and another, and files."""
    folder, bpe = tmp_path_factory.mktemp("models"), Tokenizer([])
    for name, model, tokenizer in (
            ("a", head(0), PIECES), ("b", head(1), PIECES),
            ("turned", in_order(head(1), ("pos", "neg", "odd")), PIECES),
            ("small", head(2, tokenizer=OTHERS), OTHERS), ("g", head(3, tokenizer=bpe, body="gpt2"), bpe),
            ("two", head(4, ("bad", "good")), PIECES), ("s", head(5, ("neg", "pos"), objective=SIGMOID), PIECES),
            ("t", head(6, ("neg", "pos"), objective=SIGMOID), PIECES), ("one", head(6, ("neg", "pos")), PIECES),
            ("n", head(7, ("value",), objective=SQUARED), PIECES),
            ("m", head(8, ("value",), objective=SQUARED), PIECES),
            ("tags", head(9, ("O", "B-PER", "I-PER"), kind=TokenClassifier), PIECES),
            ("qa", head(9, kind=AnswerFinder), PIECES)):
        gpt2np.save(folder / name, model, tokenizer)
    for name, text in (("x.tsv", EXAMPLES), ("s.tsv", SEVERAL), ("n.tsv", NUMBERS), ("empty.tsv", ""),
                       ("bad.tsv", "好\tpos\n好\twhat\n"), ("x.conll", "好 B-PER\n了 I-PER\n\n差 O\n"),
                       ("qa.tsv", "one two abc\tone?\ttwo\n")):
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def folders(whole, monkeypatch):
    for module in (evaluate, label):
        monkeypatch.setattr(module, "keep_freed_memory", lambda: None)
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.chdir(whole)
    return whole


def said(capsys, command, *arguments):
    assert command.main(list(arguments)) == 0
    return capsys.readouterr().out


def rows_of(printed):
    """{what: numbers} of a table."""
    return {name: [float(n.rstrip("%")) for n in numbers.split()]
            for name, numbers in re.findall(r"^(\S.*? on \S+) +([\d.% einf-]+)$", printed, re.M)}


def models(names):
    return [part for name in names for part in ("--model", name)]


TEXTS = [(line.split("\t")[0], None) for line in EXAMPLES.splitlines()]


# ---- the mean


def test_what_follows_from_probabilities():
    one, several = Labels(("x", "y")), Labels(("x", "y"), several=True)
    assert chosen(one, np.array([0.4, 0.6])) == Choice(["y"], [0.4, 0.6])
    assert chosen(several, np.array([0.5, 0.51])) == Choice(["y"], [0.5, 0.51])
    assert chosen(several, np.array([0.9, 0.6])).labels == ["x", "y"]


def test_the_mean_of_probabilities_by_the_names_of_labels():
    labels = [Labels(("x", "y", "z")), Labels(("z", "x", "y"))]
    told = [[Choice(["x"], [0.5, 0.3, 0.2])], [Choice(["y"], [0.1, 0.2, 0.7])]]
    (found,) = TextClassification.together(labels, told)
    np.testing.assert_allclose(found.p, [0.35, 0.5, 0.15], rtol=1e-15)
    assert found.labels == ["y"]
    assert TextRegression.together([Labels(("value",))] * 2, [[1.0, 2.0], [2.0, 4.0]]) == [1.5, 3.0]


@pytest.mark.parametrize("name", ["a", "s", "n"])
def test_one_model_together_is_itself_to_the_bit(name):
    task = load_labeller(name).task
    alone = labels_of(task, TEXTS)
    assert type(task).together([task.labels], [alone]) == alone
    assert label_together(load_together([name]), TEXTS) == alone


def test_the_order_of_labels_and_the_vocabulary_are_each_models_own():
    alone = [labels_of(load_labeller(name).task, TEXTS) for name in ("a", "b", "small", "g")]
    assert labels_of(load_labeller("turned").task, TEXTS)[0].p == alone[1][0].p[2:] + alone[1][0].p[:2]
    assert label_together(load_together(["a", "turned"]), TEXTS) == label_together(load_together(["a", "b"]), TEXTS)
    together = label_together(load_together(["a", "turned", "small", "g"]), TEXTS)
    for i, one in enumerate(together):
        np.testing.assert_allclose(one.p, np.mean([its[i].p for its in alone], axis=0), rtol=1e-14)
        assert one.labels == [NAMES[int(np.argmax(one.p))]]


def test_the_loss_is_that_of_the_objective():
    for name, path in (("a", "x.tsv"), ("s", "s.tsv"), ("n", "n.tsv")):
        task = load_labeller(name).task
        examples = [one for one in task.read(path, task.plan, print, task.labels) if len(one.first) < 12]
        with DataParallel(task.model, 1) as parallel:               # of one window each
            of_rows, found = task.predicted(parallel, examples, task.encoded(examples))
        assert task.loss_of(examples, found, np.nan) == pytest.approx(of_rows, rel=1e-5)
        assert of_rows > 0.1


# ---- evaluate


@pytest.mark.parametrize("names, path", [(["a", "turned", "g"], "x.tsv"), (["s", "t"], "s.tsv"), (["n", "m"], "n.tsv")])
def test_each_model_has_a_row_and_all_together_the_last_one(capsys, names, path):
    printed = said(capsys, evaluate, path, *models(names), "--ensemble", "--threads", "2")
    rows, mean = rows_of(printed), f"the mean of {len(names)} on {path}"
    assert [*rows] == [*(f"{name} on {path}" for name in names), mean]
    for name in (*names, mean):
        labeller = load_together(names) if name == mean else load_labeller(name)
        task = labeller.task
        examples = task.read(path, task.plan, print, task.labels)
        found = label_together(labeller, [one[:2] for one in examples])
        figures = [*task.figures(examples, found).values()]
        shares = [100 * x for x in figures] if path != "n.tsv" else figures
        n, *numbers, loss = rows[name if name == mean else f"{name} on {path}"]
        assert n == len(examples) and numbers == pytest.approx(shares, abs=0.0501)
        assert loss == pytest.approx(task.loss_of(examples, found, np.nan), rel=1e-3)
    *alone, together = [row[-1] for row in rows.values()]
    assert together <= np.mean(alone) * (1 + 1e-3)                  # Jensen: of -log, and of squares
    assert min(alone) < max(alone)
    about = {"x.tsv": "f1: the mean of the labels' own. loss: in", "s.tsv": "f1: of all labels together. loss: in nats",
             "n.tsv": "\nloss: the squared error"}
    assert about[path] in printed


def test_the_row_of_one_is_that_of_the_model(capsys):
    rows = rows_of(said(capsys, evaluate, "x.tsv", "--model", "a", "--ensemble"))
    assert rows["a on x.tsv"] == rows["the mean of 1 on x.tsv"]
    assert rows_of(said(capsys, evaluate, "x.tsv", "--model", "a")) == {"a on x.tsv": rows["a on x.tsv"]}


def test_it_is_what_ensembles_of_logits_come_to(capsys):
    """gpt2np.ensemble, of models of one vocabulary, whose logits are averaged as probabilities, by another way."""
    tasks = [load_labeller(name).task for name in ("a", "b")]
    examples = [one for one in tasks[0].read("x.tsv", tasks[0].plan, print, None) if len(one.first) < 12]
    *inputs, targets = tasks[0].batch_of(tasks[0].encoded(examples))
    logits, _ = Ensemble([task.model for task in tasks]).forward(*inputs)
    found = label_together(load_together(["a", "b"]), [one[:2] for one in examples])
    np.testing.assert_allclose([one.p for one in found], np.exp(logits), rtol=2e-5)
    assert tasks[0].loss_of(examples, found, np.nan) == pytest.approx(float(cross_entropy_forward(logits, targets)[0]),
                                                                      rel=1e-5)


@pytest.mark.parametrize("name, path, headings", [("tags", "x.conll", ["f1", "accuracy", "loss"]),
                                                  ("qa", "qa.tsv", ["f1", "exact", "loss"])])
def test_names_and_answers_are_measured_each_model_by_itself(capsys, name, path, headings):
    printed = said(capsys, evaluate, path, *models([name, name + "/"]))
    assert printed.split("\n")[0].split() == ["examples", *headings] and "\nf1: of " in printed
    rows = rows_of(printed)
    assert rows[f"{name} on {path}"] == rows[f"{name}/ on {path}"] and len(rows) == 2


def test_several_files_are_in_the_table(capsys, folders):
    (folders / "y.tsv").write_text("好\tneg\n", encoding="utf-8")
    rows = rows_of(said(capsys, evaluate, "x.tsv", "y.tsv", *models("ab"), "--ensemble"))
    assert [*rows] == [f"{name} on {path}" for path in ("x.tsv", "y.tsv") for name in ("a", "b", "the mean of 2")]


@pytest.mark.parametrize("columns", [40, 80])
def test_the_table_fits_the_terminal(monkeypatch, capsys, columns):
    for name in ("gpt2np.terminal.width", "gpt2np.evaluate.width"):
        monkeypatch.setattr(name, lambda: columns)
    printed = said(capsys, evaluate, "x.tsv", *models("ab"), "--ensemble")
    assert max(map(columns_of, printed.splitlines())) <= columns


# ---- label


def test_label_says_what_all_say_together(capsys, folders):
    texts = ["好极了", "真差", "差"]
    found = label_together(load_together(["a", "turned", "g"]), [(text, None) for text in texts])
    expected = [f"{text}\t{one.labels[0]}\t{max(one.p):.4f}" for text, one in zip(texts, found)]
    out = said(capsys, label, *texts, *models(["a", "turned", "g"]), "--probability")
    assert out.split("\n")[:-1] == expected
    (folders / "new.jsonl").write_text('{"sentence": "好极了"}\n', encoding="utf-8")
    assert f'"label": "{found[0].labels[0]}"' in said(capsys, label, "--file", "new.jsonl", *models(["a", "b", "g"]))
    numbers = [labels_of(load_labeller(name).task, [("one", None)])[0] for name in "nm"]
    assert said(capsys, label, "one", *models("nm")) == f"one\t{np.mean(numbers):.4g}\n"


# ---- what is refused


@pytest.mark.parametrize("command, arguments, status, message", [
    (evaluate, ["x.tsv", *models(["a", "two"]), "--ensemble"], 1, "--model: expected models of the same labels, in any "
     "order, got a with 'neg', 'odd', 'pos', and two with 'bad', 'good'"),
    (evaluate, ["x.tsv", *models(["a", "two"])], 1, "x.tsv: expected labels that two knows, 'bad', 'good', got 'neg', "
     "'odd', 'pos'"),
    (evaluate, ["x.tsv", *models(["s", "one"]), "--ensemble"], 1, "--model: expected models that give one label alike, "
     "or several, got one, which gives one, and s, which gives several"),
    (evaluate, ["x.tsv", *models("an"), "--ensemble"], 1, "--model: expected models that have learned the same, got a, "
     "one of text classification, and n, one of text regression"),
    (evaluate, ["x.conll", *models(["tags", "tags"]), "--ensemble"], 1, "--model: expected several together only where "
     "texts get labels or numbers, got models of named entities"),
    (evaluate, ["bad.tsv", "--model", "a"], 1, "bad.tsv, line 2: expected one of the 3 known labels, neg, odd, "
     "pos, got 'what'"),
    (evaluate, ["empty.tsv", "--model", "a"], 1, "empty.tsv: expected at least one example, got none"),
    (evaluate, ["x.tsv", *models(["a", "demo"])], 1, "--model: expected models of one kind, got demo, which goes on "
     "from a text, beside one that has learned from labelled examples"),
    (evaluate, ["x.tsv", "--model", "a", "--window", "4"], 2, "--window: expected with another model, one that goes"),
    (evaluate, ["x.tsv", "--model", "a", "--num-beams", "4"], 2, "--num-beams: expected with another model, one"),
    (label, ["好", *models(["a", "two"])], 1, "--model: expected models of the same labels, in any order, got a with "),
    (label, ["好", *models(["tags", "tags"])], 1, "--model: expected several together only where texts get labels or"),
    (label, ["好", *models(["a", "b"]), "--adapter", "x"], 2, "--adapter: expected one --model with it, the one tha"),
    (label, ["好"], 2, "expected --model, the folder of a run of finetune, or --adapter"),
])
def test_what_cannot_be_is_one_sentence(capsys, command, arguments, status, message):
    try:
        found = command.main(arguments)
    except SystemExit as error:
        found = error.code
    out, err = capsys.readouterr()
    assert found == status and not out and err.startswith(f"error: {message}") and err.count("\n") == (
        2 if status == 2 else 1)


# ---- a BERT that fills gaps


def test_a_bert_is_measured_by_its_gaps(capsys, folders):
    rng = np.random.default_rng(0)
    gpt2np.save("fills", BertForPreTraining(BertConfig(PIECES.n_vocab, 12, 12, 3, 1, 24), rng), PIECES)
    printed = said(capsys, evaluate, "x.tsv", "n.tsv", *models(["fills", "fills/"]), "--threads", "1")
    rows = re.findall(r"^(\S+ on \S+) +(\d+) +([\d.]+) +([\d.]+)%$", printed, re.M)
    assert [row[0] for row in rows] == [f"{name} on {path}" for name in ("fills", "fills/") for path in
                                        ("x.tsv", "n.tsv")]
    model, tokenizer = gpt2np.load("fills")
    with DataParallel(model, 1) as parallel:
        told = gaps.measure(parallel, gaps.rows_of("x.tsv", tokenizer, 12), tokenizer)
    assert int(rows[0][1]) == told.pieces and float(rows[0][2]) == pytest.approx(np.exp(told.loss), rel=1e-3)
    for arguments, message in ((["x.tsv", *models(["fills", "fills"]), "--ensemble"], "--ensemble: expected with "),
                               (["x.tsv", "--model", "fills", "--stride", "2"], "--stride: expected with another mod")):
        with pytest.raises(SystemExit):
            evaluate.main(arguments)
        assert capsys.readouterr().err.startswith(f"error: {message}")
