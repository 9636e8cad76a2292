"""A server with a small model, and the plainest client."""

import contextlib
import http.client
import json
import socket
import threading

import numpy as np
import pytest

from gpt2np.models.config import GPT2Config
from gpt2np.serve.asked import Limits
from gpt2np.serve.server import Server
from gpt2np.text.bpe import Tokenizer
from tests.decoding.test_decoding import filled

TOKENIZER = Tokenizer([])               # bytes, and <|endoftext|>
N_CTX = 32
LIMITS = Limits(texts=4, waiting=6, tokens=200, seconds=20.0, body=1 << 16, connections=64, patience=0.4, idle=5.0)


def small_model(dtype=np.float64):
    return filled(GPT2Config(n_vocab=TOKENIZER.n_vocab, n_ctx=N_CTX, n_embd=12, n_head=3, n_layer=2), dtype=dtype)


class Client:
    """Asks a server."""

    def __init__(self, server):
        self.server, self.port = server, server.server_port

    def ask(self, method, path, body=None, headers=None):
        """The status, the headers and the body of an answer, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def get(self, path):
        status, _, body = self.ask("GET", path)
        return status, json.loads(body)

    def post(self, path, body):
        status, _, body = self.ask("POST", path, body)
        return status, json.loads(body)

    def stream(self, path, body):
        """The parts of a stream, which ends as it should."""
        status, headers, data = self.ask("POST", path, body | {"stream": True})
        assert status == 200 and headers["Content-Type"] == "text/event-stream; charset=utf-8", data
        *parts, done, rest = data.decode("utf-8").split("\n\n")
        assert (done, rest) == ("data: [DONE]", "") and all(part.startswith("data: ") for part in parts)
        return [json.loads(part.removeprefix("data: ")) for part in parts]

    def raw(self, data=b""):
        """A socket on which these bytes were sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(data)
        return connection

    def metrics(self):
        """{name with labels: number}"""
        status, _, body = self.ask("GET", "/metrics")
        assert status == 200
        lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@contextlib.contextmanager
def serving(limits=LIMITS, model=None, tokenizer=TOKENIZER, name="small"):
    """A client of a server, which is ended afterwards."""
    server = Server(("127.0.0.1", 0), model or small_model(), tokenizer, name, limits, log=False)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield Client(server)
    finally:
        server.end(at_once=True)
        server.shutdown()
        server.server_close()
        server.engine.join(10)
        assert not server.engine.is_alive()


@pytest.fixture(scope="session")
def client():
    with serving() as client:
        yield client


class Gate:
    """Lets the engine do as many steps as it is told to."""

    def __init__(self, engine):
        self.semaphore, self.step = threading.Semaphore(0), engine.together.step
        engine.together.step = self._step

    def _step(self):
        assert self.semaphore.acquire(timeout=20)
        return self.step()

    def open(self, n):
        self.semaphore.release(n)
