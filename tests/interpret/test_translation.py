"""The page of a Transformer, and of a BERT: what each token that was written looked at."""

import base64

import numpy as np
import pytest

import gpt2np
from gpt2np.checkpoints import loading
from gpt2np.interpret import __main__ as command
from gpt2np.interpret import lens
from gpt2np.interpret.report import look_maps, look_translation, page
from gpt2np.interpret.taps import InterpretError
from gpt2np.layers.softmax import softmax_forward
from gpt2np.models.bert import BERT
from gpt2np.models.config import BertConfig, TransformerConfig
from gpt2np.models.transformer import Transformer
from gpt2np.text.wordpiece import WordPiece
from tests.browser import in_browser, on_a_phone_in_the_dark

TEXT = "My </script> 题"


@pytest.fixture(scope="module", params=["post", "pre"])
def translator(request):
    _, tokenizer = gpt2np.load("demo")
    model = Transformer(TransformerConfig(tokenizer.n_vocab, 20, 24, 3, 2, 30, request.param), np.random.default_rng(2))
    rng = np.random.default_rng(3)
    for _, p in model.named_parameters():
        p.value = (p.value + 0.2 * rng.standard_normal(p.value.shape)).astype(np.float32)
    return model, tokenizer


def weights(group):
    """(L, H, rows, columns), as the page unpacks them."""
    T, S = len(group["rows"]), len(group["columns"])
    seen = np.tri(T, S, dtype=bool) if group["causal"] else np.ones((T, S), bool)
    found = np.zeros((group["layers"], group["heads"], T, S))
    packed = np.frombuffer(base64.b64decode(group["data"]), np.uint8).reshape(*found.shape[:2], seen.sum())
    found[:, :, seen] = (packed / 255) ** 2
    return found


def test_its_numbers_are_the_models(translator):
    model, tokenizer = translator
    data = look_translation(model, tokenizer, TEXT)
    source, written = tokenizer.encode(TEXT), [t["id"] for t in data["tokens"]]
    source += [tokenizer.end_of_text] * model.source_end
    tokens = [tokenizer.end_of_text, *written[:-1]]
    logits, _ = model.forward([source], None, [tokens])
    p, _ = softmax_forward(logits[0].astype(np.float64))
    for t, token in enumerate(data["tokens"]):
        assert token["surprise"] == pytest.approx(-np.log2(p[t, written[t]]), abs=0.006)
        assert [x for _, x in token["next"]] == pytest.approx(np.sort(p[t])[:-9:-1], abs=6e-5)
    np.testing.assert_allclose(data["source"]["looked"], model.looked_at([source], None, [tokens])[0], rtol=1e-3)
    maps = lens.attention_maps(model, [source], None, [tokens])
    assert [g["name"] for g in data["groups"]] == ["decoder.*.cross_attn", "decoder.*.attn", "encoder.*.attn"]
    for group in data["groups"]:
        for i, found in enumerate(weights(group)):
            np.testing.assert_allclose(found, maps[group["name"].replace("*", str(i))][0], atol=0.004)
    shapes = [(len(g["rows"]), len(g["columns"])) for g in data["groups"]]
    S, T = len(source), len(written)
    assert shapes == [(T, S), (T, T), (S, S)] and len(data["source"]["tokens"]) == S
    assert len(data["norms"]["values"][0]) == T and all(n.startswith("decoder.") for n in data["norms"]["names"])
    assert data["written"] and "</script> 题" not in page(data)


@pytest.mark.parametrize("text, message", [("", "expected from 1 to"), ("a word " * 30, "expected from 1 to"),
                                           (" ", "expected at least one word")])
def test_a_text_that_cannot_be_translated(translator, text, message):
    with pytest.raises(InterpretError, match=f"the text: {message}"):
        look_translation(*translator, text)


def test_the_command(translator, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    loading.save("model", *translator)
    assert command.main([TEXT, "--model", "model", "--out", "page.html"]) == 0
    assert "decoder.*.cross_attn" in (tmp_path / "page.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert command.main([TEXT, "--model", "model", "--against", "My", "--out", "other.html"]) == 1
    assert "--against: expected a GPT2" in capsys.readouterr().err and not (tmp_path / "other.html").exists()


def test_a_bert():
    tokenizer = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "my", "lord", "##s", ","])
    model = BERT(BertConfig(9, 8, 12, 3, 2, 20), np.random.default_rng(0))
    data = look_maps(model, tokenizer, "My lords,")
    ids = tokenizer.encode_pair("My lords,").ids
    assert [t["id"] for t in data["tokens"]] == ids
    group, = data["groups"]
    for i, p in enumerate(lens.attention_maps(model, [ids]).values()):
        np.testing.assert_allclose(weights(group)[i], p[0], atol=0.004)
    for text in ("", "my " * 9):
        with pytest.raises(InterpretError, match="the text: expected from 3 to 8 tokens"):
            look_maps(model, tokenizer, text)


@pytest.mark.slow
def test_a_browser_shows_it(translator, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page(look_translation(*translator, TEXT)), encoding="utf-8")
    for language, heading in (("en-US", "Which source word it looked at"), ("zh-CN", "它看了原文的哪个词")):
        shown = in_browser(path, f"--lang={language}", f"--accept-lang={language}")
        assert shown.count("<section") == 5 and shown.count("<canvas") == 6 and heading in shown
        assert "undefined" not in shown.partition("<main>")[2].partition("</main>")[0]
    assert on_a_phone_in_the_dark(path) == ["rgb(22, 24, 27)", 400]
