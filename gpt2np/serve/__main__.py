"""Serve a model over HTTP:  python -m gpt2np.serve --model demo --port 8000"""

if not __package__: raise SystemExit("error: a file of gpt2np, which is run as: python3 -m gpt2np.serve")

import argparse
import ipaddress
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ..blas import say_what_to_set
from ..checkpoints.loading import GPT2_NAMES
from ..command import Parser, not_empty, run_command, whole
from ..decoding import lay_out_for_decoding
from ..follow import say_now
from ..interrupts import Signals, leave
from ..memory import expect_room, keep_freed_memory
from ..model_names import load_with_tokenizer
from ..models.gpt2 import GPT2
from ..terminal import wrapped
from .asked import Limits
from .server import Server

KNOWN_AS = {"": "the model goes behind --model",
            "-m": "--model", "-p": "--port", "--address": "--host", "--bind": "--host", "--listen": "--host",
            "--max-batch-size": "--texts", "--parallel": "--texts", "--max-num-seqs": "--texts",
            "--max-concurrent-requests": "--waiting", "--max-new-tokens": "--max-tokens", "--timeout": "--seconds",
            "--workers": "one process serves here; several of them stand behind one nginx, see docs/serving.md",
            "--threads": "the model runs on all cores, as OPENBLAS_NUM_THREADS says",
            "--api-key": "there are no keys here; put nginx in front, which asks for a password: see docs/serving.md"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: returns its exit status. Wrong usage ends in SystemExit with status 2."""
    return run_command(serve, arguments)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments by their names."""
    usual = Limits()
    parser = Parser(
        "serve", usage="%(prog)s [OPTIONS]", known_as=KNOWN_AS,
        description="Serve a GPT-2 over HTTP, until Ctrl-C. Several requests are written together: texts join the "
                    "batch and leave it between two tokens. In brackets: what holds where nothing is said.",
        epilog="At / there is a page to type in; /generate and OpenAI's /v1/completions write, whole or as it comes; "
               "/tokenize, /detokenize, /v1/models, /health, /metrics. Ctrl-C and SIGTERM let what has begun be "
               "finished; twice, at once.",
        examples=("python -m gpt2np.serve --model demo",
                  "python -m gpt2np.serve --model 124M --port 8080 --texts 16"))
    parser.add_argument("--model", type=not_empty, default="demo",
                        help=f"one of {', '.join(GPT2_NAMES)}; or the path of a model's folder (%(default)s)")
    parser.add_argument("--host", type=not_empty, default="127.0.0.1",
                        help="the address that is listened at; 0.0.0.0: every one of this machine (%(default)s)")
    parser.add_argument("--port", type=whole(0, 65535), default=8000, metavar="N",
                        help="0: any that is free, which is said (%(default)s)")
    parser.add_argument("--name", type=not_empty, metavar="NAME", help="what the model is called in /v1 (as --model)")
    limits = parser.add_argument_group("limits", "What is above them is refused, with a status and a sentence.")
    limits.add_argument("--texts", type=whole(1, 1024), default=usual.texts, metavar="N",
                        help="texts that are written at once (%(default)s)")
    limits.add_argument("--waiting", type=whole(0, 10**6), default=usual.waiting, metavar="N",
                        help="texts in the queue beside them: 429 (%(default)s)")
    limits.add_argument("--max-tokens", type=whole(1, 10**6), default=usual.tokens, metavar="N",
                        help="tokens of a text: 400 (%(default)s)")
    limits.add_argument("--seconds", type=whole(1, 10**6), default=int(usual.seconds), metavar="N",
                        help="time of a text, in the queue and in all: it ends as it is, or 503 (%(default)s)")
    limits.add_argument("--max-body", type=whole(1024, 1 << 30), default=usual.body, metavar="BYTES",
                        help="of a request: 413 (%(default)s)")
    limits.add_argument("--connections", type=whole(1, 10**5), default=usual.connections, metavar="N",
                        help="open at once: 503 (%(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no line for each request")
    return parser.parse_args(arguments)


def serve(arguments: Sequence[str] | None) -> int:
    """Load the model, and answer until a signal comes.  Returns 0, or 128 and the signal where it came twice."""
    options = parse(arguments)
    model, tokenizer = load_with_tokenizer(options.model)
    lay_out_for_decoding(model)
    keep_freed_memory()
    say_what_to_set()
    limits = limits_of(options, model)
    name = options.name or Path(options.model).name or options.model
    try:
        server = Server((options.host, options.port), model, tokenizer, name, limits, log=not options.quiet)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{options.host}, port {options.port}") from None
    signals = Ending(server)
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    print(wrapped(f"{name} is served at {server.url} until Ctrl-C."), flush=True)
    if not is_loopback(options.host):
        print(wrapped("warning: whoever reaches this machine can use it: it asks for no password, and sends nothing "
                      "encrypted; docs/serving.md says what to put in front"), file=sys.stderr)
    with signals:
        while not signals.number:
            time.sleep(0.05)
        server.end()
        server.shutdown()
        server.server_close()
        while not server.over() and signals.count == 1:
            time.sleep(0.02)
        server.end(at_once=True)
        until = time.monotonic() + 1
        while not server.over() and time.monotonic() < until:
            time.sleep(0.01)
        return 128 + signals.number if signals.count > 1 else 0


def limits_of(options: argparse.Namespace, model: GPT2) -> Limits:
    """The limits that the options ask for; MemoryError where the machine has not what the texts need."""
    config = model.config
    expect_room(4 * options.texts * (2 * config.n_layer * config.n_ctx * config.n_embd + config.n_vocab),
                f"--texts {options.texts:,}")
    return Limits(options.texts, options.waiting, options.max_tokens,
                  min(Limits().choices, options.texts + options.waiting), float(options.seconds), options.max_body,
                  options.connections)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Ending(Signals):
    """In its context, Ctrl-C and SIGTERM ask the server to end; a second one, at once.

    number, count   of the last signal, 0 while there is none; how many there were
    """

    def __init__(self, server: Server):
        self.server, self.number, self.count = server, 0, 0

    def came(self, number: int) -> None:
        self.number, self.count = number, self.count + 1
        if self.count == 1:
            say_now("ending, as soon as what has begun is written; once more: at once")


if __name__ == "__main__":
    leave(main())
