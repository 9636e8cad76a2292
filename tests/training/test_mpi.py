"""MPI: ranks together are one process on the whole batch; and what happens to the others when something happens to one.

The arithmetic is tested on threads that talk like ranks; the rest, where mpi4py and mpiexec are there, on processes.
"""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gpt2np import ranks, train
from gpt2np.ranks import as_one
from gpt2np.training.clipping import gradient_norm
from gpt2np.training.errors import TrainingError
from gpt2np.training.mpi import MPIParallel, World
from gpt2np.training.run_folder import checkpoints
from tests.training.test_commands import arguments, refused, wait_for_lines
from tests.training.test_loop import contents, records
from tests.training.test_parallel import assert_close, gradients, model_and_batch


class Rank:
    """What MPIParallel asks of a communicator, for ranks that are threads of one process."""

    def __init__(self, rank, size, table, barrier):
        self.rank, self.size, self.table, self.barrier = rank, size, table, barrier

    def allgather(self, value):
        self.table[self.rank] = value
        self.barrier.wait(60)
        values = list(self.table)
        self.barrier.wait(60)
        return values

    def bcast(self, value):
        return self.allgather(value)[0]

    def Allreduce(self, array, total):
        assert array.flags.c_contiguous and total.flags.c_contiguous
        np.copyto(total, sum(self.allgather(array)))


def on_ranks(n, function):
    """function(comm) on n ranks; the results in their order."""
    table, barrier = [None] * n, threading.Barrier(n)
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(lambda rank: function(Rank(rank, n, table, barrier)), range(n)))


@pytest.mark.parametrize("B, ranks, threads, pieces", [(6, 2, 1, 1), (5, 2, 2, 1), (5, 3, 1, 2), (4, 4, 2, 1),
                                                       (2, 3, 1, 2)])
def test_ranks_are_the_whole_batch(B, ranks, threads, pieces):
    model, tokens, targets = model_and_batch(B)
    targets[0, 2:] = -100                               # rows that count for more than others
    model.h[0].ln_1.freeze()
    expected_loss, expected = model.loss_and_gradients(tokens, targets), gradients(model)
    expected_norm = gradient_norm(model)
    expected_first = model.replica().loss_and_gradients(tokens[:1], targets[:1])

    def work(comm):
        mine, *_ = model_and_batch(B)
        mine.h[0].ln_1.freeze()
        with MPIParallel(comm, mine, threads) as parallel:
            for _ in range(2):                          # the first one's gradients are not in the second one's
                loss, norm = parallel.loss_and_gradients((tokens, targets), pieces)
            alone = parallel.loss((tokens, targets)), parallel.loss((tokens[:1], targets[:1]))
            return loss, norm, *alone, gradients(mine)

    results = on_ranks(ranks, work)
    for loss, norm, loss_alone, loss_of_one_row, got in results:
        assert loss == pytest.approx(expected_loss, rel=1e-13) == loss_alone
        assert norm == pytest.approx(expected_norm, rel=1e-13)
        assert loss_of_one_row == pytest.approx(expected_first, rel=1e-13)
        assert got["h.0.ln_1.g"] is None is expected["h.0.ln_1.g"]
        trained = {path: g for path, g in expected.items() if g is not None}
        assert_close(got, trained, 1e-12)
        for path in trained:
            np.testing.assert_array_equal(got[path], results[0][-1][path])
        assert (loss, norm, loss_alone, loss_of_one_row) == results[0][:4]


def test_a_gradient_too_large_has_no_norm_and_no_warning():
    def work(comm):
        model, tokens, targets = model_and_batch(4)
        model.ln_f.g.value[:] = 1e200                   # its gradients are finite, their squares are not
        with MPIParallel(comm, model, 2) as parallel:
            assert parallel.workers == 4
            loss, norm = parallel.loss_and_gradients((tokens, targets))
            return np.isfinite(loss), all(np.isfinite(g).all() for g in gradients(model).values()), norm

    assert on_ranks(2, work) == [(True, True, np.inf)] * 2


def test_each_rank_has_masks_of_its_own():
    _, tokens, _ = model_and_batch(4, dropout=0.5)
    tokens[:] = tokens[0]

    def work(comm):
        model, *_ = model_and_batch(4, dropout=0.5)
        with MPIParallel(comm, model, 1) as parallel:
            alone = [np.where(np.arange(4)[:, None] == row, tokens, -100) for row in (0, 2, 0)]
            return [parallel.loss_and_gradients((tokens, targets), 1, [0])[0] for targets in alone]

    first, second, again = on_ranks(2, work)[0]
    assert first == again != second


def test_without_a_launcher_there_is_one_rank(monkeypatch):
    for name in ranks.SIZES:
        monkeypatch.delenv(name, raising=False)
    with as_one(ranks.join_world()) as world:
        assert (world.rank, world.size, world.gather(3), world.together(max, 1, 2)) == (0, 1, [3], 2)


def test_without_mpi4py_it_is_asked_for_once(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    refused(capsys, arguments(text, tmp_path / "run", 1), r"has started 2 processes, but mpi4py.*'gpt2np\[mpi\]'")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    with pytest.raises(SystemExit):
        train.main(arguments(text, tmp_path / "run", 1))
    assert capsys.readouterr().err == "" and not (tmp_path / "run").exists()


def test_what_fails_on_one_rank_before_the_start_fails_on_all(capfd):
    def work(comm):
        world, order = World(comm), []
        assert world.together(lambda: order.append(comm.rank) or comm.rank) == comm.rank
        with pytest.raises(TrainingError, match=r"^rank 1: x: no such thing$"):
            world.together(fails, comm.rank)
        return order

    def fails(rank):
        if rank == 1:
            raise OSError(2, "no such thing", "x")

    assert on_ranks(2, work) == [[0], [1]]


class Aborted(Exception):
    pass


def test_an_error_of_one_rank_ends_the_others(capsys):
    class Comm(Rank):
        def Abort(self, status):
            raise Aborted(status)

    comm = Comm(1, 2, None, None)
    for error, said in ((OSError(28, "No space left"), "error: rank 1: No space left\n"),
                        (KeyboardInterrupt(), "error: rank 1: interrupted\n"), (KeyError("x"), "KeyError: 'x'")):
        with pytest.raises(Aborted), as_one(World(comm)):
            print("not seen")
            raise error
        out, err = capsys.readouterr()
        assert said in err and out == ""
    with pytest.raises(SystemExit) as caught, as_one(World(comm)):
        raise TrainingError("on all of them")
    assert caught.value.code == 1 and capsys.readouterr().err == ""


# ---- processes


def mpiexec():
    """The mpiexec beside this Python, or on the path."""
    return shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")


# Not imported here: that would make this process a rank.
needs_mpi = pytest.mark.skipif(not (mpiexec() and importlib.util.find_spec("mpi4py")),
                               reason="mpi4py and mpiexec are not both installed")


def launch(*arguments):
    return subprocess.Popen([mpiexec(), "-n", "2", sys.executable, "-m", "gpt2np.train", *map(str, arguments)],
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def process_of_rank(rank, out):
    """The process id of a rank of the run in a folder."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (f"PMI_RANK={rank}".encode() in (folder / "environ").read_bytes().split(b"\0")
                    and str(out).encode() in (folder / "cmdline").read_bytes().split(b"\0")):
                return int(folder.name)
        except OSError:
            pass                                        # it has ended meanwhile
    raise AssertionError(f"rank {rank} does not run")


@pytest.mark.slow
@needs_mpi
def test_two_processes_are_one_run_and_survive_what_happens_to_one(text, tmp_path):
    options = ["--threads", "1", "--dropout", "0", "--eval-every", "20", "--sample", "0"]
    assert train.main([*arguments(text, tmp_path / "one", 60), *options]) == 0
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process = launch(*arguments(text, whole, 60), *options)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "on 2 processes with 1 thread each" in output and errors == ""
    assert output.count("done after step 60") == 1
    for record, expected in zip(records(whole), records(tmp_path / "one"), strict=True):
        assert record == pytest.approx(expected, rel=1e-5 if "norm" in record else 1e-6)

    process = launch(*arguments(text, cut, 60), *options)
    wait_for_lines(cut / "log.jsonl", 3)
    os.kill(process_of_rank(1, cut), signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and errors == ""
    step, = re.findall(r"stopped after step (\d+), and saved. To go on:\s+mpiexec -n 2 python -m gpt2np.train", output)
    assert checkpoints(cut)[-1].name == f"step-{int(step):08d}"

    process = launch("--resume", cut)
    wait_for_lines(cut / "log.jsonl", int(step) + 3)
    os.kill(process_of_rank(1, cut), signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 9 and "Killed" in output     # what mpiexec says
    process = launch("--resume", cut)
    process.communicate(timeout=60)
    assert process.returncode == 0
    for name in ("step-00000060", "best"):
        assert contents(cut / name) == contents(whole / name)
    assert records(cut) == records(whole)


@needs_mpi
def test_bad_input_is_said_once(text, tmp_path):
    process = launch(*arguments(text, tmp_path / "run", 1), "--batch", "1")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and not (tmp_path / "run").exists()
    assert errors == "error: --batch: expected a window for each of the 2 processes at least, got 1\n"
