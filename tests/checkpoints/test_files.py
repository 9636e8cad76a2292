"""Locks: one process at a time, and none that a process leaves behind.  Files that are replaced: whole, in place."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpt2np.checkpoints.files import locked, replace_text, whole_folder


def test_a_lock_is_one_process_s_and_ends_with_it(tmp_path, monkeypatch):
    def taken():
        raise Taken

    class Taken(Exception):
        pass

    with locked(tmp_path / "lock", taken):
        with pytest.raises(Taken), locked(tmp_path / "lock", taken):
            pass
    with locked(tmp_path / "lock", taken):              # the file is still there
        pass
    fcntl = pytest.importorskip("fcntl", reason="Windows has other locks")

    def without_locks(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", without_locks)
    with locked(tmp_path / "lock", taken):
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows lets not everybody make links")
def test_a_link_stays_one_and_what_it_names_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    page, link = tmp_path / "there" / "page", tmp_path / "link"
    page.write_text("old")
    link.symlink_to(page)
    replace_text(link, "new")
    assert link.is_symlink() and page.read_text() == "new" and [*page.parent.iterdir()] == [page]
    broken = tmp_path / "broken"
    broken.symlink_to(tmp_path / "there" / "other")
    replace_text(broken, "made")
    assert broken.is_symlink() and (tmp_path / "there" / "other").read_text() == "made"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_what_is_no_file_is_written_into_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        replace_text(pipe, "text")
        assert read.result() == "text"
    assert pipe.is_fifo() and [*tmp_path.iterdir()] == [pipe]


@pytest.mark.parametrize("name", ["folder", "file/page"])
def test_an_error_names_what_was_asked_for(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(OSError) as caught:
        replace_text(path, "text")
    assert caught.value.filename == str(path) and sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    if name == "file/page":
        with pytest.raises(OSError) as caught, whole_folder(path, path.with_name("old")):
            pass
        assert caught.value.filename == str(path)


def test_a_full_disk_names_the_folder_and_leaves_none(tmp_path):
    with pytest.raises(OSError) as caught, whole_folder(tmp_path / "model", tmp_path / "old") as new:
        (new / "half").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "model") and not [*tmp_path.iterdir()]
