"""The downloader against a server that misbehaves on purpose; it listens on this machine's loopback only."""

import contextlib
import errno
import hashlib
import http.server
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gpt2np.download
from gpt2np.checkpoints import download as module
from gpt2np.checkpoints import loading, openai_gpt2
from gpt2np.checkpoints.download import Release, download
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
from gpt2np.text.bpe import Tokenizer
from tests.checkpoints.tiny import MERGES

BIG = "model.ckpt.data-00000-of-00001"
HPARAMS = {"n_vocab": 259, "n_ctx": 64, "n_embd": 64, "n_head": 2, "n_layer": 4}        # 880 KB of weights


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of one model under /models/124M/, with ranges and ETags, as long as nothing else is asked of it.

    script    functions to answer the next requests for the big file with, in order; each is given the handler
    log       the Range header of every request for the big file
    asked     the names of all files asked for
    """

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.script, self.log, self.asked, self.lock = files, [], [], [], threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/models"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        with self.server.lock:
            answer = normal
            self.server.asked.append(name)
            if name == BIG:
                self.server.log.append(self.headers["Range"])
                if self.server.script:
                    answer = self.server.script.pop(0)
        self.data = self.server.files.get(name)
        self.close_connection = True
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            answer(self)

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        # Without Connection: close, the client may send its next request down a connection that is being closed.
        for name, value in ({"Content_Length": len(body), "Connection": "close"} | headers).items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)


def etag(data):
    return f'"{hashlib.md5(data).hexdigest()}"'


def normal(handler, limit=None, **changes):
    """What a good server answers; `limit` ends the connection after so many bytes of it, `changes` alter headers."""
    data = handler.data
    if data is None:
        return handler.answer(404, b'<?xml version="1.0"?><Error><Code>BlobNotFound</Code></Error>',
                              Content_Type="text/xml")
    begin, status, headers = 0, 200, {"ETag": etag(data)}
    asked = re.fullmatch("bytes=([0-9]+)-", handler.headers["Range"] or "")
    if asked and handler.headers["If-Range"] == etag(data):
        begin, status = int(asked[1]), 206
        headers["Content_Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
    handler.answer(status, data[begin:][:limit], **headers | {"Content_Length": len(data) - begin} | changes)


def drop_after(count):
    return lambda handler: normal(handler, limit=count)


def status(code, **headers):
    return lambda handler: handler.answer(code, b"<html>no</html>", **headers)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """The files of a model, as a release would have them."""
    folder = tmp_path_factory.mktemp("release") / "model"
    gpt2np.save(folder, GPT2(GPT2Config(**HPARAMS), np.random.default_rng(0)), Tokenizer(MERGES))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def server(files, tmp_path, monkeypatch):
    """A server with that model, which goes by the name of 124M here, and no waiting."""
    monkeypatch.setitem(module.FILES, "124M", {
        name: Release(len(data), hashlib.sha256(data).hexdigest()) for name, data in sorted(files.items())})
    monkeypatch.setitem(module.SIZES, "124M", GPT2Config(**HPARAMS))
    monkeypatch.setattr(module, "LONGEST_WAIT", 0)
    monkeypatch.setattr(module, "SPARE_BYTES", 0)
    monkeypatch.setenv("GPT2NP_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(loading, "places", lambda: [tmp_path / "weights"])
    monkeypatch.setattr(module, "places", loading.places)
    monkeypatch.delenv("GPT2NP_MIRROR", raising=False)
    server = Server(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def arrives(server, tmp_path):
    """Download, and see that the model is there, whole, right and alone."""
    assert download("124M", server.url) == tmp_path / "weights" / "124M"
    there = {path.name: path.read_bytes() for path in (tmp_path / "weights" / "124M").iterdir()}
    assert there == server.files
    assert {path.name for path in (tmp_path / "weights").iterdir()} == {"124M", ".124M.lock"}


def fails(server, tmp_path, *patterns):
    """Download, and see that it fails as it should, with no model there."""
    with pytest.raises(CheckpointError) as caught:
        download("124M", server.url)
    for pattern in patterns:
        assert pattern in str(caught.value), str(caught.value)
    assert not (tmp_path / "weights" / "124M").exists()


def part(tmp_path):
    return tmp_path / "weights" / ".124M.part" / f"{BIG}.part"


def test_a_good_server(server, tmp_path, capsys):
    arrives(server, tmp_path)
    assert server.log == [None]
    assert gpt2np.load("124M")[0].config == GPT2Config(**HPARAMS)
    assert download("124M", server.url) and server.log == [None]            # the second time nothing is asked for
    assert capsys.readouterr() == ("", "")


def test_continues_where_the_connection_dropped(server, tmp_path, capsys):
    server.script = [drop_after(100_000), drop_after(1), drop_after(300_000)]
    arrives(server, tmp_path)
    assert server.log == [None, "bytes=100000-", "bytes=100001-", "bytes=400001-"]
    assert "the connection ended after 100,000 of" in capsys.readouterr().err


def test_many_drops_are_no_reason_to_give_up_while_bytes_arrive(server, tmp_path):
    server.script = [drop_after(50_000)] * 12
    arrives(server, tmp_path)
    assert len(server.log) == 13


def test_gives_up_after_five_failures_without_a_byte_and_says_how_to_do_it_by_hand(server, tmp_path):
    server.script = [drop_after(70_000)] + [drop_after(0)] * 9
    fails(server, tmp_path, "cannot be fetched", "by hand", f"{server.url}/124M/{BIG}",
          str(tmp_path / "weights" / "124M"))
    assert len(server.log) == 6
    assert part(tmp_path).stat().st_size == 70_000
    server.script = []
    arrives(server, tmp_path)                                               # and the next call continues there
    assert server.log[-1] == "bytes=70000-"


def test_a_server_that_answers_200_to_a_range_sends_all_of_it(server, tmp_path):
    server.script = [drop_after(100_000), lambda handler: handler.answer(200, handler.data)]
    arrives(server, tmp_path)
    assert server.log == [None, "bytes=100000-"]


@pytest.mark.parametrize("content_range",
                         ["bytes 0-99/100", "bytes 99999-{last}/{size}", "bytes 100000-{last}/*", "x", None])
def test_a_wrong_content_range_makes_it_begin_anew(content_range, server, tmp_path):
    def wrong(handler):
        size = len(handler.data)
        value = content_range and content_range.format(last=size - 1, size=size)
        handler.answer(206, handler.data[100_000:], ETag=etag(handler.data), Content_Range=value)
    server.script = [drop_after(100_000), wrong]
    arrives(server, tmp_path)
    assert server.log == [None, "bytes=100000-", None]


def test_a_part_that_was_not_asked_for_is_not_taken_for_the_whole(server, tmp_path):
    server.script = [lambda handler: handler.answer(206, handler.data, Content_Range="bytes 0-1/2")]
    arrives(server, tmp_path)


def test_beginning_anew_has_an_end(server, tmp_path):
    server.script = [drop_after(100_000), status(416)] * 20
    fails(server, tmp_path, "cannot be fetched")
    assert len(server.log) == 6


def test_416_makes_it_begin_anew(server, tmp_path):
    server.script = [drop_after(100_000), status(416)]
    arrives(server, tmp_path)
    assert server.log == [None, "bytes=100000-", None]


def test_a_file_that_changed_on_the_server_is_fetched_anew(server, tmp_path, files):
    """The first part is of another version: its ETag no longer holds, so the server sends the whole new file."""
    def old_version(handler):
        handler.data = bytes(len(handler.data))
        normal(handler, limit=100_000)
    server.script = [old_version]
    arrives(server, tmp_path)
    assert server.log == [None, "bytes=100000-"]


def test_without_a_strong_etag_it_begins_anew(server, tmp_path):
    for weak in (None, 'W/"1"', "1", '"a\tb"'):
        server.log.clear()
        server.script = [lambda handler, weak=weak: normal(handler, limit=100_000, ETag=weak)]
        arrives(server, tmp_path)
        assert server.log == [None, None]
        shutil.rmtree(tmp_path / "weights")


@pytest.mark.parametrize("body", [lambda data: data[:-1], lambda data: data + b"!",
                                  lambda data: b"<!DOCTYPE html><html>Sign in to the network</html>"])
def test_another_length_is_refused(body, server, tmp_path):
    server.script = [lambda handler: handler.answer(200, body(handler.data))]
    fails(server, tmp_path, "the server has something else there", "HTML page" if len(body(b"")) > 5 else "expected")


def test_a_body_that_does_not_end_is_cut_off(server, tmp_path):
    def endless(handler):
        handler.answer(200, handler.data, Content_Length=None)
        for _ in range(1000):
            handler.wfile.write(bytes(1 << 20))
    server.script = [endless]
    fails(server, tmp_path, "sends more than the file")
    assert not part(tmp_path).exists()


def test_a_body_without_a_length(server, tmp_path):
    server.script = [lambda handler: handler.answer(200, handler.data[:-5], Content_Length=None,
                                                    ETag=etag(handler.data))]
    arrives(server, tmp_path)
    assert len(server.log) == 2


def test_other_bytes_of_the_right_length_are_refused(server, tmp_path):
    server.script = [lambda handler: handler.answer(200, bytes(len(handler.data)))]
    fails(server, tmp_path, "not OpenAI's file, and was deleted", "sha256")
    assert not part(tmp_path).exists()


def test_where_no_sha256_is_known_the_checksums_within_are_verified(server, tmp_path, monkeypatch):
    known = module.FILES["124M"]
    monkeypatch.setitem(module.FILES, "124M", {name: Release(release.size) for name, release in known.items()})
    server.script = [lambda handler: handler.answer(200, handler.data[:-1] + b"!")]
    fails(server, tmp_path, BIG, "tensor 'model/wte'", "damaged", "has been deleted")
    arrives(server, tmp_path)


def test_a_model_of_another_size_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setitem(module.SIZES, "124M", GPT2Config(**HPARAMS | {"n_head": 4}))
    fails(server, tmp_path, "these are not the hparams of 124M")


def test_404_is_final(server, tmp_path):
    del (files := dict(server.files))[BIG]
    server.files = files
    fails(server, tmp_path, f"{server.url}/124M/{BIG}: the server answers 404 (Not Found)")
    assert len(server.log) == 1


def test_what_has_arrived_is_not_asked_for_again(server, tmp_path):
    server.script = [status(404)]
    fails(server, tmp_path, "404")
    arrives(server, tmp_path)
    assert sorted(server.asked) == sorted([*server.files, BIG])


@pytest.mark.parametrize("code", [401, 403, 410, 204, 304, 299])
def test_other_answers_are_final(code, server, tmp_path):
    server.script = [lambda handler: handler.answer(code)]
    fails(server, tmp_path, f"the server answers {code}")


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(code, server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(module, "LONGEST_WAIT", 60)
    monkeypatch.setattr(module.time, "sleep", waits.append)
    server.script = [status(code), status(code, Retry_After="7"), status(code, Retry_After="9999"),
                     status(code, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")]
    arrives(server, tmp_path)
    assert waits == [2, 7, 60, 16]


@pytest.mark.parametrize("target",
                         ["http://example.invalid/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "//example.invalid/x", "http://[x"])
def test_redirection_away_from_https_is_refused_unasked(target, server, tmp_path):
    server.script = [status(302, Location=target)]
    fails(server, tmp_path, "only https is used" if "[" not in target else "is no URL")


def test_redirection_is_followed_but_not_for_ever(server, tmp_path):
    there = f"/models/124M/{BIG}"
    server.script = [status(302, Location=there), status(307, Location=server.url + f"/124M/{BIG}")]
    arrives(server, tmp_path)
    shutil.rmtree(tmp_path / "weights")
    server.script = [status(302, Location=there)] * 20
    fails(server, tmp_path, "more than 5 redirections")


@pytest.mark.parametrize("mirror",
                         ["http://example.invalid", "example.com/gpt-2", "https:///x", "file:///x",
                          "http://127.0.0.1.x/", "https://["])
def test_a_mirror_must_be_https(mirror, server):
    with pytest.raises(CheckpointError, match="only https is used"):
        download("124M", mirror)


def test_a_compressed_answer_is_refused(server, tmp_path):
    server.script = [lambda handler: normal(handler, Content_Encoding="gzip")]
    fails(server, tmp_path, "compressed", "gzip")


def test_a_trickle_is_taken_for_silence(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "STALL_SECONDS", 0.2)

    def trickle(handler):
        handler.answer(200, b"", ETag=etag(handler.data), Content_Length=len(handler.data))
        for i in range(100):
            handler.wfile.write(handler.data[i:i + 1])
            handler.wfile.flush()
            time.sleep(0.02)
    server.script = [trickle]
    arrives(server, tmp_path)
    assert re.search("the server sends only [0-9]+ bytes in 0 s", capsys.readouterr().err)
    assert 1 < int(server.log[1][6:-1]) < 100


def test_silence(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "READ_SECONDS", 0.2)

    def silent(handler):
        handler.answer(200, handler.data[:1000], ETag=etag(handler.data), Content_Length=len(handler.data))
        time.sleep(0.5)
    server.script = [silent, lambda handler: time.sleep(0.5)]
    arrives(server, tmp_path)
    assert server.log == [None, "bytes=1000-", "bytes=1000-"]
    assert capsys.readouterr().err.count("timed out") >= 2


def test_nobody_listens(server, tmp_path):
    server.url = "http://127.0.0.1:9/models"
    fails(server, tmp_path, "no connection", "To do it by hand", "http://127.0.0.1:9/models/124M/encoder.json")


@pytest.mark.skipif(not module.NAME_UNKNOWN, reason="urllib3 before 2.0 does not tell it apart")
def test_without_a_network_it_is_said_at_once(tmp_path, monkeypatch, capsys):
    """In one sentence, with what else can be done; but where something has come before, it is tried again."""
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    waited = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=waited.append, monotonic=time.monotonic))
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("NO_PROXY", "server.invalid")
    monkeypatch.setenv("GPT2NP_WEIGHTS", str(tmp_path / "weights"))
    with pytest.raises(CheckpointError) as caught:
        download("124M", "https://server.invalid/models")
    first = str(caught.value).splitlines()[0]
    assert first.startswith("https://server.invalid/models/124M/encoder.json: it cannot be fetched: no connection (")
    assert "HTTPSConnection" not in first and "--mirror URL" in first and "--model FOLDER" in first
    assert waited == [] and capsys.readouterr().err == ""
    (tmp_path / "weights" / ".124M.part" / "vocab.bpe.part").write_bytes(b"#version")
    with pytest.raises(CheckpointError):
        download("124M", "https://server.invalid/models")
    assert waited == [2, 4, 8, 16] and capsys.readouterr().err.count("; trying again in ") == 4


def test_a_full_disk_is_seen_before(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    fails(server, tmp_path, "the disk is too full", "found 1,000")
    assert server.log == []


def test_a_disk_that_fills_up_keeps_the_part(server, tmp_path, monkeypatch):
    def chunks(response):
        yield response.raw.read(100_000)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real, broken = module._chunks, {"left": True}

    def once(response):
        if int(response.headers["Content-Length"]) > 500_000 and broken.pop("left", False):
            return chunks(response)
        return real(response)
    monkeypatch.setattr(module, "_chunks", once)
    fails(server, tmp_path, "No space left on device", "kept: run this again")
    assert part(tmp_path).stat().st_size == 100_000
    arrives(server, tmp_path)
    assert server.log[-1] == "bytes=100000-"


def test_control_c_keeps_the_part(server, tmp_path, monkeypatch):
    real = module._chunks

    def interrupted(response):
        for chunk in real(response):
            yield chunk
            if "ckpt.data" in response.url:
                raise KeyboardInterrupt
    monkeypatch.setattr(module, "_chunks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download("124M", server.url)
    assert not (tmp_path / "weights" / "124M").exists()
    size = part(tmp_path).stat().st_size
    monkeypatch.setattr(module, "_chunks", real)
    arrives(server, tmp_path)
    assert server.log[1:] == ([f"bytes={size}-"] if size < len(server.files[BIG]) else [])


@pytest.mark.parametrize("left", ["long", "empty", "damaged"])
def test_what_an_earlier_run_left_is_never_trusted_blindly(left, server, tmp_path):
    server.script = [drop_after(100_000)] + [drop_after(0)] * 5
    fails(server, tmp_path, "cannot be fetched")
    whole = len(server.files[BIG])
    part(tmp_path).write_bytes({"long": bytes(whole + 1), "empty": b"", "damaged": bytes(100_000)}[left])
    if left == "damaged":
        fails(server, tmp_path, "sha256")
    arrives(server, tmp_path)


def test_a_folder_that_is_no_whole_model_is_not_touched(server, tmp_path):
    (tmp_path / "weights" / "124M").mkdir(parents=True)
    (tmp_path / "weights" / "124M" / "hparams.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is not the whole model: move it away"):
        download("124M", server.url)
    assert [path.name for path in (tmp_path / "weights" / "124M").iterdir()] == ["hparams.json"]


def test_files_put_there_by_hand_are_enough(server, tmp_path, files):
    (tmp_path / "weights" / "124M").mkdir(parents=True)
    for name, data in files.items():
        (tmp_path / "weights" / "124M" / name).write_bytes(data)
    assert download("124M", server.url) == tmp_path / "weights" / "124M"
    assert server.log == []


# ---- more than one process

PROCESS = """
import sys
sys.path[:0] = {path!r}
from gpt2np.checkpoints import download as module, loading
from gpt2np.models.config import GPT2Config
import pathlib
module.FILES["124M"] = {{name: module.Release(size, sha256) for name, (size, sha256) in {files!r}.items()}}
module.SIZES["124M"] = GPT2Config(**{hparams!r})
module.SPARE_BYTES = 0
module.places = lambda: [pathlib.Path({weights!r})]
import gpt2np.download
sys.exit(gpt2np.download.main(["124M", "--mirror", {url!r}]))
"""


def process(server, tmp_path):
    code = PROCESS.format(path=sys.path, weights=str(tmp_path / "weights"), url=server.url, hparams=HPARAMS,
                          files={name: tuple(release) for name, release in module.FILES["124M"].items()})
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def slow(handler):
    """Half of the file at once, the rest only when the test says so."""
    half = len(handler.data) // 2
    handler.answer(200, handler.data[:half], ETag=etag(handler.data), Content_Length=len(handler.data))
    handler.server.go_on.wait(30)
    handler.wfile.write(handler.data[half:])


def wait_for(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise TimeoutError


def test_two_processes_at_once(server, tmp_path):
    server.go_on, server.script = threading.Event(), [slow]
    first = process(server, tmp_path)
    wait_for(lambda: server.log)
    second = process(server, tmp_path)
    assert "waiting for it" in second.stderr.readline()
    server.go_on.set()
    for child in (first, second):
        output, errors = child.communicate(timeout=60)
        assert child.returncode == 0 and output == f"{tmp_path / 'weights' / '124M'}\n" and not errors, errors
    assert server.log == [None]
    arrives(server, tmp_path)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_in_the_middle_then_resumed(server, tmp_path):
    server.go_on, server.script = threading.Event(), [slow]
    child = process(server, tmp_path)
    wait_for(lambda: part(tmp_path).exists() and part(tmp_path).stat().st_size > 0)
    child.kill()
    child.communicate(timeout=60)
    server.go_on.set()
    assert not (tmp_path / "weights" / "124M").exists()
    arrived = part(tmp_path).stat().st_size
    arrives(server, tmp_path)
    assert server.log == [None, f"bytes={arrived}-"]


def test_control_c_in_the_command(server, tmp_path):
    server.go_on, server.script = threading.Event(), [slow]
    child = process(server, tmp_path)
    wait_for(lambda: part(tmp_path).exists() and part(tmp_path).stat().st_size > 0)
    child.send_signal(signal.SIGINT)
    output, errors = child.communicate(timeout=60)
    server.go_on.set()
    assert child.returncode == 130 and not output
    assert "run this again to continue" in errors and "Traceback" not in errors
    arrives(server, tmp_path)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no limit for the size of a file")
def test_a_file_that_cannot_grow(server, tmp_path):
    """The system's own refusal to write, in place of a full disk: the part is kept, and one line says so."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n" + PROCESS
    code = code.format(path=sys.path, weights=str(tmp_path / "weights"), url=server.url, hparams=HPARAMS,
                       files={name: tuple(release) for name, release in module.FILES["124M"].items()})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "File too large" in done.stderr and len(done.stderr.splitlines()) == 1, done
    assert part(tmp_path).stat().st_size == 200_000
    arrives(server, tmp_path)
    assert server.log == [None, "bytes=200000-"]


# ---- the command, and what is known of the release

def test_the_command_says_what_is_wrong(server, capsys):
    for arguments in ([], ["345M"], ["demo"], ["124M", "--mirrow", "x"]):
        with pytest.raises(SystemExit) as caught:
            gpt2np.download.main(arguments)
        assert caught.value.code == 2
    capsys.readouterr()
    assert gpt2np.download.main(["124M", "--mirror", "http://example.com"]) == 1
    assert capsys.readouterr() == ("",
                                   "error: http://example.com: only https is used: expected https://...\n")
    with pytest.raises(CheckpointError, match="no released model has this name"):
        download("../124M")


def test_the_environment_names_a_mirror(server, tmp_path, monkeypatch):
    monkeypatch.setenv("GPT2NP_MIRROR", server.url + "/")
    assert download("124M") == tmp_path / "weights" / "124M"


def test_the_table_of_the_release_agrees_with_itself():
    for name, known in module.FILES.items():
        config = module.SIZES[name]
        assert known[BIG].size == 4 * config.n_parameters
        text = openai_gpt2.hparams_text(config).encode()
        assert known["hparams.json"].size == len(text)
        assert known["hparams.json"].sha256 in (None, hashlib.sha256(text).hexdigest())
        checkpoint = openai_gpt2.CHECKPOINT.encode()
        assert known["checkpoint"] == (len(checkpoint), hashlib.sha256(checkpoint).hexdigest())


def test_the_vocabulary_in_the_package_is_the_one_of_the_release(tmp_path):
    Tokenizer.gpt2().save(tmp_path)
    for name in ("encoder.json", "vocab.bpe"):
        data = Path(tmp_path, name).read_bytes()
        assert module.VOCABULARY[name] == (len(data), hashlib.sha256(data).hexdigest())
