"""Locks: one process at a time, and none that a process leaves behind."""

import errno

import pytest

from gpt2np.checkpoints.files import locked


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
