"""Bytes from files: small ones whole, large ones mapped; and into files, so that whatever happens they are whole."""

import contextlib
import errno
import mmap
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from .. import bytes_in
from ..hints import Array
from .errors import CheckpointError


def read_small(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file that has no reason to be larger than max_bytes.

    Raises CheckpointError if it is missing, unreadable or larger.
    """
    try:
        return bytes_in.read_small(path, max_bytes)
    except OSError as error:
        raise unreadable(path, error) from None
    except bytes_in.TooLarge:
        raise CheckpointError(path, "the file is too large for what it should be",
                              expected=f"at most {max_bytes:,} bytes") from None


def read_json(path: Path, max_bytes: int) -> dict:
    """The JSON object in a small file: see parse_json and read_small, which say what is refused."""
    return parse_json(path, read_small(path, max_bytes))


def parse_json(path: Path, data: bytes) -> dict:
    """The JSON object in `data`, which came from the file `path`.

    Raises CheckpointError if it is anything else: not UTF-8, not JSON (see bytes_in.py), or not an object.
    """
    try:
        value = bytes_in.parse_json(data.decode("utf-8"))
    except (ValueError, MemoryError) as error:          # UnicodeDecodeError and JSONDecodeError among them
        raise CheckpointError(path, f"not valid JSON ({error})" + what_it_looks_like(data)) from None
    if not isinstance(value, dict):
        raise CheckpointError(path, "not a JSON object", found=type(value).__name__)
    return value


def map_file(path: Path) -> Array:
    """The bytes of a file as an array that is read from the disk as it is used, not before.

    returns   uint8, one-dimensional; writable, but what is written stays in this process and never reaches the file

    Raises CheckpointError if the file is missing or unreadable. The file must not shrink while the array is in use (the
    operating system answers with SIGBUS): this package never writes to a file in place.
    """
    try:
        with open(path, "rb") as file:
            return map_open_file(file)
    except OSError as error:
        raise unreadable(path, error) from None


def map_open_file(file: IO[bytes]) -> Array:
    """The same for a file that is open; OSError if it cannot be mapped."""
    if os.fstat(file.fileno()).st_size == 0:                          # mmap refuses to map nothing
        return np.empty(0, np.uint8)
    return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """The error for a file that the operating system would not give."""
    if isinstance(error, FileNotFoundError):
        return CheckpointError(path, "there is no such file")
    return CheckpointError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})")


def what_it_looks_like(start: bytes) -> str:
    """A clause that names a familiar kind of file by its first bytes, or the empty string."""
    text = start[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "; it looks like an HTML page, such as a server sends instead of a file"
    if text.startswith((b"<?xml", b"<error")):
        return "; it looks like an XML error page, such as a storage server sends instead of a file"
    if text.startswith(b"version https://git-lfs"):
        return "; it is a pointer of Git LFS, not the file itself"
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "; it looks like a pickle (PyTorch's .bin, .pt and .ckpt), which can run any code: ask for .safetensors"
    return ""


def write_text(path: Path, text: str) -> None:
    """Write a new file, and have it on the disk."""
    with open(path, "x", encoding="utf-8", newline="") as file:
        file.write(text)
        sync(file)


def replace_text(path: Path, text: str) -> None:
    """Write a file in place of the one that is there: whatever happens, one of them is there, whole.

    A link stays one, and what it names is replaced; into what is no file, as a pipe or /dev/stdout, the text goes as it
    is.  OSError names the file that was asked for.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(text.encode())
        return
    there = Path(os.path.realpath(path))
    new = there.with_name(f".{there.name}.new")
    try:
        new.unlink(missing_ok=True)
        write_text(new, text)
        os.replace(new, there)
    except BaseException as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)                 # a full disk should not stay full of it
        if isinstance(error, OSError):
            error.filename, error.filename2 = os.fspath(path), None
        raise


@contextlib.contextmanager
def whole_folder(folder: Path, old: Path) -> Iterator[Path]:
    """A new folder to be filled in the context of a with statement, which then takes the place of `folder`.

    It is called .NAME.PID.new; all that was written is on the disk before it gets its name: see replace_folder.  Where
    anything is raised, it is removed, `folder` is what it was, and a CheckpointError names that.  A process that is
    killed may leave it, and nobody needs it; the next one does not remove it, since it could be that of a process that
    still writes.
    """
    new = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        yield new
        sync_folder(new)
        replace_folder(folder, new, old)
    except BaseException as error:
        shutil.rmtree(new, ignore_errors=True)
        if isinstance(error, CheckpointError):          # in the name of the folder that was asked for
            error.file = folder
        elif isinstance(error, OSError) and os.fspath(error.filename or new).startswith(os.fspath(new)):
            error.filename, error.filename2 = os.fspath(folder), None       # a full disk is said without any name
        raise


def replace_folder(folder: Path, new: Path, old: Path) -> None:
    """Give the folder `new` the name `folder`; one that has it is called `old` in between, and then removed.

    Whatever happens, one whole folder is at `folder` or at `old`.
    """
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)          # if both are there, `folder` is the newer one, and whole
        folder.rename(old)
    try:
        new.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path, taken: Callable[[], None]) -> Iterator[None]:
    """Hold the lock that a file stands for, which no two processes hold at once; for use in a with statement.

    path    is made where it is not there, and stays, empty
    taken   is called where another process holds the lock: it may raise, or this waits until the lock is free

    The system releases it when a process ends, however it ends.
    """
    with open(path, "a+b") as file:
        if not _lock(file, wait=False):
            taken()
            _lock(file, wait=True)
        yield


def sync(file: IO) -> None:
    """Have what was written to an open file on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """The same for a file that has been closed."""
    with open(path, "r+b") as file:
        sync(file)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as lasting as the files' contents (Windows has no such call, and needs none)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock(file: IO[bytes], wait: bool) -> bool:
    """Whether this process has the lock now."""
    if sys.platform == "win32":
        import msvcrt
        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
                return True
            except OSError:                                         # LK_LOCK gives up after ten seconds
                if not wait:
                    return False
    import fcntl
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            return True                                 # a file system without locks, as on some clusters
        raise
