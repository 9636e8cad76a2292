"""Asks a server from many clients at once, and says how long they wait: python -m gpt2np.serve in a process of its own.

    python -m benchmarks.serve [--model demo|124M] [--seconds 60] [--clients 50] [--rounds 3] [--tokens 64]

Server and clients share this machine's cores, which the clients hardly use. Each client asks for a text of 64 tokens
as they come, and then at once for the next one.

    table      by number of clients, some seconds each, the last row for --seconds: answers, those that were refused,
               milliseconds until the first token and until the last (median and 95th of 100), tokens a second of all
               clients together, memory of the server at the end
    together   tokens a second of 8 clients by those of one, interleaved (1, 8, 1, 8, ...), the median of the rounds

124M is of GPT-2's size, with random weights: it takes as long as OpenAI's. Its last norm is scaled, so that what comes
next is about as uncertain as in a text, some three nats: of 50,257 tokens that are all alike, to draw takes longer.
"""

import argparse
import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.timing import environment
from gpt2np.decoding import lay_out_for_decoding
from gpt2np.memory import keep_freed_memory
from gpt2np.model_names import load_with_tokenizer
from gpt2np.models.config import SIZES
from gpt2np.models.gpt2 import GPT2
from gpt2np.serve.asked import Limits
from gpt2np.serve.server import Server
from gpt2np.text.bpe import Tokenizer

PROMPT = "To be, or not to be, that is the question"
SPREAD = np.float32(7)                  # logits of standard deviation 0.02 sqrt(768) 7 = 3.9
SHORT = 5                               # seconds of every row but the last


class Answered(NamedTuple):
    """What a client has got: seconds until the first token and the last, and how many there were; None: refused."""

    first: float
    last: float
    tokens: int | None


def serve(model: str) -> None:
    """The server's process: it says its port, and answers until it is killed."""
    keep_freed_memory()
    if model in SIZES:
        loaded, tokenizer = GPT2(SIZES[model], np.random.default_rng(0)), Tokenizer.gpt2()
        loaded.ln_f.g.value *= SPREAD
    else:
        loaded, tokenizer = load_with_tokenizer(model)
    lay_out_for_decoding(loaded)
    server = Server(("127.0.0.1", 0), loaded, tokenizer, model, Limits(), log=False)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextlib.contextmanager
def serving(model: str) -> Iterator[int]:
    """The port of a server in a process of its own, which ends with the context."""
    command = [sys.executable, "-m", "benchmarks.serve", "--serve", "--model", model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def ask(connection: http.client.HTTPConnection, tokens: int, seed: int) -> Answered:
    """Have a text written, and read it as it comes."""
    start = time.perf_counter()
    body = {"prompt": PROMPT, "max_new_tokens": tokens, "min_new_tokens": tokens, "seed": seed, "stream": True}
    connection.request("POST", "/generate", json.dumps(body))
    answer = connection.getresponse()
    if answer.status != 200:
        answer.read()
        assert answer.status in (429, 503), answer.status
        time.sleep(0.05)
        return Answered(0, time.perf_counter() - start, None)
    first = 0.0
    for line in answer:
        first = first or time.perf_counter() - start
        if b'"ended_by"' in line:
            last = json.loads(line.removeprefix(b"data: "))
    assert line == b"\n" and last["tokens"] == tokens, last
    return Answered(first, time.perf_counter() - start, last["tokens"])


def load(port: int, clients: int, seconds: float, tokens: int) -> tuple[list[Answered], float]:
    """What so many clients get in that time, and how long it took until the last of them had his text."""
    found: list[list[Answered]] = [[] for _ in range(clients)]
    until = time.perf_counter() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        while time.perf_counter() < until:
            found[number].append(ask(connection, tokens, len(found[number])))
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    assert all(found), "a client got nothing: an error above says why"
    return [one for answers in found for one in answers], took


def rate(port: int, clients: int, seconds: float, tokens: int) -> float:
    """Tokens a second of all clients."""
    answers, took = load(port, clients, seconds, tokens)
    return sum(one.tokens or 0 for one in answers) / took


def megabytes(port: int) -> float:
    """The memory of the server."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return next(float(line.split()[1]) for line in lines if line.startswith("gpt2np_resident_bytes ")) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.model)
        return
    with serving(options.model) as port:
        measure(port, options)


def measure(port: int, options: argparse.Namespace) -> None:
    """Print how much faster 8 clients are, and the table."""
    short = min(SHORT, options.seconds)
    load(port, 1, min(1, short), options.tokens)
    if options.rounds:
        pairs = [[rate(port, n, short, options.tokens) for n in (1, 8)] for _ in range(options.rounds)]
        print(f"8 clients by 1: {statistics.median(b / a for a, b in pairs):.2f} "
              f"({', '.join(f'{a:.0f} and {b:.0f} tokens/s' for a, b in pairs)})", flush=True)
    print("clients  answers  refused  first token ms       last token ms  tokens/s  memory MB\n"
          "                            median     95 %     median     95 %")
    for clients in (*(n for n in (1, 2, 4, 8, 16) if n < options.clients), options.clients):
        answers, took = load(port, clients, options.seconds if clients == options.clients else short,
                             options.tokens)
        good = [one for one in answers if one.tokens is not None]
        first, last = (sorted(1000 * getattr(one, name) for one in good) for name in ("first", "last"))
        print(f"{clients:7}  {len(good):7}  {len(answers) - len(good):7}  "
              + "  ".join(f"{of[min(len(of) - 1, int(len(of) * share))]:7.0f}  " for of in (first, last)
                          for share in (0.5, 0.95))
              + f"{sum(one.tokens or 0 for one in good) / took:8.0f}  {megabytes(port):9.0f}", flush=True)


if __name__ == "__main__":
    main()
