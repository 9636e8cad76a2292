"""Sockets, and HTTP on them: a thread for each connection, limits for all that comes, and a sentence for what is wrong.

    GET   /                   a page to type in              POST  /generate           texts, whole or as they come
    GET   /health             whether it is well             POST  /v1/completions     the same, as OpenAI has it
    GET   /metrics            what was counted               POST  /tokenize           {"text": ...} to tokens
    GET   /v1/models          the one model                  POST  /detokenize         {"tokens": [...]} to text

What a client does wrong, or a network, ends its own request alone.
"""

import contextlib
import io
import json
import select
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from socketserver import TCPServer
from typing import Any

from ..models.protocols import LanguageModel
from ..text.protocol import AnyTokenizer
from .answers import NOT_HERE, Answer, OpenAIAnswer, OurAnswer, jobs_of, page, piece, refusal
from .asked import Limits, Reader, Refused, Wish, parse_body
from .engine import Busy, Ending, Engine, Event
from .metrics import Metrics, resident_bytes

GONE = (OSError,)               # a client that has gone, or does not take what is sent
DRAINED = 1 << 26               # bytes of a refused body that are read, so that the refusal arrives before the reset
PATHS = {"/": "GET", "/health": "GET", "/metrics": "GET", "/v1/models": "GET", "/generate": "POST",
         "/v1/completions": "POST", "/tokenize": "POST", "/detokenize": "POST"}
JSON, TEXT, EVENTS = "application/json", "text/plain; version=0.0.4; charset=utf-8", "text/event-stream; charset=utf-8"


class Server(ThreadingHTTPServer):
    """A model that is served at an address; serve_forever answers until shutdown, as in any socketserver.

    name   what the model is called
    log    whether each request is a line on standard error
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], model: LanguageModel, tokenizer: AnyTokenizer, name: str,
                 limits: Limits, log: bool = True):
        self.limits, self.name, self.log, self.tokenizer = limits, name, log, tokenizer
        self.reader, self.metrics, self.began = Reader(model, tokenizer, name, limits), Metrics(), int(time.time())
        self.engine = Engine(model, self.metrics, limits.texts, limits.waiting)
        self.page, self.active = page(limits, name), 0
        self.room = threading.BoundedSemaphore(limits.connections)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)
        self.engine.start()

    def server_bind(self) -> None:
        """Take the address; without a look at the network for this machine's name, as http.server's does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]     # type: ignore[assignment]

    @property
    def url(self) -> str:
        """Where it can be reached."""
        host = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{host}:{self.server_port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for the connection, unless there are too many."""
        if self.room.acquire(blocking=False):
            self.metrics.add("gpt2np_connections")
            super().process_request(request, client_address)
            return
        self.metrics.add("gpt2np_connections_refused_total")
        body = json.dumps(Refused(503, f"expected at most {self.limits.connections} connections at once; come back "
                                       f"later", code="too_many_connections").body()).encode()
        with contextlib.suppress(OSError):
            request.settimeout(0.2)
            request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
                            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.metrics.add("gpt2np_connections", -1)
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An error that no answer tells of, since the connection itself has failed."""
        if not isinstance(sys.exc_info()[1], GONE):
            traceback.print_exc()

    def end(self, at_once: bool = False) -> None:
        """Take no more texts; finish those that there are, or end them at once, too."""
        self.engine.end(at_once)

    def over(self) -> bool:
        """Whether all that was begun has been written, and sent."""
        return not self.engine.is_alive() and self.active == 0

    # ---- what is counted

    @contextlib.contextmanager
    def request_begins(self) -> Iterator[None]:
        """Count a request that comes, and that it is there."""
        with self.metrics.lock:
            self.active += 1
            self.metrics.add("gpt2np_requests_received_total")
            self.metrics.add("gpt2np_requests_in_progress")
        try:
            yield
        finally:
            with self.metrics.lock:
                self.active -= 1

    def request_ends(self, path: str, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        with self.metrics.lock:
            self.metrics.add("gpt2np_requests_in_progress", -1)
            self.metrics.add("gpt2np_requests_total", path=path, status=str(status))
            if status >= 400:
                self.metrics.add("gpt2np_requests_refused_total", status=str(status))
            self.metrics.observe("gpt2np_request_seconds", seconds)

    def health(self) -> tuple[int, dict[str, Any]]:
        """Whether texts are written, and how many there are."""
        waiting, running = self.engine.counts()
        status = "ending" if self.engine.ending else "ok" if self.engine.is_alive() else "broken"
        return 200 if status == "ok" else 503, {"status": status, "model": self.name, "running": running,
                                                "waiting": waiting}

    def gauges(self) -> dict[str, float]:
        """What is counted when it is asked for."""
        waiting, running = self.engine.counts()
        return {"gpt2np_texts_waiting": waiting, "gpt2np_texts_running": running,
                "gpt2np_resident_bytes": resident_bytes()}


class Incoming(io.RawIOBase):
    """What comes from a socket, until a deadline: a client that sends a byte now and then does not hold a thread for
    ever.

    deadline   a time.monotonic()
    """

    def __init__(self, connection: socket.socket, deadline: float):
        self.connection, self.deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes.  raises TimeoutError"""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)


class Outgoing(io.BufferedIOBase):
    """What goes to a socket: collected until flush, so that a head and its body leave in one packet."""

    def __init__(self, connection: socket.socket, seconds: float):
        self.connection, self.seconds, self.parts = connection, seconds, list[bytes]()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Collect."""
        self.parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Send.  raises OSError where the client has gone, or does not take it in time"""
        data, self.parts = b"".join(self.parts), []
        if data:
            self.connection.settimeout(self.seconds)
            self.connection.sendall(data)


class Handler(BaseHTTPRequestHandler):
    """The requests of one connection, one after another."""

    server: Server
    rfile: io.BufferedReader
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "gpt2np", ""

    def setup(self) -> None:
        """Have what is sent leave at once: Nagle's algorithm would hold small packets back for 40 ms."""
        self.connection: socket.socket = self.request
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.incoming = Incoming(self.connection, 0)
        self.rfile = io.BufferedReader(self.incoming)
        self.wfile = Outgoing(self.connection, self.server.limits.patience)
        self.unread = False                             # whether a body was refused that may still be on its way

    def finish(self) -> None:
        """Before the connection is closed, take what is on its way: or the refusal of it would be lost in a reset."""
        with contextlib.suppress(*GONE):
            self.wfile.flush()
            if self.unread:
                self.connection.shutdown(socket.SHUT_WR)
                until, n = time.monotonic() + 2, 0
                while n < DRAINED and (left := until - time.monotonic()) > 0:
                    self.connection.settimeout(left)
                    if not (data := self.connection.recv(1 << 16)):
                        break
                    n += len(data)

    # ---- a request from its first byte to its last

    def handle_one_request(self) -> None:
        """Wait for a request, and answer it."""
        self.close_connection = True
        self.incoming.deadline = time.monotonic() + self.server.limits.idle
        try:
            if not self.rfile.peek(1):
                return
        except GONE:
            return
        self.began, self.status, self.said, self.counted = time.monotonic(), 0, "", 0
        self.command, self.path, self.requestline, self.request_version = "", "", "", self.protocol_version
        with self.server.request_begins():
            try:
                self._read_and_answer()
            except Refused as refused:
                self._refuse(refused)
            except TimeoutError:
                self._refuse(Refused(408, f"expected a whole request within {self.server.limits.patience:g} seconds, "
                                          f"got a part of one", code="too_slow"))
            except GONE:
                self.close_connection = True
            except Exception:                           # a mistake here: the client is told, and the log has the rest
                traceback.print_exc()
                self._refuse(Refused(500, "the server has made a mistake, which its log tells of", code="mistake"))
            finally:
                self._count(499)                        # unless it was answered
                self._log()

    def _read_and_answer(self) -> None:
        self.incoming.deadline = time.monotonic() + self.server.limits.patience
        self.raw_requestline = self.rfile.readline(65537)
        if len(self.raw_requestline) > 65536:
            raise Refused(414, "expected a path of a few characters, got one that has no end")
        if self.parse_request():                        # otherwise send_error was called
            self._answer(self._body())

    def handle_expect_100(self) -> bool:
        """What a client asks before it sends a body is answered where the body is read."""
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server finds wrong with the head of a request, of which it may not know the version."""
        self.request_version = self.protocol_version
        raise Refused(code, f"the head of the request cannot be read: {one_line(message or HTTPStatus(code).phrase)}",
                      code="not_http")

    def _body(self) -> bytes:
        """The body of the request, of which nothing is read where it is too large.  raises Refused"""
        headers, most = self.headers, self.server.limits.body
        self.unread = True
        if "Transfer-Encoding" in headers:
            raise Refused(411, "expected Content-Length, the number of bytes of the body, got Transfer-Encoding",
                          code="no_length")
        lengths = set(headers.get_all("Content-Length", ["0"]))
        length = lengths.pop().strip()
        if lengths or not (length.isascii() and length.isdecimal()):
            raise Refused(400, "Content-Length: expected one number of bytes", code="not_http")
        if len(length) > 18 or int(length) > most:
            raise Refused(413, f"body: expected at most {most:,} bytes, got {length[:18]}: ask for less at once",
                          code="too_large")
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Refused(415, "body: expected JSON as it is, got it compressed", code="compressed")
        if headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise Refused(400, f"body: expected {length} bytes, as its Content-Length says, got {len(data):,}",
                          code="cut_off")
        self.unread = False
        return data

    def _answer(self, body: bytes) -> None:
        server, path = self.server, self.path.partition("?")[0]
        method = "GET" if self.command == "HEAD" else self.command
        model = path.removeprefix("/v1/models/") if path.startswith("/v1/models/") else None
        expected = "GET" if model is not None else PATHS.get(path)
        if expected is None:
            raise Refused(404, f"expected one of {', '.join(PATHS)}, got {one_line(path)}"
                               f"{NOT_HERE.get(path, '')}", code="not_found")
        if method != expected:
            raise Refused(405, f"{path}: expected {expected}, got {one_line(method)}",
                          code="wrong_method", headers={"Allow": "GET, HEAD" if expected == "GET" else expected})
        if method == "POST":
            self._expect_no_page_of_others()
            fields = parse_body(body)
        if path == "/generate":
            wish = server.reader.generate(fields)
            self._write(wish, OurAnswer(wish, server.tokenizer))
        elif path == "/v1/completions":
            wish = server.reader.completions(fields)
            self._write(wish, OpenAIAnswer(wish, server.tokenizer, server.name))
        elif path == "/tokenize":
            tokens = server.tokenizer.encode(server.reader.tokenize(fields))
            self._json(200, {"tokens": tokens, "pieces": [piece(server.tokenizer, token) for token in tokens]})
        elif path == "/detokenize":
            self._json(200, {"text": server.tokenizer.decode(server.reader.detokenize(fields))})
        elif path == "/":
            data, policy = server.page
            self._send(200, "text/html; charset=utf-8", data, {"Content-Security-Policy": policy})
        elif path == "/metrics":
            self._send(200, TEXT, server.metrics.text(**server.gauges()).encode())
        elif path == "/health":
            self._json(*server.health())
        elif model in (None, server.name):
            one = {"id": server.name, "object": "model", "created": server.began, "owned_by": "gpt2np"}
            self._json(200, one if model else {"object": "list", "data": [one]})
        else:
            raise Refused(404, f"model: expected {server.name}, the one that is served here, got "
                               f"{one_line(model)}", "model", "model_not_found")

    def _expect_no_page_of_others(self) -> None:
        """Refuse what a page from elsewhere, open in a browser on this machine, has its browser ask."""
        origin = self.headers.get("Origin", "")
        if origin and origin.partition("://")[2] != self.headers.get("Host", ""):
            raise Refused(403, f"expected no page but that of this server to ask by a browser, got one of "
                               f"{one_line(origin)}", code="other_origin")

    # ---- texts

    def _write(self, wish: Wish, answer: Answer) -> None:
        """Have the texts of a request written, and send them whole or as they come."""
        limits, over = self.server.limits, threading.Event()
        jobs, events = jobs_of(wish, self.server.tokenizer, limits.seconds,
                               lambda: not over.is_set() and is_there(self.connection))
        try:
            self.server.engine.submit(jobs)
        except Busy:
            raise Refused(429, f"expected at most {limits.waiting} texts in the queue: come back later",
                          code="queue_full", headers={"Retry-After": "1"}) from None
        except Ending:
            self.close_connection = True
            raise Refused(503, "the server is about to end, and takes no more texts", code="ending") from None
        try:
            if wish.stream:
                self._stream(answer, events)
            else:
                self._whole(answer, sorted((events.get() for _ in jobs), key=lambda event: event.number))
        finally:
            over.set()                                  # whoever is still in the batch leaves it
            n = sum(len(job.told) for job in jobs)
            self.said = f", {n} token{'s' * (n != 1)}"

    def _whole(self, answer: Answer, events: list[Event]) -> None:
        for event in events:
            self._expect_good(event, len(event.chosen))
        self._json(200, answer.whole(events))

    def _stream(self, answer: Answer, events: "SimpleQueue[Event]") -> None:
        """Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html"""
        event: Event | None = events.get()
        assert event is not None
        self._expect_good(event, 0)                     # while it can still be said by a status
        self._head(200, EVENTS, {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
                   | ({"Transfer-Encoding": "chunked"} if self._chunks() else {}))
        while event is not None:
            try:
                self._expect_good(event, answer.n_tokens[event.number])
            except Refused as refused:                  # the status has been sent: it becomes an event
                self._event(refused.body())
                break
            for part in answer.parts(event):
                self._event(part)
            try:
                event = events.get_nowait() if answer.left else None
            except Empty:
                self.wfile.flush()                      # all that there is by now, in one packet
                event = events.get()
        for part in answer.last_parts():
            self._event(part)
        self._chunk(b"data: [DONE]\n\n")
        if self._chunks():
            self.wfile.write(b"0\r\n\r\n")
        self._count(200)
        self.wfile.flush()

    def _expect_good(self, event: Event, n_written: int) -> None:
        if event.ended == "gone":
            raise ConnectionAbortedError
        if problem := refusal(event, n_written):
            raise problem

    def _chunks(self) -> bool:
        """Whether the end of an answer can be told from within; otherwise it ends with the connection."""
        if self.request_version < "HTTP/1.1":
            self.close_connection = True
        return self.request_version >= "HTTP/1.1"

    def _event(self, part: dict[str, Any]) -> None:
        self._chunk(b"data: %b\n\n" % as_json(part))

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunks() else data)

    # ---- answers

    def _json(self, status: int, value: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self._send(status, JSON, as_json(value), headers)

    def _send(self, status: int, kind: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer."""
        self._head(status, kind, {"Content-Length": str(len(data)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(data)
        self._count(status)
        self.wfile.flush()

    def _head(self, status: int, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        self.status = status
        for name, value in {"Server": "gpt2np", "Date": self.date_time_string(), "Content-Type": kind,
                            "X-Content-Type-Options": "nosniff", **headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _refuse(self, refused: Refused) -> None:
        """Say why not, if the head of another answer has not been sent yet."""
        if self.status:
            self.close_connection = True
            return
        if self.unread or refused.code == "not_http" or refused.status in (408, 414, 500):
            self.close_connection = True                # who knows where the next request begins
        self.said = f": {one_line(refused.message)}"
        with contextlib.suppress(*GONE):
            self._json(refused.status, refused.body(), refused.headers)

    def _count(self, status: int) -> None:
        """Count the request, once: before the last byte leaves, so that who has it finds it in the metrics."""
        if not self.counted:
            self.counted = status
            path = (self.path or "").partition("?")[0]
            path = path if path in PATHS else "/v1/models" if path.startswith("/v1/models/") else "other"
            self.server.request_ends(path, status, time.monotonic() - self.began)

    def _log(self) -> None:
        if self.server.log:
            seconds = time.monotonic() - self.began
            line = one_line(self.requestline.rpartition(" ")[0]) or "?"
            sys.stderr.write(f"{self.client_address[0]} {line} {self.counted}, {seconds:.3f} s{self.said}\n")
            sys.stderr.flush()


def one_line(text: str) -> str:
    """What came from elsewhere, for a message or a log: nothing that moves a cursor, and not too much of it."""
    text = "".join(c if c.isprintable() else "·" for c in text)
    return text if len(text) <= 200 else text[:197] + "..."


def as_json(value: object) -> bytes:
    """JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def is_there(connection: socket.socket) -> bool:
    """Whether the client of a connection has not closed it: what has come from it is left where it is."""
    try:
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            readable = bool(poll.poll(0))
        else:
            readable = bool(select.select([connection], [], [], 0)[0])
        return not readable or connection.recv(1, socket.MSG_PEEK) != b""
    except (OSError, ValueError):
        return False
