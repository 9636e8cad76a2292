"""S004, GPT-2 with code: concepts, the loss, the four listings of 5.2, and the table of 5.4."""

import ast
import inspect
import math
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from gpt2np.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from gpt2np.layers.lm_head import lm_head_loss_forward
from gpt2np.models import gpt2
from gpt2np.models.config import SIZES
from gpt2np.sampling import Sampler

from .arrays import names, small
from .conftest import PERIOD, periodic
from .reading import calls, free_names, function, functions, listing, never_read, run, says
from .tables import HALF, accuracy, averages, entity_f1, f1, predicted, report, without_o
from .torch_like import tensor

GENERATE, MODEL, TRAINING, RUN = (listing(f"S004-5.2-{part}") for part in ("generate", "model", "training", "run"))
CODE = "\n".join([GENERATE, MODEL, TRAINING, RUN])
ROWS, AVERAGES = report("S004-5.4")


# ---- 1 to 4 concepts and the loss


@says("S004 3.1", "3. 文本生成：通过微调后的模型生成自然流畅的文本。")
def test_E004_01_writing_needs_no_fine_tuning(learned):
    """Pre-trained to predict the next token, and nothing after that: it writes the text on."""
    past, written = learned.new_past(1, 16), []
    logits = learned.next_logits([[5]], past)
    for _ in range(10):
        written.append(Sampler(temperature=0).sample(logits[0, -1], [5, *written], written, np.random.default_rng(0)))
        logits = learned.next_logits([written[-1:]], past)
    assert written == [(6 + i) % PERIOD for i in range(10)]


@says("S004 3.2", "对于文本生成任务，可以在顶层添加一个线性分类器和交叉熵损失函数。")
def test_E004_04_the_head_is_there(learned, rng):
    """The embedding scores the words, and has learned to. A new classifier in its place knows nothing: log V nats."""
    text = periodic(PERIOD, 12)
    x, _ = learned.hidden(text[:, :-1])
    with_ours, _ = lm_head_loss_forward(x, learned.wte.value, text[:, 1:])
    classifier = (0.02 * rng.standard_normal((PERIOD, 16))).astype(np.float32)
    as_in_the_text, _ = lm_head_loss_forward(x, classifier, text[:, 1:])
    assert with_ours == learned.loss(text[:, :-1], text[:, 1:]) < 0.02
    assert abs(as_in_the_text - math.log(PERIOD)) < 0.1
    config = SIZES["124M"]                                              # what the classifier would add to 124M
    assert config.n_vocab * config.n_embd / config.n_parameters > 0.3


@says("S004 3.3", "参数高效：利用参数高效微调技术，在固定大部分预训练参数的情况下，仍可取得不错的提升。")
def test_E004_05_fine_tuning_trains_every_parameter(rng):
    """All of them, unless something is frozen. It is LoRA that is efficient: of rank 8, it trains 0.24 %."""
    model, ids = small(rng), rng.integers(0, 11, (2, 8))

    def trained():
        model.zero_grad()
        model.loss_and_gradients(ids, ids)
        return sum(p.grad.size for _, p in model.named_parameters() if p.grad is not None)

    whole = model.config.n_parameters
    assert trained() == whole
    for block in model.h:
        block.freeze()
    assert trained() == whole - sum(w.size for path, w in names(model).items() if path.startswith("h.")) < whole
    config, r = SIZES["124M"], 8                                        # of c_attn in every block: r (C + 3 C)
    assert round(100 * config.n_layer * r * 4 * config.n_embd / config.n_parameters, 2) == 0.24


@says("S004 4.2", r"[y_i\log M_{\theta}(x_i)+(1-y_i)\log(1-M_{\theta}(x_i))]",
      "推导自回归模型的交叉熵损失函数及其梯度的计算公式")
def test_E004_06_two_tokens_make_the_binary_cross_entropy(rng):
    """With V = 2 the loss is that of a sigmoid of the difference of the logits, and so is its gradient.

    A language model chooses among V: -log p of the next token, on average, and p - onehot over their number.
    """
    logits, y = rng.standard_normal((9, 2)), rng.integers(0, 2, 9)
    M = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    loss, cache = cross_entropy_forward(logits, y)
    np.testing.assert_allclose(loss, -np.mean(y * np.log(M) + (1 - y) * np.log(1 - M)), rtol=1e-14)
    np.testing.assert_allclose(cross_entropy_backward(1.0, cache)[:, 1], (M - y) / 9, rtol=0, atol=1e-15)
    logits, y = rng.standard_normal((9, 5)), rng.integers(0, 5, 9)
    assert (y > 1).any()                                                # for these the text's formula has no term
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    loss, cache = cross_entropy_forward(logits, y)
    np.testing.assert_allclose(loss, -np.mean(np.log(p[np.arange(9), y])), rtol=1e-14)
    np.testing.assert_allclose(cross_entropy_backward(1.0, cache), (p - np.eye(5)[y]) / 9, rtol=0, atol=1e-15)


@says("S004 4.2", r"-\frac{1}{N}\sum_{i=1}^N (\frac{y_i}{M_{\theta}(x_i)}-\frac{1-y_i}{1-M_{\theta}(x_i)})",
      "可进一步递归展开，利用自动微分技术完成计算")
def test_E004_07_the_gradient_by_hand(rng):
    """The formula is right, and it takes no automatic differentiation: nor do all the parameters of a GPT-2."""
    x, y, theta = rng.standard_normal((9, 3)), rng.integers(0, 2, 9), rng.standard_normal(3)

    def M(theta):
        return 1 / (1 + np.exp(-x @ theta))

    def loss(theta):
        return -np.mean(y * np.log(M(theta)) + (1 - y) * np.log(1 - M(theta)))

    dM = M(theta)[:, None] * (1 - M(theta))[:, None] * x
    by_the_formula = -np.mean((y / M(theta) - (1 - y) / (1 - M(theta)))[:, None] * dM, axis=0)
    by_complex_steps = [loss(theta + 1e-30j * e).imag / 1e-30 for e in np.eye(3)]
    np.testing.assert_allclose(by_the_formula, by_complex_steps, rtol=1e-12)

    model, ids = small(rng), rng.integers(0, 11, (2, 5))
    model.loss_and_gradients(ids[:, :-1], ids[:, 1:])
    for path, p in model.named_parameters():
        direction, value = rng.standard_normal(p.value.shape), p.value
        sides = []
        for h in (1e-5, -1e-5):
            p.value = value + h * direction
            sides.append(model.loss(ids[:, :-1], ids[:, 1:]))
        p.value = value
        np.testing.assert_allclose((sides[0] - sides[1]) / 2e-5, (p.grad * direction).sum(), rtol=1e-5, atol=1e-7,
                                   err_msg=path)


# ---- 5.2 writing


class Generates:
    """A GPT-2 of ours behind the names that the listing calls; generate() as transformers documents it."""

    def __init__(self, model):
        self.model = model

    def generate(self, ids, max_length, temperature, top_k, top_p, do_sample=False):
        sampler = Sampler(temperature, top_k, top_p) if do_sample else Sampler(temperature=0)
        return [write(self.model, ids, max_length - len(ids), sampler, np.random.default_rng())]


class Numbers:
    """A tokenizer for which text is numbers."""

    def encode(self, text, return_tensors):
        return [int(word) for word in text.split()]

    def decode(self, ids, skip_special_tokens):
        return " ".join(map(str, ids))


def write(model, ids, n, sampler, rng):
    ids = list(ids)
    for _ in range(n):
        ids.append(sampler.sample(model.forward([ids])[0][0, -1], ids, [], rng))
    return ids


@says("S004 5.2", "model.generate(tokenized_prompt, max_length=max_length, temperature=1.0, top_k=50, top_p=0.9)")
def test_E004_08_without_do_sample_all_texts_are_one(rng):
    """transformers' generate is greedy unless told otherwise: then temperature, top-k and top-p do nothing.

    Here the temperature says it: above 0 it draws, and other seeds give other texts.
    """
    model = small(rng, n_ctx=12)
    code = function(GENERATE, "generate_text").replace("top_k=50", "top_k=11")          # V is 11 here

    def texts(code):
        return run(code, {})["generate_text"](Generates(model), Numbers(), "3 1 4", 6, 12)

    assert len(set(texts(code))) == 1 == len({*texts(code), *texts(code.replace("temperature=1.0", "temperature=9.0"))})
    assert len(set(texts(code.replace("top_p=0.9", "top_p=0.9, do_sample=True, ").replace(
        "temperature=1.0", "temperature=9.0")))) > 1
    drawn = {tuple(write(model, [3, 1, 4], 9, Sampler(9.0, 11, 0.9), np.random.default_rng(seed))) for seed in range(6)}
    greedy = {tuple(write(model, [3, 1, 4], 9, Sampler(0), np.random.default_rng(seed))) for seed in range(6)}
    assert len(drawn) > 1 == len(greedy)


@says("S004 5.2", "首先，定义文本生成任务的数据处理函数")
def test_E004_10_a_function_that_nobody_calls(learned):
    """It is said to prepare the data; it writes texts, and none of the four listings asks it to. Nor has it a mask.

    With a shorter text padded on the left, the mask is what keeps the padding out.
    """
    assert not calls(CODE, "generate_text") and "generate_text" in {f.name for f in functions(CODE)}
    call, = calls(GENERATE, "generate")
    assert {"attention_mask", "pad_token_id"} & {k.arg for k in call.keywords} == set()
    padded, mask = np.array([[0, 0, 3, 4]]), np.array([[False, False, True, True]])
    alone = learned.next_logits([[3, 4]], learned.new_past(1, 8))
    with_mask = learned.next_logits(padded, learned.new_past(1, 8), mask)
    np.testing.assert_allclose(with_mask, alone, rtol=0, atol=1e-4)
    assert np.abs(learned.next_logits(padded, learned.new_past(1, 8)) - alone).max() > 0.01


@says("S004 5.2", "from transformers import GPT2Tokenizer, GPT2LMHeadModel",
      "optimizer = AdamW(model.parameters(), lr=2e-5)")
def test_E004_12_what_the_listings_take_for_granted():
    """The four of them together, one after the other."""
    datasets = {f"{split}_dataset" for split in ("train", "dev", "test")}
    assert free_names(CODE) == datasets | {"AdamW", "torch", "device", "classification_report"}
    assert never_read(CODE, "is_imported") == {"GPT2Tokenizer", "GPT2LMHeadModel"}
    assert "pad_token" not in CODE
    assert not free_names(inspect.getsource(gpt2))


# ---- 5.2 evaluation


@pytest.fixture
def evaluated(learned):
    """What the listing's evaluate returns of the model that knows its text by heart: predictions and labels."""
    class Model:
        def __call__(self, input_ids, attention_mask):
            return SimpleNamespace(logits=tensor(learned.forward(np.asarray(input_ids))[0]))

        def eval(self):
            pass

    ids = tensor(periodic(2, 14))
    batch = {"input_ids": ids, "attention_mask": tensor(np.ones((2, 14))), "labels": ids}
    modules = {"torch.utils.data": SimpleNamespace(DataLoader=lambda dataset, batch_size: dataset),
               "tqdm": SimpleNamespace(tqdm=lambda batches, desc: batches)}
    evaluate = run(TRAINING, modules, torch=SimpleNamespace(no_grad=nullcontext), device=None)["evaluate"]
    return evaluate(Model(), [batch], 2)


@says("S004 5.2", "batch_preds = outputs.logits.argmax(dim=2).to('cpu').tolist()", "labels.append(label_tokens)")
def test_E004_13_the_logits_at_t_are_of_the_next_token(evaluated, learned):
    """A model that is always right is never right by this count. One place on, it is."""
    preds, labels = (np.array(rows) for rows in evaluated)
    assert (preds == labels).mean() == 0
    assert (preds[:, :-1] == labels[:, 1:]).mean() == 1
    assert learned.loss(labels[:, :-1], labels[:, 1:]) < 0.02


@says("S004 5.2", "print(classification_report(labels, preds))", "preds.append(pred_tokens[:len(label_tokens)])")
def test_E004_14_a_report_with_a_row_for_every_token(evaluated, learned):
    """Lists of lists, which scikit-learn's report refuses, of token ids: up to V rows.

    A text is measured by one number, its perplexity exp(loss): 1 is certainty, V is none.
    """
    preds, labels = evaluated
    assert all(isinstance(row, list) for row in (*preds, *labels))
    rows = {token for row in labels for token in row}
    assert len(rows) == learned.config.n_vocab and SIZES["124M"].n_vocab == 50257
    text = np.array(labels)
    assert 1 < math.exp(learned.loss(text[:, :-1], text[:, 1:])) < 1.02
    uniform, _ = cross_entropy_forward(np.zeros((4, 50257)), np.arange(4))
    np.testing.assert_allclose(math.exp(uniform), 50257, rtol=1e-12)


@says("S004 5.4", "假设我们在CoNLL-2003的文本生成数据集上进行微调")
def test_E004_15_this_code_gives_no_names_of_entities(evaluated):
    """The report has rows B-LOC to O. What evaluate returns are ids of tokens: no row of theirs could be called so."""
    assert all(type(token) is int for rows in evaluated for row in rows for token in row)
    assert set(ROWS) == {"O"} | {f"{b}-{kind}" for b in "BI" for kind in ("LOC", "MISC", "ORG", "PER")}
    assert not calls(CODE, "GPT2ForTokenClassification") and "num_labels" not in CODE and "id2tag" not in CODE


@says("S004 5.3", "最后使用sklearn的classification_report对整个评估集的预测结果进行打印输出")
def test_E004_19_evaluate_prints_nothing(capsys, evaluated):
    """It returns two lists; the report is made, and printed, by who calls it."""
    assert capsys.readouterr().out == "" and len(evaluated) == 2
    assert not calls(function(TRAINING, "evaluate"), "print")
    assert not calls(function(TRAINING, "evaluate"), "classification_report")
    assert {ast.unparse(call.args[0]) for call in calls(RUN, "print")} > {"classification_report(labels, preds)"}


# ---- 5.4 the table


@says("S004 5.4", "micro avg      0.973     0.973     0.973     46435",
      "weighted avg      0.973     0.973     0.973     46435")
def test_E004_16_micro_and_weighted_are_not_those_of_the_rows():
    """The rows agree with themselves, and the macro average is right. The other two are 0.981."""
    for label, row in ROWS.items():
        assert f1(row.precision - HALF, row.recall - HALF) - HALF <= row.f1, label
        assert row.f1 <= f1(row.precision + HALF, row.recall + HALF) + HALF, label
    macro, weighted = averages(ROWS)
    np.testing.assert_allclose(macro, AVERAGES["macro avg"][:3], rtol=0, atol=HALF)
    np.testing.assert_allclose(weighted.round(3), [0.982, 0.981, 0.981], rtol=0, atol=1e-12)
    assert (weighted - AVERAGES["weighted avg"][:3]).min() > 10 * HALF
    least, largest = accuracy(ROWS)                                     # which micro F1 is, of one label a token
    assert AVERAGES["micro avg"].f1 + HALF < 0.980 < least < largest < 0.982


@says("S004 5.4", "O      0.993     0.995     0.994     38323")
def test_E004_17_some_tokens_got_no_label():
    """As many labels are given as there are tokens, if each gets one. Whatever was rounded, at least 28 are missing."""
    total = sum(row.support for row in ROWS.values())
    fewest, most = predicted(ROWS)
    assert total == AVERAGES["micro avg"].support and fewest < most < total - 28


@says("S004 5.4", "我们在该文本生成数据集上取得了97.3%的F1分数", "GPT-2作为一个通用的语言理解模型")
def test_E004_18_o_is_no_entity():
    """97.3 % counts O, which is 82.5 % of the tokens. Without it this table's F1 is 0.922, and of entities another."""
    assert round(ROWS["O"].support / AVERAGES["micro avg"].support, 3) == 0.825
    assert round(without_o(ROWS), 3) == 0.922 < AVERAGES["micro avg"].f1
    gold, guessed = "B-ORG I-ORG I-ORG O O".split(), "B-ORG I-ORG O O O".split()
    assert np.mean([a == b for a, b in zip(gold, guessed)]) == 0.8 and entity_f1(gold, guessed) == 0
