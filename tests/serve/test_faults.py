"""What clients do wrong, and what networks do: who asked gets a status and a sentence, and the server goes on."""

import contextlib
import json
import socket
import threading
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt2np.sampling import GenerationError, Sampler
from tests.serve.conftest import LIMITS, N_CTX, TOKENIZER, Gate, serving

# What is asked, the status, and a part of the sentence: a body, or bytes.
WRONG = [
    ("/generate", b"", 400, "body: expected JSON, got what is none: expecting value at character 0"),
    ("/generate", b"{", 400, "body: expected JSON"),
    ("/generate", b"[1]", 400, "body: expected a JSON object, {...}, got a list of 1"),
    ("/generate", b"NaN", 400, "NaN is not JSON"),
    ("/generate", b'{"temperature": NaN}', 400, "NaN is not JSON"),
    ("/generate", b'{"temperature": 1e999}', 400, "temperature: expected a number, got Infinity"),
    ("/generate", b'{"temperature": ' + b"9" * 400 + b"}", 400, "temperature: expected a number, got 999"),
    ("/generate", b'{"seed": ' + b"9" * 5000 + b"}", 400, "body: expected JSON"),
    ("/generate", b"[" * 30000, 400, "body: expected JSON, got what is none: nested too deep"),
    ("/generate", b'{"a":' * 9000 + b"1" + b"}" * 9000, 400, "nested too deep"),
    ("/generate", b'{"prompt": "\xff"}', 400, "body: expected text in UTF-8, got the byte 0xff at byte 12"),
    ("/generate", b'{"prompt": "\\ud800"}', 400, "half of a surrogate pair"),
    ("/generate", b'{"prompt": "a", "prompt": "b"}', 400, "the key 'prompt' comes twice"),
    ("/generate", {"prompt": 1}, 400, "prompt: expected a text, a string, got 1"),
    ("/generate", {"prompt": ["a"]}, 400, "prompt: expected a text, a string, got a list of 1"),
    ("/generate", {"prompt": "x" * (N_CTX + 1)}, 400, f"prompt: expected at most the {N_CTX} tokens"),
    ("/generate", {"prompt": "x" * 60000}, 400, f"the {N_CTX} tokens that the model can see, got 60,000 characters"),
    ("/generate", {"max_new_tokens": 0}, 400, "max_new_tokens: expected a whole number from 1 to 200, got 0"),
    ("/generate", {"max_new_tokens": True}, 400, "max_new_tokens: expected a whole number from 1 to 200, got true"),
    ("/generate", {"max_new_tokens": 201}, 400, "got 201"),
    ("/generate", {"max_new_tokens": 1.5}, 400, "got 1.5"),
    ("/generate", {"max_tokens": 5}, 400, '"max_tokens": expected a field that there is, got one that is not known'),
    ("/generate", {"temprature": 5}, 400, "did you mean temperature?"),
    ("/generate", {"temperature": -1}, 400, "temperature: expected a number from 0 to 1e9, got -1"),
    ("/generate", {"top_p": 0}, 400, "top_p: expected a number above 0 and up to 1, got 0"),
    ("/generate", {"top_k": 10**6}, 400, "top_k: expected a whole number from 1 to 257"),
    ("/generate", {"seed": -1}, 400, "seed: expected a whole number from 0 or more, got -1"),
    ("/generate", {"stream": "yes"}, 400, 'stream: expected true or false, got "yes"'),
    ("/generate", {"stop": [""]}, 400, "stop: expected a text, or a list of texts, none of them empty"),
    ("/generate", {"stop": {"a": 1}}, 400, "got an object"),
    ("/generate", {"logit_bias": {"cat": 1}}, 400, "logit_bias: expected token ids from 0 to 256 as keys"),
    ("/generate", {"logit_bias": {"1": 1e200}}, 400, "logit_bias: expected tokens with numbers from -1e9 to 1e9"),
    ("/generate", {"num_return_sequences": 17}, 400, "expected at most 16 texts of one request, got 17"),
    ("/generate", {"min_new_tokens": 9, "max_new_tokens": 8}, 400, "min_new_tokens: expected at most the 8"),
    ("/generate", {"forbid": [chr(i) for i in range(17)]}, 400, "forbid: expected at most 16 texts"),
    ("/v1/completions", {"model": "gpt-5"}, 404, 'model: expected small, the one that is served here, got "gpt-5"'),
    ("/v1/completions", {"prompt": []}, 400, "prompt: expected a text, a list of texts, a list of token ids"),
    ("/v1/completions", {"prompt": [1, "a"]}, 400, "prompt: expected"),
    ("/v1/completions", {"prompt": [999]}, 400, "prompt: expected token ids from 0 to 256, got 999"),
    ("/v1/completions", {"prompt": "a", "best_of": 3}, 400, "best_of: expected nothing, or the same as n, 1"),
    ("/v1/completions", {"prompt": "a", "suffix": "b"}, 400, "suffix: expected nothing"),
    ("/v1/completions", {"prompt": "a", "logprobs": 1, "echo": True}, 400, "logprobs: expected nothing beside echo"),
    ("/v1/completions", {"messages": []}, 400, '"messages": expected a field that there is'),
    ("/v1/completions", {"prompt": "a", "stream_options": {"x": 1}}, 400, '"x": expected a field'),
    ("/v1/chat/completions", {"messages": []}, 404, "GPT-2 goes on from a text and has learned no dialogue"),
    ("/tokenize", {}, 400, "text: expected a text, a string, got null"),
    ("/tokenize", {"text": 1}, 400, "text: expected a text"),
    ("/detokenize", {"tokens": [1, 257]}, 400, "tokens: expected token ids from 0 to 256, got 257"),
    ("/detokenize", {"tokens": "a"}, 400, "tokens: expected a list of token ids"),
    ("/detokenize", {"tokens": [True]}, 400, "tokens: expected token ids from 0 to 256, got true"),
    ("/nowhere", {}, 404, "expected one of /, /health"),
    ("/../../etc/passwd", {}, 404, "got /../../etc/passwd"),
    ("/health", {}, 405, "/health: expected GET, got POST"),
    ("/generate", b"x" * (LIMITS.body + 1), 413, "body: expected at most 65,536 bytes, got 65537"),
]


@pytest.mark.parametrize("path, body, status, message", WRONG, ids=[f"{i} {one[0]}" for i, one in enumerate(WRONG)])
def test_wrong_requests(client, path, body, status, message):
    got, answer = client.post(path, body)
    assert got == status and set(answer) == {"error"} and message in answer["error"]["message"]
    assert set(answer["error"]) == {"message", "type", "param", "code"} and len(answer["error"]["message"]) < 400


def test_methods(client):
    for method, path, status, allow in (("GET", "/generate", 405, "POST"), ("DELETE", "/", 405, "GET, HEAD"),
                                        ("HEAD", "/health", 200, None), ("HEAD", "/x", 404, None),
                                        ("BREW", "/tokenize", 405, "POST"), ("OPTIONS", "/generate", 405, "POST")):
        got, headers, body = client.ask(method, path)
        assert got == status and headers["Allow"] == allow and (method != "HEAD" or not body)


def until_closed(connection):
    with contextlib.suppress(ConnectionError):
        data = b""
        while more := connection.recv(1 << 16):
            data += more
    return data


@pytest.mark.parametrize("data, status, message", [
    (b"GARBAGE\r\n\r\n", 400, "the head of the request cannot be read"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "the head of the request cannot be read"),
    (b"GET / HTTP/9.9\r\n\r\n", 505, "the head of the request cannot be read"),
    (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", 414, "expected a path of a few characters"),
    (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431, "the head of the request cannot be read"),
    (b"GET / HTTP/1.1\r\na: " + b"b" * 70000 + b"\r\n\r\n", 431, "the head of the request cannot be read"),
    (b"POST /generate HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "Content-Length: expected one number of bytes"),
    (b"POST /generate HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "Content-Length: expected"),
    (b"POST /generate HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n{}", 413, "body: expected at most"),
    (b"POST /generate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411, "expected Content-Length"),
    (b"POST /generate HTTP/1.1\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}", 415, "body: expected "),
    (b"POST /generate HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nContent-Length: 2\r\n\r\n{}", 403, "expected no page"),
    (b"POST /generate HTTP/1.1\r\nConte", 408, "expected a whole request within 0.4 seconds"),
    (b"POST /generate HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", 408, "expected a whole request within 0.4 seconds"),
])
def test_what_is_no_request(client, data, status, message):
    """Half a head, half a body, a head without end, a handshake of TLS: it is said, and the connection is closed."""
    connection = client.raw(data)
    with connection:
        if status != 408:
            connection.shutdown(socket.SHUT_WR)
        head, _, body = until_closed(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status) and message in json.loads(body)["error"]["message"]
    if status != 403:
        assert b"\r\nConnection: close" in head
    assert client.get("/health")[0] == 200


def test_a_body_of_10_mb_is_refused_and_the_refusal_arrives(client):
    for path in ("/generate", "/nowhere"):
        assert client.ask("POST", path, b" " * 10_000_000)[0] == 413
    asked = b"POST /generate HTTP/1.1\r\nContent-Length: 10000000\r\nExpect: 100-continue\r\n\r\n"
    with client.raw(asked) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_who_asks_before_sending_a_body_is_told_to_go_on(client):
    with client.raw(b"POST /tokenize HTTP/1.1\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n") as connection:
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b'{"text":"a"}')
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_slow_sender_has_some_time_in_all_and_not_for_each_byte(client):
    """A byte now and then does not hold a thread for ever; and nobody else is held up."""
    start = time.monotonic()
    with client.raw() as connection, contextlib.suppress(ConnectionError):
        for byte in b"POST /generate HTTP/1.1\r\nContent-Length: 50\r\n\r\n" + b" " * 50:
            connection.sendall(bytes([byte]))
            time.sleep(0.03)
            if time.monotonic() - start > 0.2:
                assert client.get("/health")[0] == 200
            if time.monotonic() - start > 1.5:
                break
        assert until_closed(connection).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - start < 5


def test_requests_follow_one_another_on_a_connection(client):
    """Also pushed in together, and with HTTP/1.0, whose answers end with the connection."""
    one = b'POST /tokenize HTTP/1.1\r\nContent-Length: 12\r\n\r\n{"text":"a"}'
    bad = b"POST /generate HTTP/1.1\r\nContent-Length: 1\r\n\r\n{"
    with client.raw(one + bad + one) as connection:
        connection.shutdown(socket.SHUT_WR)
        data = until_closed(connection)
    assert data.count(b"HTTP/1.1 200 OK") == 2 and data.count(b"HTTP/1.1 400 Bad Request") == 1
    body = b'{"prompt":"a","max_new_tokens":3,"seed":1,"stream":true}'
    with client.raw(b"POST /generate HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as connection:
        head, _, data = until_closed(connection).partition(b"\r\n\r\n")
    assert b"chunked" not in head and data.startswith(b"data: {") and data.endswith(b"data: [DONE]\n\n")


def test_an_answer_leaves_at_once(client):
    """Nagle's algorithm would wait 40 ms for each: the fastest of ten takes less."""
    with client.raw() as connection:
        seconds = []
        for _ in range(10):
            start = time.perf_counter()
            connection.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.03


# ---- clients that go, and too many of them

LONG = json.dumps({"prompt": "a", "max_new_tokens": 150, "seed": 1, "temperature": 0}).encode()


def request_of(body):
    return b"POST /generate HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def eventually(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_hangs_up_ends_its_text_within_one_token(stream, reset):
    with serving() as client:
        engine, value = client.server.engine, client.server.metrics.value
        gate = Gate(engine)
        body = json.dumps(json.loads(LONG) | {"stream": stream}).encode()
        connection = client.raw(request_of(body))
        gate.open(3)
        eventually(lambda: value("gpt2np_generated_tokens_total") == 3)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if stream:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.close()
        gate.open(50)
        eventually(lambda: engine.counts() == (0, 0))
        assert value("gpt2np_generated_tokens_total") <= 4 and value("gpt2np_texts_total", ended_by="gone") == 1
        eventually(lambda: value("gpt2np_requests_total", status="499") == 1)
        assert client.post("/generate", {"max_new_tokens": 2})[0] == 200


def test_who_goes_while_waiting_leaves_the_queue_and_too_many_are_refused():
    with serving(LIMITS._replace(texts=1, waiting=2, choices=3)) as client:
        engine, value = client.server.engine, client.server.metrics.value
        gate = Gate(engine)
        first = client.raw(request_of(LONG))
        eventually(lambda: engine.counts() == (0, 1))
        others = [client.raw(request_of(LONG)) for _ in range(2)]
        eventually(lambda: engine.counts() == (2, 1))
        status, headers, body = client.ask("POST", "/generate", {"prompt": "a"})
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "expected at most 2 texts in the queue" in json.loads(body)["error"]["message"]
        others[0].close()
        gate.open(1)
        eventually(lambda: engine.counts() == (1, 1))
        assert client.post("/generate", {"num_return_sequences": 3})[0] == 429
        gate.open(2000)
        assert first.recv(4096).startswith(b"HTTP/1.1 200") and others[1].recv(4096).startswith(b"HTTP/1.1 200")
        assert value("gpt2np_texts_total", ended_by="gone") == 1
        first.close()
        others[1].close()


def test_too_many_connections_are_refused_at_once():
    with serving(LIMITS._replace(connections=2)) as client:
        held = [client.raw() for _ in range(2)]
        eventually(lambda: client.server.metrics.value("gpt2np_connections") == 2)
        with client.raw() as connection:
            head, _, body = until_closed(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1" in head
        assert "expected at most 2 connections" in json.loads(body)["error"]["message"]
        held.pop().close()
        eventually(lambda: client.server.metrics.value("gpt2np_connections") == 1)
        assert client.get("/health")[0] == 200
        held.pop().close()


def test_time_ends_a_text_as_it_is_and_refuses_what_was_not_begun():
    with serving(LIMITS._replace(texts=1, seconds=0.3)) as client:
        gate = Gate(client.server.engine)
        found = []
        threads = [threading.Thread(target=lambda: found.append(client.post("/generate", json.loads(LONG))))
                   for _ in range(2)]
        threads[0].start()
        eventually(lambda: client.server.engine.counts() == (0, 1))
        threads[1].start()
        eventually(lambda: client.server.engine.counts() == (1, 1))
        gate.open(2)
        eventually(lambda: client.server.metrics.value("gpt2np_generated_tokens_total") == 2)
        time.sleep(0.35)
        gate.open(100)
        for thread in threads:
            thread.join(20)
        (_, refused), (_, answer) = sorted(found, key=lambda one: one[0], reverse=True)
        assert sorted(status for status, _ in found) == [200, 503]
        assert "the time for a text is over" in refused["error"]["message"]
        assert answer["texts"][0]["ended_by"] == "time" and 2 <= answer["texts"][0]["tokens"] <= 3


def test_a_mistake_is_told_without_its_traceback_and_the_next_request_is_answered(capsys):
    with serving() as client:
        engine = client.server.engine
        whole, engine.together.step = engine.together.step, lambda: 1 / 0
        status, answer = client.post("/generate", {"max_new_tokens": 3})
        assert status == 500 and answer["error"]["message"] == "the server has made a mistake, which its log tells of"
        assert whole and client.post("/generate", {"max_new_tokens": 3})[0] == 200
        engine.together.step = lambda: (_ for _ in ()).throw(MemoryError("a step"))
        status, answer = client.post("/generate", {"max_new_tokens": 3})
        assert status == 503 and answer["error"]["message"].startswith("not enough memory (a step)")
        assert client.post("/generate", {"max_new_tokens": 3})[0] == 200
        client.server.reader.tokenize = lambda fields: [][0]
        status, answer = client.post("/tokenize", {"text": "a"})
        assert status == 500 and "mistake" in answer["error"]["message"] and client.get("/health")[0] == 200
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said and "IndexError" in said


def test_logits_that_are_no_numbers_end_one_text(monkeypatch):
    sample = Sampler.sample

    def fails(self, logits, tokens, written, rng):
        if len(written) == 3 and list(tokens[:1]) == TOKENIZER.encode("b"):
            raise GenerationError("logits: expected finite numbers, got NaN")
        return sample(self, logits, tokens, written, rng)

    monkeypatch.setattr(Sampler, "sample", fails)
    with serving() as client:
        status, answer = client.post("/generate", {"prompt": "b", "seed": 1})
        assert status == 500 and answer["error"]["message"].startswith("logits: expected finite")
        parts = client.stream("/generate", {"prompt": "b", "seed": 1})
        assert parts[-1]["error"]["message"].startswith("logits: expected finite") and "text" in parts[0]
        assert client.post("/generate", {"prompt": "a", "seed": 1})[0] == 200


def test_to_end_is_to_finish_what_has_begun():
    with serving(LIMITS._replace(texts=1)) as client:
        server, gate, found = client.server, Gate(client.server.engine), []
        threads = [threading.Thread(target=lambda: found.append(client.post("/generate", json.loads(LONG))))
                   for _ in range(2)]
        for thread in threads:
            thread.start()
        eventually(lambda: server.engine.counts() == (1, 1))
        server.end()
        status, answer = client.post("/generate", {})
        assert status == 503 and "is about to end" in answer["error"]["message"]
        assert client.get("/health") == (503, {"status": "ending", "model": "small", "running": 1, "waiting": 1})
        assert not server.over()
        gate.open(1000)
        for thread in threads:
            thread.join(20)
        eventually(server.over)
        assert [status for status, _ in found] == [200, 200]
        assert len({answer["texts"][0]["text"] for _, answer in found}) == 1


def test_to_end_at_once_ends_the_texts():
    with serving() as client:
        server, gate, found = client.server, Gate(client.server.engine), []
        thread = threading.Thread(target=lambda: found.append(client.post("/generate", json.loads(LONG))))
        thread.start()
        gate.open(2)
        eventually(lambda: server.metrics.value("gpt2np_generated_tokens_total") == 2)
        server.end(at_once=True)
        gate.open(1)
        thread.join(20)
        eventually(server.over)
        assert found[0][0] == 503 and found[0][1]["error"]["message"] == "the server has been ended"


# ---- anything

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9)
    | st.sampled_from(["a", "世界", "small", "<|endoftext|>", 0, 1, 0.5]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6)
NAMES = st.sampled_from(["prompt", "max_new_tokens", "max_tokens", "temperature", "top_p", "top_k", "n", "seed", "stop",
                         "stream", "num_return_sequences", "logit_bias", "min_new_tokens", "forbid", "echo", "logprobs",
                         "stream_options", "model", "best_of", "text", "tokens", "min_p", "typical_p", "user",
                         "repetition_penalty", "frequency_penalty", "presence_penalty", "openai_top_p"])
GOOD = st.fixed_dictionaries({}, optional={
    "prompt": st.text(max_size=8), "seed": st.integers(0, 9), "temperature": st.floats(0, 2),
    "top_p": st.floats(0.1, 1), "stream": st.booleans(), "stop": st.lists(st.text(min_size=1, max_size=2), max_size=2),
    "repetition_penalty": st.floats(0.5, 2),
    "logit_bias": st.dictionaries(st.integers(0, 256).map(str), st.floats(-9, 9))})
BODIES = st.one_of(
    GOOD.map(lambda body: body | {"max_new_tokens": 3}), GOOD.map(lambda body: body | {"max_tokens": 3}),
    st.dictionaries(NAMES | st.text(max_size=5), VALUES, max_size=4),
    st.tuples(GOOD, st.dictionaries(NAMES, VALUES, max_size=1)).map(lambda two: two[0] | two[1]),
    st.binary(max_size=40), VALUES)
REQUESTS = st.tuples(st.sampled_from(["POST"] * 8 + ["GET", "HEAD", "PUT", "X"]),
                     st.sampled_from(["/generate", "/v1/completions"] * 4 + [
                         "/tokenize", "/detokenize", "/health", "/x", "/v1/models", "/", "/generate?a=b", "//", "*"]),
                     BODIES)
STATUS = {200, 400, 404, 405, 413, 429, 503}


def ask_anything(client, request):
    """Whatever is asked, the answer is whole, its status is one that is foreseen, and a refusal has a sentence."""
    method, path, body = request
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, headers, data = client.ask(method, path, body)
    assert status in STATUS
    assert "Traceback" not in data.decode("utf-8") and "gpt2np/" not in data.decode("utf-8")
    if method != "HEAD" and headers["Content-Type"] == "application/json":
        answer = json.loads(data)
        assert (status == 200) == ("error" not in answer)
        assert status == 200 or (": expected" in f": {answer['error']['message']}" and len(data) < 900)
    elif method != "HEAD" and headers["Content-Type"].startswith("text/event-stream"):
        assert data.endswith(b"data: [DONE]\n\n")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=REQUESTS)
def test_any_request_is_answered(client, request):
    ask_anything(client, request)


@pytest.mark.slow
def test_2000_requests_of_any_kind_are_answered():
    with serving(LIMITS._replace(tokens=40)) as client:
        @settings(max_examples=2000, suppress_health_check=list(HealthCheck))
        @given(request=REQUESTS)
        def anything(request):
            ask_anything(client, request)

        anything()
        assert client.get("/health") == (200, {"status": "ok", "model": "small", "running": 0, "waiting": 0})
        seen = client.metrics()
        assert seen["gpt2np_requests_received_total"] > 2000
        n = sum(value for name, value in seen.items() if name.startswith("gpt2np_requests_total"))
        assert n + seen["gpt2np_requests_in_progress"] == seen["gpt2np_requests_received_total"]


@pytest.mark.slow
def test_the_memory_stays_what_it_is():
    """After a first thousand requests, a second thousand adds nothing that grows with them."""
    with serving() as client:
        rng = np.random.default_rng(0)

        def some(n):
            for _ in range(n):
                body = {"prompt": "a" * int(rng.integers(N_CTX)), "max_new_tokens": 5, "stream": bool(rng.integers(2))}
                assert client.ask("POST", "/generate", body)[0] == 200
        some(300)
        tracemalloc.start()
        some(50)
        before = tracemalloc.get_traced_memory()[0]
        some(700)
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert after - before < 100_000
