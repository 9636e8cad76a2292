"""S002, the GPT series, section 5: the listing, run as it is printed, and the table, worked out again."""

import ast
import inspect
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from gpt2np.layers.cross_entropy import IGNORED, cross_entropy_backward, cross_entropy_forward
from gpt2np.models import gpt2
from gpt2np.training.adamw import AdamW
from gpt2np.training.clipping import clip_scale, gradient_norm

from .arrays import names, small
from .reading import calls, free_names, function, listing, never_read, run, says
from .tables import HALF, accuracy, averages, entity_f1, f1, predicted, report, without_o
from .torch_like import tensor

CODE = listing("S002-5.2")
ROWS, AVERAGES = report("S002-5.4")


# ---- 5.2 code


@says("S002 5.2", "model = BertForTokenClassification.from_pretrained('bert-base-cased', num_labels=7)")
def test_E002_12_seven_labels_where_there_are_nine(rng):
    """Begin and inside of four kinds, and O. A head of seven has no logit for the last two."""
    n, = (k.value.value for call in calls(CODE, "from_pretrained") for k in call.keywords if k.arg == "num_labels")
    kinds = {label.split("-")[1] for label in ROWS if "-" in label}
    assert set(ROWS) == {"O"} | {f"{b}-{kind}" for b in "BI" for kind in kinds} and len(kinds) == 4
    assert n == 7 < len(ROWS) == 9
    targets = np.arange(len(ROWS))
    with pytest.raises(ValueError, match="expected ids from 0 to 6, got 7"):
        cross_entropy_forward(rng.standard_normal((9, n)), targets)
    assert np.isfinite(cross_entropy_forward(rng.standard_normal((9, len(ROWS))), targets)[0])


@says("S002 5.2", "for batch in tqdm(dataset, desc='Training'):")
@says("S002 5.3", "使用PyTorch的DataLoader对数据集进行批次化加载")
def test_E002_13_what_the_listing_takes_for_granted():
    """Twelve names that nothing makes. batch_size is used nowhere: one sentence at a time, without a DataLoader."""
    texts = {f"{split}_{what}" for split in ("train", "dev", "test") for what in ("texts", "tags")}
    assert free_names(CODE) == texts | {"torch", "tqdm", "optimizer", "classification_report", "NERDataset", "tag2id"}
    assert never_read(CODE, "is_imported") == {"AdamW"}
    assert not calls(CODE, "DataLoader") and "device" not in CODE
    for name in ("train_epoch", "evaluate"):
        assert "batch_size" in never_read(function(CODE, name), "is_parameter")
    assert not free_names(inspect.getsource(gpt2))


@says("S002 5.2", "preds, labels = [], []", "labels = batch['labels']",
      "batch_labels = batch_labels.to('cpu').tolist()", "pred_tags = [tag2id[tag] for tag in pred_tokens]",
      "print(classification_report(labels, preds))")
def test_E002_14_evaluate_stops_four_times(rng):
    """Each defect waits behind the one before. The last does not stop it: padding is scored along with the words."""
    tags = ["O", "B-PER", "I-PER"]
    logits = tensor(np.eye(3)[[[1, 2, 0, 2]]])                          # one sentence; its last place is padding
    batch = {"input_ids": None, "attention_mask": [[1, 1, 1, 0]], "labels": tensor([[1, 2, 0, 0]])}
    reports = []

    class Model:
        def __call__(self, input_ids, attention_mask):
            return SimpleNamespace(logits=logits)

        def eval(self):
            pass

    def classification_report(labels, preds):
        if any(isinstance(row, list) for row in labels):                # as scikit-learn's
            raise ValueError("multiclass-multioutput is not supported")
        reports.append((labels, preds))

    def evaluate(code):
        given = {"torch": SimpleNamespace(no_grad=nullcontext), "tqdm": lambda batches, desc: batches,
                 "tag2id": {tag: i for i, tag in enumerate(tags)}, "id2tag": dict(enumerate(tags)),
                 "classification_report": classification_report}
        run(code, {}, **given)["evaluate"](Model(), [batch], 1)

    code = function(CODE, "evaluate")
    with pytest.raises(UnboundLocalError, match="batch_labels"):
        evaluate(code)
    code = code.replace("batch_labels = batch_labels.to", "batch_labels = labels.to")
    with pytest.raises(KeyError, match="1"):                            # a number, where tag2id has names
        evaluate(code)
    code = code.replace("tag2id", "id2tag")
    with pytest.raises(AttributeError, match="append"):                 # the list was overwritten by the batch
        evaluate(code)
    code = code.replace("labels = batch['labels']", "of_batch = batch['labels']").replace("labels.to", "of_batch.to", 1)
    with pytest.raises(ValueError, match="multioutput"):
        evaluate(code)
    evaluate(code.replace("append", "extend"))
    (labels, preds), = reports
    assert labels == ["B-PER", "I-PER", "O", "O"] and preds == ["B-PER", "I-PER", "O", "I-PER"]

    z, targets = np.asarray(logits), np.where(batch["attention_mask"], np.asarray(batch["labels"]), IGNORED)
    loss, cache = cross_entropy_forward(z, targets)
    np.testing.assert_allclose(loss, cross_entropy_forward(z[:, :3], targets[:, :3])[0], rtol=1e-14)
    assert not cross_entropy_backward(1.0, cache)[0, 3].any()


@says("S002 3.2", "设置正则化技术及强度，包括权重衰减、Dropout、Early Stopping等。",
      "确定冻结预训练参数的策略，如仅微调顶层，或全部参数都参与微调。")
def test_E002_19_what_is_described_and_not_coded(rng):
    """The training loop has forward, backward and step. Decay, freezing and an end before the last epoch are not there.

    Ours are arguments and methods: each does here what the text describes.
    """
    called = {getattr(c.func, "attr", getattr(c.func, "id", "")) for c in ast.walk(ast.parse(CODE))
              if isinstance(c, ast.Call)}
    assert {"backward", "step", "zero_grad"} < called
    assert not called & {"AdamW", "SGD", "requires_grad_"}
    assert "requires_grad" not in CODE and "break" not in CODE and "weight_decay" not in CODE
    assert not [n for n in ast.walk(ast.parse(CODE)) if isinstance(n, ast.If)]          # so nothing can end early

    model, ids = small(rng), rng.integers(0, 11, (2, 8))
    for block in model.h:
        block.freeze()
    optimizer = AdamW(model, weight_decay=0.5)
    before = {path: w.copy() for path, w in names(model).items()}
    model.loss_and_gradients(ids, ids)
    norm = gradient_norm(model)
    assert norm * clip_scale(norm, 1.0) <= 1 + 1e-12
    optimizer.step(1e-3, clip_scale(norm, 1.0))
    changed = {path for path, w in names(model).items() if not np.array_equal(w, before[path])}
    assert changed == {"wte", "wpe", "ln_f.g", "ln_f.b"}
    unused = np.setdiff1d(np.arange(model.config.n_ctx), np.arange(ids.shape[1]))
    np.testing.assert_allclose(names(model)["wpe"][unused], before["wpe"][unused] * (1 - 0.5e-3), rtol=1e-12)


# ---- 5.4 the table


@says("S002 5.4", "我们在该NER数据集上取得了97.5%的F1分数")
def test_E002_15_the_f1_is_not_97_5_percent():
    """The table has 0.975 once: as the recall of I-PER."""
    everywhere = [(label, name) for label, row in (ROWS | AVERAGES).items() for name, value in row._asdict().items()
                  if value == 0.975]
    assert everywhere == [("I-PER", "recall")]
    assert AVERAGES["micro avg"].f1 == AVERAGES["weighted avg"].f1 == 0.955 and AVERAGES["macro avg"].f1 == 0.925


@says("S002 5.4", "B-LOC      0.931     0.900     0.923      1668")
def test_E002_16_six_of_nine_f1_are_no_harmonic_mean():
    """Whatever was rounded: no precision and recall that are printed so give the F1 that is printed."""
    wrong = [label for label, row in ROWS.items()
             if not f1(row.precision - HALF, row.recall - HALF) - HALF <= row.f1
             <= f1(row.precision + HALF, row.recall + HALF) + HALF]
    assert wrong == ["B-LOC", "I-LOC", "B-MISC", "I-MISC", "B-ORG", "B-PER"]


@says("S002 5.4", "micro avg      0.955     0.955     0.955     46435",
      "macro avg      0.932     0.914     0.925     46435", "weighted avg      0.955     0.955     0.955     46435")
def test_E002_17_the_averages_are_not_those_of_the_rows():
    """One label for each token: then micro precision, recall and F1 are the accuracy, and labels given = tokens."""
    macro, weighted = averages(ROWS)
    assert np.abs(macro - AVERAGES["macro avg"][:3]).min() > 10 * HALF
    assert np.abs(weighted - AVERAGES["weighted avg"][:3]).min() > 10 * HALF
    least, largest = accuracy(ROWS)
    assert AVERAGES["micro avg"].f1 + HALF < least < largest < 0.979
    fewest, most = predicted(ROWS)
    total = sum(row.support for row in ROWS.values())
    assert total == AVERAGES["micro avg"].support == 46435 and not fewest <= total <= most

    np.testing.assert_allclose(macro.round(3), [0.919, 0.885, 0.900], rtol=0, atol=1e-12)
    np.testing.assert_allclose(weighted.round(3), [0.986, 0.978, 0.982], rtol=0, atol=1e-12)


@says("S002 5.4", "我们在该NER数据集上取得了97.5%的F1分数，效果相当不错")
def test_E002_18_o_is_no_entity():
    """Who always answers O is right for 82.5 % of these tokens and finds nobody. Without O this table's F1 is 0.918."""
    assert round(ROWS["O"].support / AVERAGES["micro avg"].support, 3) == 0.825
    assert round(without_o(ROWS), 3) == 0.918 < accuracy(ROWS)[0]
    gold = "O O O O O O O B-PER I-PER O".split()
    assert entity_f1(gold, gold) == 1 and entity_f1(gold, ["O"] * 10) == 0
    cut_short = "O O O O O O O B-PER O O".split()                       # nine of ten tokens, and no entity
    assert np.mean([a == b for a, b in zip(gold, cut_short)]) == 0.9 and entity_f1(gold, cut_short) == 0
