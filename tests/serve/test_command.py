"""The command: how it begins, and how Ctrl-C and SIGTERM end it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from gpt2np.memory import expect_room
from gpt2np.serve import __main__ as command
from gpt2np.serve.server import Server
from tests.serve.conftest import LIMITS, TOKENIZER, small_model


class Running:
    """The command in a process of its own."""

    def __init__(self, *options):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gpt2np.serve", "--port", "0", *options], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.url = re.fullmatch(r"(\S+) is served at (http://\S+/) until Ctrl-C\.\n", line)[2]
        self.found, self.thread = [], None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.communicate()

    def ask(self, tokens):
        """The answer's status and body."""
        body = json.dumps({"prompt": "To be", "max_new_tokens": tokens, "min_new_tokens": tokens, "seed": 1}).encode()
        try:
            with urllib.request.urlopen(self.url + "generate", body, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def begin(self, tokens):
        """Ask, and come back when it is being written."""
        self.thread = threading.Thread(target=lambda: self.found.append(self.ask(tokens)))
        self.thread.start()
        while True:
            with urllib.request.urlopen(self.url + "health", timeout=60) as answer:
                if json.loads(answer.read())["running"]:
                    return
            time.sleep(0.01)

    def end(self, number, times=1):
        """The status, and what was said, after that many signals."""
        for _ in range(times):
            self.process.send_signal(number)
            time.sleep(0.15)
        out, err = self.process.communicate(timeout=60)
        if self.thread:
            self.thread.join(60)
        return self.process.returncode, out + err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_what_has_begun_be_finished(number):
    with Running() as server:
        server.begin(300)
        status, said = server.end(number)
        (answered, answer), = server.found
        assert (status, answered, answer["texts"][0]["tokens"]) == (0, 200, 300)
    assert "ending, as soon as what has begun is written; once more: at once\n" in said
    assert re.search(r"^127.0.0.1 POST /generate 200, [\d.]+ s, 300 tokens$", said, re.M) and "Traceback" not in said


@pytest.mark.slow
def test_two_signals_end_it_at_once():
    with Running("--quiet") as server:
        server.begin(1000)
        start = time.monotonic()
        status, said = server.end(signal.SIGINT, 2)
        (answered, answer), = server.found
    assert status == 130 and time.monotonic() - start < 30
    assert answered == 503 and answer["error"]["message"] == "the server has been ended"
    assert said == "ending, as soon as what has begun is written; once more: at once\n"


@pytest.mark.slow
def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([sys.executable, "-m", "gpt2np.serve", "--port", str(port)], capture_output=True,
                              text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: 127.0.0.1, port {port}: Address already in use\n"


def test_what_can_be_reached_from_elsewhere():
    for host, loopback in (("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True),
                           ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("example.org", False)):
        assert command.is_loopback(host) == loopback


def test_more_texts_than_the_memory_holds(monkeypatch):
    config = type("Model", (), {"config": type("Config", (), {
        "n_layer": 10**4, "n_ctx": 10**4, "n_embd": 10**4, "n_vocab": 10})})
    with pytest.raises(MemoryError, match="--texts 8 needs at least 64,000 GB"):
        command.limits_of(command.parse([]), config)
    assert expect_room(1, "a byte") is None
    assert command.limits_of(command.parse(["--texts", "2", "--waiting", "3"]), type("Small", (), {
        "config": type("Config", (), dict.fromkeys(("n_layer", "n_ctx", "n_embd", "n_vocab"), 8))})).choices == 5


@pytest.mark.skipif(not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"), reason="there is no IPv6 here")
def test_ipv6():
    try:
        server = Server(("::1", 0), small_model(), TOKENIZER, "small", LIMITS, log=False)
    except OSError:
        pytest.skip("::1 is not there")
    assert server.url == f"http://[::1]:{server.server_port}/"
    server.end()
    server.server_close()
