"""What is written for a request is what generate writes, whole and as it comes, alone and in company."""

import base64
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np.decoding import columns, generate_batch
from gpt2np.layers.softmax import log_softmax_forward
from gpt2np.sampling import Sampler
from gpt2np.text.streaming import text_before
from tests.serve.conftest import LIMITS, N_CTX, TOKENIZER, serving, small_model

END = TOKENIZER.end_of_text
MODEL = small_model()


def by_generate(body):
    """The texts of /generate's answer, from Python."""
    names = ("temperature", "top_p", "top_k", "frequency_penalty")
    rules = {"temperature": 0.8, "top_p": 0.95} | {name: body[name] for name in names if name in body}
    prompt = TOKENIZER.encode(body.get("prompt", "")) or [END]
    n = body.get("num_return_sequences", 1)
    found = columns(generate_batch(MODEL, [prompt], body.get("max_new_tokens", 100), Sampler(end_of_text=END, **rules),
                                   np.random.default_rng(body["seed"]), n))
    return [text_before(TOKENIZER, written, body.get("stop", ()), prompt) for written in found]


def bodies(n, seed=0):
    rng = np.random.default_rng(seed)
    return [{"prompt": "".join(map(chr, rng.integers(97, 123, rng.integers(0, N_CTX)))), "seed": int(rng.integers(99)),
             "max_new_tokens": int(rng.integers(1, 60)), "temperature": float(rng.choice([0, 0.7, 1.3])),
             "top_p": float(rng.choice([0.5, 1])), "num_return_sequences": int(rng.integers(1, 3))} for _ in range(n)]


def test_a_text_is_that_of_generate(client):
    """Of the function of the command's name, with its defaults."""
    status, answer = client.post("/generate", {"prompt": "To be", "seed": 3})
    expected = gpt2np.generate("To be", (MODEL, TOKENIZER), seed=3)
    assert status == 200 and "To be" + answer["texts"][0]["text"] == expected and answer["seed"] == 3
    assert answer["texts"][0]["ended_by"] in ("max_new_tokens", "end_of_text")


def test_in_company_each_text_is_what_it_is_alone(client):
    """Seven clients, more texts than there are rows, whole and as they come: float64, so exactly."""
    asked = bodies(7)

    def whole(body):
        status, answer = client.post("/generate", body)
        while status == 429:
            status, answer = client.post("/generate", body)
        assert status == 200
        return [text["text"] for text in answer["texts"]]

    with ThreadPoolExecutor(7) as pool:
        assert list(pool.map(whole, asked)) == [by_generate(body) for body in asked]


def test_a_stream_brings_the_same_text_and_never_half_a_character(client):
    for body in bodies(4, 1):
        parts = client.stream("/generate", body)
        texts = [""] * body["num_return_sequences"]
        for part in parts:
            texts[part["index"]] += part["text"]
        assert texts == by_generate(body)
        ends = [part for part in parts if "ended_by" in part]
        assert len(ends) == len(texts) and all(part["seed"] == body["seed"] for part in ends)


def test_characters_of_several_tokens(client):
    """世 is three bytes, three tokens here: it comes whole, at once."""
    bias = {str(token): 100 for token in TOKENIZER.encode("世")}
    body = {"prompt": "a", "max_new_tokens": 40, "seed": 1, "logit_bias": bias, "temperature": 5}
    parts = [part["text"] for part in client.stream("/generate", body)]
    assert "世" in "".join(parts) and all(part for part in parts[:-1])
    status, answer = client.post("/generate", body)
    assert status == 200 and answer["texts"][0]["text"] == "".join(parts)


def test_stop_texts_end_it_and_are_cut_off(client):
    text = client.post("/generate", {"prompt": "a", "seed": 5, "max_new_tokens": 60})[1]["texts"][0]["text"]
    stop = text[10:12]
    body = {"prompt": "a", "seed": 5, "max_new_tokens": 60, "stop": [stop, "\0\0\0"]}
    status, answer = client.post("/generate", body)
    assert status == 200 and answer["texts"] == [{"text": text[:text.index(stop)], "ended_by": "stop",
                                                  "tokens": answer["texts"][0]["tokens"]}]
    parts = client.stream("/v1/completions", {"prompt": "a", "seed": 5, "max_tokens": 60, "temperature": 0.8,
                                              "top_p": 0.95, "stop": stop})
    assert "".join(part["choices"][0]["text"] for part in parts) == text[:text.index(stop)]
    assert parts[-1]["choices"][0]["finish_reason"] == "stop"


# ---- OpenAI's shape

def test_completions(client):
    """Two prompts, two texts of each, in the order of generate_batch; usage counts a prompt once."""
    body = {"model": "small", "prompt": ["ab", "c"], "n": 2, "max_tokens": 7, "seed": 1}
    status, answer = client.post("/v1/completions", body)
    prompts = [TOKENIZER.encode(prompt) for prompt in body["prompt"]]
    found = columns(generate_batch(MODEL, prompts, 7, Sampler(end_of_text=END), np.random.default_rng(1), 2))
    assert status == 200 and answer["object"] == "text_completion" and answer["model"] == "small"
    assert [choice["text"] for choice in answer["choices"]] == [text_before(TOKENIZER, written) for written in found]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    written = sum(map(len, found))
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": written, "total_tokens": 3 + written}
    echoed = client.post("/v1/completions", body | {"echo": True})[1]["choices"]
    assert [choice["text"] for choice in echoed] == [
        prompt + choice["text"] for prompt, choice in zip(["ab", "ab", "c", "c"], answer["choices"])]
    by_ids = client.post("/v1/completions", body | {"prompt": prompts})[1]["choices"]
    assert by_ids == answer["choices"]
    parts = client.stream("/v1/completions", body | {"stream_options": {"include_usage": True}})
    texts = [""] * 4
    for part in parts[:-1]:
        choice, = part["choices"]
        texts[choice["index"]] += choice["text"]
        assert part["usage"] is None
    assert texts == [choice["text"] for choice in answer["choices"]]
    assert parts[-1]["choices"] == [] and parts[-1]["usage"] == answer["usage"]


def test_the_probabilities_are_the_model_s_own(client):
    """Before the rules of the sampler; the same whole and as they come."""
    body = {"prompt": "ab", "max_tokens": 6, "seed": 4, "temperature": 0.5, "logprobs": 3}
    choice, = client.post("/v1/completions", body)[1]["choices"]
    written = next(iter(columns(generate_batch(MODEL, [TOKENIZER.encode("ab")], 6,
                                               Sampler(temperature=0.5, end_of_text=END), np.random.default_rng(4)))))
    logits = MODEL.forward([TOKENIZER.encode("ab") + written[:-1]], keep_cache=False)[0][0, 1:]
    log_p = log_softmax_forward(logits)[0]
    found = choice["logprobs"]
    np.testing.assert_allclose(found["token_logprobs"], log_p[np.arange(6), written], rtol=0, atol=1e-12)
    for likeliest, row in zip(found["top_logprobs"], log_p):
        np.testing.assert_allclose(list(likeliest.values()), -np.sort(-row)[:3], rtol=0, atol=1e-12)
    assert found["text_offset"][0] == 0 and len(found["tokens"]) == len(found["text_offset"]) == 6
    parts = [part["choices"][0]["logprobs"] for part in client.stream("/v1/completions", body)]
    for name in found:
        assert [one for part in parts if part for one in part[name]] == found[name]


def test_models(client):
    status, listed = client.get("/v1/models")
    assert status == 200 and [model["id"] for model in listed["data"]] == ["small"]
    assert client.get("/v1/models/small") == (200, listed["data"][0])
    status, answer = client.get("/v1/models/gpt-5")
    assert status == 404 and answer["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("text", ["", "To be", "世界 a", "\0\n", "<|endoftext|>"])
def test_tokens_and_back(client, text):
    status, answer = client.post("/tokenize", {"text": text})
    assert status == 200 and answer["tokens"] == TOKENIZER.encode(text)
    assert len(answer["pieces"]) == len(answer["tokens"])
    assert client.post("/detokenize", {"tokens": answer["tokens"]}) == (200, {"text": text})


def test_pieces_that_are_no_text_are_bytes(client):
    assert client.post("/tokenize", {"text": "é"})[1]["pieces"] == [r"bytes:\xc3", r"bytes:\xa9"]
    assert client.post("/detokenize", {"tokens": TOKENIZER.encode("é")[:1]}) == (200, {"text": "\ufffd"})


def test_in_float32_a_text_alone_is_the_command_s():
    model = small_model(np.float32)
    with serving(model=model) as client:
        answer = client.post("/generate", {"prompt": "Once", "seed": 3, "max_new_tokens": 40})[1]
    assert "Once" + answer["texts"][0]["text"] == gpt2np.generate("Once", (model, TOKENIZER), 40, seed=3)


def test_the_page_needs_nothing_but_itself(client):
    """What it runs is allowed by its hash, nothing is fetched from elsewhere, both languages say the same."""
    status, headers, body = client.ask("GET", "/")
    text, policy = body.decode(), headers["Content-Security-Policy"]
    assert status == 200 and "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("script", "style"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        assert inside and text.count(f"<{tag}") == len(inside)
        for one in inside:
            assert base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() in policy
    assert not re.search(r"\s(style|on\w+)=|https?://|src=", text)
    blocks = re.findall(r"\b(?:en|zh): \{(.*?)\},\n", text, re.S)
    english, chinese = (re.findall(r"(\w+): \"", block) for block in blocks)
    assert english == chinese and set(re.findall(r'data-say="(\w+)"', text)) <= set(english)
    assert f'max="{LIMITS.tokens}"' in text


def test_the_metrics_add_up():
    with serving() as client:
        for body in bodies(5, 2):
            client.post("/generate", body)
        client.stream("/generate", {"prompt": "a", "max_new_tokens": 9, "seed": 1})
        client.get("/nowhere")
        client.post("/generate", {"temperature": "hot"})
        seen = client.metrics()

    def total(name):
        return sum(value for key, value in seen.items() if key.partition("{")[0] == name)

    n = sum(body["num_return_sequences"] for body in bodies(5, 2)) + 1
    assert total("gpt2np_requests_received_total") == 9 == \
        total("gpt2np_requests_total") + seen["gpt2np_requests_in_progress"]
    assert total("gpt2np_requests_refused_total") == 2 == sum(
        value for key, value in seen.items() if key.startswith("gpt2np_requests_total") and 'status="4' in key)
    assert total("gpt2np_texts_accepted_total") == n == total("gpt2np_texts_total") == \
        seen["gpt2np_queue_seconds_count"] == seen["gpt2np_first_token_seconds_count"]
    assert seen["gpt2np_texts_waiting"] == seen["gpt2np_texts_running"] == 0
    prompts = sum(max(1, len(body["prompt"])) * body["num_return_sequences"] for body in bodies(5, 2)) + 1
    assert seen["gpt2np_prompt_tokens_total"] == prompts
    assert seen["gpt2np_request_seconds_count"] == 8 == seen['gpt2np_request_seconds_bucket{le="+Inf"}']
    assert 0 < seen["gpt2np_step_seconds_total"] and seen["gpt2np_generated_tokens_total"] >= 9
    assert seen["gpt2np_resident_bytes"] > 1e6 or not Path("/proc/self/statm").exists()
