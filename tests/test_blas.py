"""BLAS's threads, as many as there are free cores; and the line about its kernels, where it is true and only there."""

import os
import threading

import numpy as np
import pytest

from gpt2np import blas, memory
from gpt2np.blas import FreeThreads

WIDE = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model name\t: AMD: a processor

flags\t\t: fpu avx2 avx512f avx512cd avx512bw avx512dq avx512vl
power management:

"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 4 cores: make(running, states) with so many threads that run, and the states of this process's."""
    def make(running, states="R"):
        (tmp_path / "loadavg").write_text(f"0.10 0.20 0.30 {running}/150 4711\n")
        for i, state in enumerate(states):
            (tmp_path / f"self/task/{i}").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"self/task/{i}/stat").write_text(f"{i} (a name) R (S) {state} 1 2 3\n")
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "cores", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    return make


# ---- cores that are free

@pytest.mark.parametrize("running, states, free", [
    (1, "R", 4), (2, "R", 3), (4, "R", 1), (9, "R", 1),     # others that run
    (2, "RR", 4), (3, "RSSR", 3), (1, "SSR", 4),            # threads of our own are not others
    (0, "R", 4)])                                           # it has changed between two looks
def test_cores_are_free_that_no_other_process_runs_on(machine, running, states, free):
    machine(running, states)
    assert memory.free_cores() == free


def test_of_a_large_machine_a_few_cores_are_all_free(machine, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    machine(41)
    assert memory.free_cores() == 4
    machine(63)
    assert memory.free_cores() == 2


@pytest.mark.parametrize("text", [None, "", "0.10 0.20 0.30", "0.10 0.20 0.30 many/few 1"])
def test_a_system_that_does_not_tell_has_all_cores_free(machine, text):
    if text is not None:
        (memory.PROC / "loadavg").write_text(text)
    assert memory.free_cores() == 4


# ---- BLAS's threads

@pytest.fixture
def four_threads(monkeypatch):
    """BLAS with 4 threads, whatever there are cores, and nobody who has chosen a number."""
    for name in blas.NUMBERS:
        monkeypatch.delenv(name, raising=False)
    with blas.libraries().limit(limits=4):
        if threads() != 4:
            pytest.skip("this BLAS does not take 4 threads")
        yield


def threads():
    return max((library.num_threads for library in blas.libraries().lib_controllers), default=1)


@pytest.mark.parametrize("free", [1, 3, 4, 8])
def test_as_many_threads_as_cores_are_free_and_then_all_again(four_threads, monkeypatch, free):
    monkeypatch.setattr(memory, "free_cores", lambda: free)
    with FreeThreads().limited():
        assert threads() == min(free, 4)
    assert threads() == 4
    with pytest.raises(KeyError), FreeThreads().limited():
        raise KeyError
    assert threads() == 4


def test_it_is_looked_again_after_a_while(four_threads, monkeypatch):
    looks, clock, free = [], iter((1000.0, 1000.0, 1000.05, 1000.11, 1000.11, 1000.12)), FreeThreads()
    monkeypatch.setattr(memory, "free_cores", lambda: looks.append(None) or 1)
    monkeypatch.setattr(blas.time, "monotonic", lambda: next(clock))     # once, and again where it is looked
    for seen in (1, 1, 2, 2):
        with free.limited():
            assert len(looks) == seen


def test_a_number_that_somebody_has_set_stays(four_threads, monkeypatch):
    monkeypatch.setattr(memory, "free_cores", lambda: 1)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    with FreeThreads().limited():
        assert threads() == 4


def test_one_thread_that_others_work_beside_is_left_alone(four_threads, monkeypatch):
    """As in DataParallel, which has one for each of its own threads: nobody looks who is busy."""
    monkeypatch.setattr(memory, "free_cores", lambda: pytest.fail("looked"))
    with blas.libraries().limit(limits=1), FreeThreads().limited():
        assert threads() == 1


def test_two_python_threads_at_once_leave_the_number_as_it_was(four_threads, monkeypatch):
    """The number is one for the process: that the second puts back what the first has set must not be."""
    monkeypatch.setattr(memory, "free_cores", lambda: 1)
    first, second = threading.Event(), threading.Event()

    def other():
        with FreeThreads().limited():
            first.set()
            second.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert first.wait(10)
    with FreeThreads().limited():
        second.set()
        thread.join()
    assert threads() == 4


# ---- the line about its kernels

@pytest.fixture
def processor(tmp_path, monkeypatch):
    """A machine whose processor has these flags, and whose BLAS takes it for this."""
    def make(flags, architecture, api="openblas"):
        class Libraries:
            def info(self):
                return [{"internal_api": "mkl"}, {"internal_api": api, "architecture": architecture}]

        monkeypatch.delenv(blas.TYPE, raising=False)
        monkeypatch.setattr(memory, "PROC", tmp_path)
        monkeypatch.setattr(blas, "libraries", Libraries)
        if flags is not None:
            (tmp_path / "cpuinfo").write_text(flags)
    return make


@pytest.mark.parametrize("architecture", ["Haswell", "Zen"])
@pytest.mark.parametrize("flags", [WIDE, WIDE * 2, WIDE.replace("AuthenticAMD", "GenuineIntel").replace("26", "6")])
def test_it_is_said_in_a_line_where_it_is_so(processor, capsys, flags, architecture):
    processor(flags, architecture)
    blas.say_what_to_set()
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "OPENBLAS_CORETYPE=SkylakeX" in err


@pytest.mark.parametrize("flags, architecture, api", [
    (WIDE, "SkylakeX", "openblas"), (WIDE, "Cooperlake", "openblas"), (WIDE, "Haswell", "blis"),
    (WIDE.replace("avx512f", ""), "Haswell", "openblas"), (WIDE.replace("avx512vl", ""), "Zen", "openblas"),
    (WIDE.replace("26", "25"), "Zen", "openblas"),          # Zen 4
    (None, "Haswell", "openblas"), ("", "Haswell", "openblas"), ("Features : neon", "neoversen1", "openblas")])
def test_it_is_silent_where_it_is_not(processor, capsys, flags, architecture, api):
    processor(flags, architecture, api)
    blas.say_what_to_set()
    assert capsys.readouterr() == ("", "")


def test_it_is_silent_where_somebody_has_chosen(processor, monkeypatch):
    processor(WIDE, "Haswell")
    assert blas.what_to_set() == "OPENBLAS_CORETYPE=SkylakeX"
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert blas.what_to_set() == ""


def test_numpys_own_library_can_be_asked():
    np.ones((2, 2)) @ np.ones((2, 2))
    assert blas.what_to_set() in ("", "OPENBLAS_CORETYPE=SkylakeX")
