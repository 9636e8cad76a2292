"""The page: what is in it, and that a browser shows it."""

import base64
import json
import re

import numpy as np
import pytest

import gpt2np
from gpt2np.interpret import __main__ as command
from gpt2np.interpret import lens
from gpt2np.interpret.report import characters, look, page
from gpt2np.interpret.taps import InterpretError
from gpt2np.layers.softmax import softmax_forward
from gpt2np.models.config import SIZES
from gpt2np.models.gpt2 import GPT2
from tests.browser import asked, in_browser, on_a_phone_in_the_dark

TEXT = "To be </script><b>\n 问题"


@pytest.fixture(scope="module")
def demo():
    return gpt2np.load("demo")


@pytest.fixture(scope="module")
def data(demo):
    return look(*demo, TEXT)


def test_its_numbers_are_the_models(demo, data):
    model, tokenizer = demo
    ids = tokenizer.encode(TEXT)
    logits, _ = model.forward([ids])
    p, _ = softmax_forward(logits[0].astype(np.float64))
    assert [t["id"] for t in data["tokens"]] == ids and data["tokens"][0]["surprise"] is None
    for t, token in enumerate(data["tokens"]):
        if t:
            assert token["surprise"] == pytest.approx(-np.log2(p[t - 1, ids[t]]), abs=0.006)
        assert token["entropy"] == pytest.approx(-(p[t] * np.log2(p[t])).sum(), abs=0.006)
        assert [x for _, x in token["next"]] == pytest.approx(np.sort(p[t])[:-9:-1], abs=6e-5)
        assert data["lens"][-1][t] == token["next"][:3]
        best = np.argsort(-logits[0, t])[:2]
        whole = float(logits[0, t, best[0]] - logits[0, t, best[1]])
        assert data["parts"]["wholes"][t] == pytest.approx(whole, rel=1e-5)
        assert data["parts"]["sums"][t] == pytest.approx(whole, abs=2e-3)
    assert len(data["lens"]) == 1 + len(model.h)
    norms = lens.residual_norms(model, [ids])
    assert data["norms"]["names"] == list(norms)


def test_its_attention_is_the_models(demo, data):
    model, tokenizer = demo
    ids = tokenizer.encode(TEXT)
    group, = data["groups"]
    T, packed = len(ids), np.frombuffer(base64.b64decode(group["data"]), np.uint8)
    packed = packed.reshape(group["layers"], group["heads"], T * (T + 1) // 2)
    for i, p in enumerate(lens.attention_maps(model, [ids]).values()):
        np.testing.assert_allclose((packed[i] / 255)**2, p[0][:, np.tri(T, dtype=bool)], atol=0.004)


def test_characters_are_whole_over_their_tokens(demo):
    _, tokenizer = demo
    ids = tokenizer.encode("a 问题")
    found = characters(tokenizer, ids)
    assert "".join(c["text"] for c in found) == "a 问题"
    assert [i for c in found for i in c["tokens"]] == list(range(len(ids)))
    assert next(c for c in found if c["text"] == "题")["tokens"] == list(range(len(ids) - 3, len(ids)))
    cut_off = characters(tokenizer, ids[:-1])
    assert [i for c in cut_off for i in c["tokens"]] == list(range(len(ids) - 1))


def test_the_page_is_one_file_whose_data_cannot_leave_their_place(data):
    text = page(data)
    assert "http" not in text.replace("http-equiv", "") and text.count("</script>") == 2
    assert "<title>To be &lt;/script&gt;&lt;b&gt;" in text
    inside = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)[1]
    assert json.loads(inside) == json.loads(json.dumps(data))


def test_patching(demo):
    model, tokenizer = demo
    one, other = "My lord", "My lady"
    assert len(tokenizer.encode(one)) == len(tokenizer.encode(other))
    done = []
    grid = look(model, tokenizer, one, other, lambda *n: done.append(n))["patch"]
    values = np.array(grid["values"])
    assert values.shape == (len(model.h), len(tokenizer.encode(one))) and done[-1] == (len(model.h), len(model.h))
    assert values[-1, -1] == pytest.approx(1, abs=1e-3) and (np.abs(values[-1, :-1]) < 1e-3).all()
    with pytest.raises(InterpretError, match=r"expected as many tokens as the text has, .* side by side"):
        look(model, tokenizer, one, "My")


@pytest.mark.parametrize("text", ["", "To be " * 200])
def test_a_text_that_cannot_be_shown(demo, text):
    with pytest.raises(InterpretError, match="the text: expected from 1 to 256 tokens"):
        look(*demo, text)


def test_one_token_is_enough(demo):
    found = look(*demo, "To")
    assert len(found["tokens"]) == 1 and "patch" not in found


@pytest.mark.slow
def test_of_gpt2_it_is_small():
    """Twenty tokens of the 124M shape: under 150 kB."""
    _, tokenizer = gpt2np.load("demo")
    model = GPT2(SIZES["124M"], np.random.default_rng(0))

    class Vocabulary:
        def encode(self, text):
            return list(range(300, 320))

        def decode_bytes(self, ids):
            return b"".join(b" token" if i > 4000 else tokenizer.decode_bytes([i]) for i in ids)
    assert len(page(look(model, Vocabulary(), "x")).encode()) < 150_000


@pytest.mark.slow
def test_a_browser_shows_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(["My lord, 问", "--against", "My lady, 问", "--out", "page.html"]) == 0
    assert re.fullmatch(r"page\.html: \d+ kB; open it in a browser\n", capsys.readouterr().out)
    for language, heading in (("en-US", "What each layer would say"), ("zh-CN", "每一层会怎么说")):
        shown = in_browser(tmp_path / "page.html", f"--lang={language}", f"--accept-lang={language}")
        assert shown.count("<section") == 7 and shown.count("<canvas") == 48
        assert heading in shown and "问" in shown and 'aria-pressed="true"' in shown
        buttons = re.findall(r"<button[^>]*>", shown)
        assert all("aria-label" in b or "data-token" in b or 'id="language"' in b for b in buttons)


KEYS = """
const press = (e, ...keys) => keys.forEach(key => (e ?? document.activeElement).dispatchEvent(
  new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })));
const stops = () => [...document.querySelectorAll("*")].filter(e => e.tabIndex >= 0).map(e =>
  e.getAttribute("aria-label") || e.textContent);
const found = { stops: stops() };
document.querySelector('[data-head="0 0"]').focus();
press(null, "ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp");
found.head = [document.activeElement.dataset.head, document.querySelector("#large strong").textContent];
found.after = stops().length;
found.notes = [...document.querySelectorAll("[role=region]")].map(e => {
  press(e, "ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowDown");
  return e.parentNode.querySelector(".note").textContent;
});
document.querySelectorAll("[role=region]")[1].querySelectorAll("td[title]")[0].click();
found.clicked = document.querySelectorAll(".note")[1].textContent;
document.querySelector("[data-token='1']").click();
const pressed = document.querySelectorAll("[data-token][aria-pressed=true]");
found.pressed = [document.activeElement.textContent, pressed.length];
return found;
"""


@pytest.mark.slow
def test_keys_reach_everything(demo, tmp_path):
    """Tab stops at each token, once at the heads, and at each grid; arrow keys go on within, and say where they are."""
    model, tokenizer = demo
    data = look(model, tokenizer, "My lord, I", "My lady, I")
    path = tmp_path / "page.html"
    path.write_text(page(data), encoding="utf-8")
    found = asked(path, KEYS, "--lang=en-US")
    assert found["stops"] == ["中文", "My", "␣lord", ",", "␣I", "layer 0, head 0", *(
        f"{name}: arrow keys go from place to place" for name in (
            "layer 0, head 0", "What each layer would say", "Patching"))]
    assert found["head"] == ["0 2", "layer 0, head 2"] and found["after"] == len(found["stops"])
    p = lens.attention_maps(model, [tokenizer.encode("My lord, I")])["h.0.attn"][0, 2, 3, 0]
    name, _, shown_p = found["notes"][0].partition(": ")
    assert name == "␣I → My" and float(shown_p) == pytest.approx(p, abs=0.005)
    token, probability = data["lens"][3][0][0]
    spelling = token.replace(" ", "␣").replace("\n", "⏎")
    assert found["notes"][1].startswith(f"layer 2, My: {spelling} {100 * probability:.1f} %  ")
    assert found["notes"][2] == f"layer 3, My: {data['patch']['values'][3][0]:.3f}"
    assert found["clicked"].startswith("input, My: My ") and found["pressed"] == ["␣lord", 1]


@pytest.mark.slow
def test_dark_and_on_a_phone(demo, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page(look(*demo, "My lord, I will 问 not be so much the better")), encoding="utf-8")
    assert on_a_phone_in_the_dark(path) == ["rgb(22, 24, 27)", 400]


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert command.main(["To be", "--out", str(tmp_path / "no" / "page.html")]) == 1
    assert f"page.html: there is no folder {tmp_path / 'no'}" in capsys.readouterr().err
