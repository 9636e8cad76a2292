"""OpenAI's released models, fetched so that a model is there whole and right, or not there.

Files arrive in a hidden folder .NAME.part beside the place where the model goes. Each is written as FILE.part, may be
continued where it broke off, and gets its name when its size and, where it is known, its sha256 are right. When all
are there, the model is read once as `load` would read it, which verifies every checksum in it; then the folder is
renamed. A second process that wants the same model waits for the first.

The release: openai/gpt-2, download_model.py. Resuming: RFC 9110, sections 13.1.5 (If-Range) and 14 (ranges).
"""

import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from http.client import responses
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tqdm import tqdm

from ..models.config import SIZES
from . import openai_gpt2
from .errors import CheckpointError
from .files import locked, sync, sync_folder, what_it_looks_like
from .layout import Source
from .loading import places

RELEASE = "https://openaipublic.blob.core.windows.net/gpt-2/models"


class Release(NamedTuple):
    """What is known of a file in OpenAI's release."""
    size: int
    sha256: str | None = None       # None where no one has published it: then the checksums within are what there is


VOCABULARY = {
    "encoder.json": Release(1_042_301, "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
    "vocab.bpe": Release(456_318, "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
    "checkpoint": Release(77, "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb")}

# The seventh file of the release, model.ckpt.meta, is TensorFlow's graph: not fetched, because nothing here may read
# it.
FILES = {
    "124M": VOCABULARY | {
        "hparams.json": Release(90, "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318"),
        "model.ckpt.index": Release(5_215, "71916f763f9746f9b2a06b12d91996cf1084ae008d0424543d39391c5f2dc687"),
        "model.ckpt.data-00000-of-00001": Release(
            497_759_232, "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118")},
    "355M": VOCABULARY | {
        "hparams.json": Release(91), "model.ckpt.index": Release(10_399),
        "model.ckpt.data-00000-of-00001": Release(1_419_292_672)},
    "774M": VOCABULARY | {
        "hparams.json": Release(91), "model.ckpt.index": Release(15_535),
        "model.ckpt.data-00000-of-00001": Release(3_096_120_320)},
    "1558M": VOCABULARY | {
        "hparams.json": Release(91), "model.ckpt.index": Release(20_724),
        "model.ckpt.data-00000-of-00001": Release(6_230_444_800)},
}

CONNECT_SECONDS, READ_SECONDS = 15, 30
STALL_SECONDS, STALL_BYTES = 60, 1 << 16        # a server that sends less in that time is taken for a silent one
MAX_FAILURES = 5                               # in a row without one new byte
LONGEST_WAIT = 60
MAX_REDIRECTS = 5
SPARE_BYTES = 1 << 26                           # what a download leaves free on the disk
CHUNK = 1 << 20
NAME_UNKNOWN = getattr(urllib3.exceptions, "NameResolutionError", ())    # which urllib3 before 2.0 does not tell apart
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Transient(Exception):
    """A failure after which it is worth trying again, after `wait` seconds if the server named a number.

    offline   the server's name is not known: it looks as if there were no network
    """

    def __init__(self, problem: str, wait: int | None = None, offline: bool = False):
        super().__init__(problem)
        self.wait, self.offline = wait, offline


def download(name: str, mirror: str | None = None) -> Path:
    """Fetch one of OpenAI's models, unless it is there already.

    name      124M, 355M, 774M or 1558M
    mirror    a URL to use in place of OpenAI's, below which lie NAME/FILE; by default $GPT2NP_MIRROR, then OpenAI's
    returns   the folder it lies in: in the first of `places()`, or wherever it was found

    Raises CheckpointError when the model cannot be fetched or is not what it should be. What has arrived is kept,
    also after Ctrl-C or a crash, and the next call continues there.
    """
    if name not in FILES:
        raise CheckpointError(repr(name), "no released model has this name", expected=f"one of {', '.join(FILES)}")
    for place in places():
        if os.path.exists(place / name):
            return _check_existing(place / name, name)
    base = (mirror or os.environ.get("GPT2NP_MIRROR") or RELEASE).rstrip("/")
    _check_url(base, base)
    folder = places()[0] / name
    part = folder.with_name(f".{name}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{name}.lock"), _say_that_we_wait):
            if folder.exists():                             # the other process, for which we waited, has fetched it
                return _check_existing(folder, name)
            part.mkdir(exist_ok=True)
            _check_space(part, FILES[name])
            with requests.Session() as session:
                for file, release in FILES[name].items():
                    _fetch(session, base, f"{base}/{name}/{file}", part / file, release, by_hand(name, base, folder))
            _check_arrived(part, name)
            for side_file in part.glob("*.etag"):
                side_file.unlink()
            sync_folder(part)
            part.rename(folder)
            sync_folder(folder.parent)
    except OSError as error:
        raise CheckpointError(error.filename or part,
                              f"cannot be written ({error.strerror or error}); what has arrived is "
                              "kept: run this again to continue") from None
    return folder


def by_hand(name: str, base: str, folder: Path) -> str:
    """What else can be done."""
    urls = "\n".join(f"    {base}/{name}/{file}" for file in FILES[name])
    return ("Another server that has it is named by --mirror URL; and Hugging Face's folder of the model, wherever it "
            "was fetched from, is read as it is, by --model FOLDER: config.json, model.safetensors, tokenizer.json. "
            f"To do it by hand, fetch these files into the folder {folder}, under the names that they have:\n{urls}")


# ---- one file

def _fetch(session: requests.Session, base: str, url: str, path: Path, release: Release, advice: str) -> None:
    """Have one file at `path`, complete and verified."""
    if path.exists() and path.stat().st_size == release.size:
        return
    part = path.with_name(f"{path.name}.part")
    failures, most = 0, _size(part)
    while _size(part) != release.size:
        try:
            _attempt(session, base, url, part, release)
        except _Transient as error:
            failures = 0 if _size(part) > most else failures + 1
            most = max(most, _size(part))               # what was lost and is fetched again is no progress
            if failures == MAX_FAILURES or (error.offline and not any(path.parent.iterdir())):
                raise CheckpointError(url, f"it cannot be fetched: {error}. {advice}") from None
            wait = min(LONGEST_WAIT, 2**failures if error.wait is None else error.wait)
            print(f"{path.name}: {error}; trying again in {wait:g} s", file=sys.stderr)
            time.sleep(wait)
    if release.sha256 is not None and (found := _sha256(part)) != release.sha256:
        start = _first_bytes(part)
        part.unlink()
        raise CheckpointError(url, "what came is not OpenAI's file, and was deleted" + what_it_looks_like(start),
                              expected=f"sha256 {release.sha256}", found=found)
    os.replace(part, path)


def _attempt(session: requests.Session, base: str, url: str, part: Path, release: Release) -> None:
    """Append to `part` what is missing of it; _Transient if that breaks off."""
    etag_file = part.with_suffix(".etag")
    have, etag = _size(part), _read_etag(etag_file)
    headers = {"Accept-Encoding": "identity"}               # sizes and ranges are those of the file, not of a zip
    if 0 < have < release.size and etag:
        headers |= {"Range": f"bytes={have}-", "If-Range": etag}
    else:
        have = 0
    with _get(session, base, url, headers) as response:
        have = _check_answer(response, url, part, have, release.size)
        if not have:
            part.unlink(missing_ok=True)                # before the new ETag, or a crash here would mix two versions
            etag_file.write_text(response.headers.get("ETag", ""), encoding="latin-1")
        with open(part, "r+b" if have else "wb") as file:
            file.seek(have)
            bar = tqdm(desc=part.stem, initial=have, total=release.size, unit="B", unit_scale=True, disable=None)
            with bar:
                try:
                    for chunk in _chunks(response):
                        have += len(chunk)
                        if have > release.size:
                            break
                        file.write(chunk)
                        bar.update(len(chunk))
                finally:
                    sync(file)
    if have > release.size:
        part.unlink()
        raise CheckpointError(url, "the server sends more than the file", expected=f"{release.size:,} bytes")
    if have < release.size:
        raise _Transient(f"the connection ended after {have:,} of {release.size:,} bytes")


def _check_answer(response: requests.Response, url: str, part: Path, have: int, size: int) -> int:
    """From which byte on the server's answer is, once it is seen to be one that can be used."""
    status = response.status_code
    if status in (408, 429) or status >= 500:
        wait = re.fullmatch("[0-9]{1,4}", response.headers.get("Retry-After", ""))
        raise _Transient(f"the server answers {_named(status)}", int(wait[0]) if wait else None)
    if status == 416 and have:
        part.unlink()
        raise _Transient("the server does not have the rest of it; beginning anew")
    if status not in (200, 206):
        raise CheckpointError(url, f"the server answers {_named(status)}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise CheckpointError(url, "the server sends it compressed", found=repr(response.headers["Content-Encoding"]))
    if status == 200:                                               # the whole: it has changed, or no parts are given
        have = 0
    elif not have or response.headers.get("Content-Range") != f"bytes {have}-{size - 1}/{size}":
        part.unlink(missing_ok=True)
        found = response.headers.get("Content-Range")
        raise _Transient(f"the server sends another part than was asked for ({found!r}); beginning anew")
    length = response.headers.get("Content-Length")
    if length is not None and length != str(size - have):
        start = next(_chunks(response), b"")
        raise CheckpointError(url, "the server has something else there" + what_it_looks_like(start),
                              expected=f"{size - have:,} bytes", found=repr(length))
    return have


def _get(session: requests.Session, base: str, url: str, headers: Mapping[str, str]) -> requests.Response:
    """The server's answer, after its redirections, none of which may leave https."""
    for _ in range(MAX_REDIRECTS + 1):
        _check_url(url, base)
        try:
            response = session.get(url, headers=headers, stream=True, allow_redirects=False,
                                   timeout=(CONNECT_SECONDS, READ_SECONDS))
            if not response.is_redirect:
                return response
            response.close()
            url = urljoin(url, response.headers["Location"])
        except requests.exceptions.SSLError as error:
            raise CheckpointError(url, f"the connection is not secure ({_reason(error)})") from None
        except ValueError as error:                     # from requests too, which looks where the redirection goes
            raise CheckpointError(url, f"it, or where it redirects to, is no URL ({error})") from None
        except requests.exceptions.RequestException as error:
            offline = isinstance(_innermost(error), NAME_UNKNOWN)
            raise _Transient(f"no connection ({_reason(error)})", offline=offline) from None
    raise CheckpointError(url, f"more than {MAX_REDIRECTS} redirections")


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The bytes of an answer as they come; _Transient if they stop coming, or all but."""
    began, received = time.monotonic(), 0
    read = getattr(response.raw, "read1", response.raw.read)    # read1 returns what is there, so that a trickle is
    while True:                                                 # seen as one; urllib3 before 2.2 has read alone
        try:
            chunk = read(CHUNK)
        except urllib3.exceptions.ProtocolError:        # closed too early, or reset: the caller counts the bytes
            return
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _Transient(f"the connection broke off ({_reason(error)})") from None
        if not chunk:
            return
        yield chunk
        received += len(chunk)
        if (now := time.monotonic()) - began > STALL_SECONDS:
            if received < STALL_BYTES:
                raise _Transient(f"the server sends only {received:,} bytes in {now - began:.0f} s")
            began, received = now, 0


def _check_url(url: str, base: str) -> None:
    """Only https; plain http to this machine itself, if that is where we were told to go."""
    scheme, host = _scheme_and_host(url)
    secure = scheme == "https" and host
    local = all(scheme == "http" and host in LOOPBACK for scheme, host in map(_scheme_and_host, (url, base)))
    if not secure and not local:
        raise CheckpointError(url, "only https is used", expected="https://...")


def _scheme_and_host(url: str) -> tuple[str | None, str | None]:
    try:
        return urlsplit(url).scheme, urlsplit(url).hostname
    except ValueError:                                  # brackets that are no IPv6 address
        return None, None


def _named(status: int) -> str:
    """404 (Not Found): the number with the name that the standard gives it, not with what the server says."""
    return f"{status} ({responses[status]})" if status in responses else str(status)


def _innermost(error: Exception) -> Exception:
    """The innermost cause of an error of requests or urllib3."""
    while error.args and isinstance(getattr(error.args[0], "reason", error.args[0]), Exception):
        error = getattr(error.args[0], "reason", error.args[0])
    return error


def _reason(error: Exception) -> str:
    """The part of the text of such an error that says something."""
    error = _innermost(error)
    said = re.sub(r"^\S*Connection\S*\([^)]*\): ", "", str(error))        # which object of urllib3's it was
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(200)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _read_etag(path: Path) -> str | None:
    """The version of the file that an earlier attempt began to fetch; only a strong one can tell versions apart."""
    text = path.read_text(encoding="latin-1") if path.exists() else ""
    return text if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', text) else None


# ---- the whole model

def _check_model(folder: Path, name: str) -> None:
    """CheckpointError unless the folder holds this model, every checksum right."""
    model, _ = openai_gpt2.read(Source(folder))
    if model.config != SIZES[name]:
        raise CheckpointError(folder / openai_gpt2.HPARAMS_FILE, f"these are not the hparams of {name}",
                              found=asdict(model.config))


def _check_arrived(part: Path, name: str) -> None:
    """The same for what was fetched just now; if it is wrong, the next call must not find it."""
    try:
        _check_model(part, name)
    except CheckpointError as error:
        shutil.rmtree(part)
        error.problem += " (what was fetched has been deleted)"
        raise


def _check_existing(folder: Path, name: str) -> Path:
    try:
        _check_model(folder, name)
    except CheckpointError as error:
        error.problem += f" ({folder} is not the whole model: move it away, and run this again)"
        raise
    return folder


def _check_space(part: Path, files: Mapping[str, Release]) -> None:
    needed = sum(release.size for release in files.values()) + SPARE_BYTES
    needed -= sum(path.stat().st_size for path in part.iterdir())
    if (free := shutil.disk_usage(part).free) < needed:
        raise CheckpointError(part, "the disk is too full", expected=f"{needed:,} bytes free", found=f"{free:,}")


def _say_that_we_wait() -> None:
    print("Another process is fetching this model; waiting for it ...", file=sys.stderr)
