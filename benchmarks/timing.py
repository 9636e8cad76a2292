"""What the benchmarks share: runs that take turns, and what the machine can do at most."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np


def seconds(run: Callable[[], Any]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(rounds: int, runs: Sequence[Callable[[], float]], pause: float = 0.0) -> list[list[float]]:
    """What each run returns, round by round, after one round that is not counted.

    They take turns (ours, theirs, ours, ...): a machine that slows down slows all of them.

    pause   seconds before each, in which the threads of the one before stop waiting for more at full speed
    """
    found: list[list[float]] = [[] for _ in runs]
    for i in range(rounds + 1):
        for run, mine in zip(runs, found):
            time.sleep(pause)
            figure = run()
            if i:
                mine.append(figure)
    return found


def interleaved(rounds: int, runs: Sequence[Callable[[], Any]], pause: float = 0.0) -> list[list[float]]:
    """The seconds of each run, in turn."""
    return in_turn(rounds, [partial(seconds, run) for run in runs], pause)


def medians(rounds: int, runs: Sequence[Callable[[], Any]], pause: float = 0.0) -> list[float]:
    """The median seconds of each run, in turn."""
    return [statistics.median(mine) for mine in interleaved(rounds, runs, pause)]


def environment() -> dict[str, str]:
    """Of a process that finds gpt2np and the benchmarks, whatever folder this one was started in."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}


class Machine:
    """What it reads of memory in a second, and what it computes of products in float32, on all cores.

    Both are measured again and again while a benchmark runs, since a shared machine is not the same at all times.

    bandwidths   bytes a second: a large matrix times a vector
    rates        operations a second, two for each multiplication: a square matrix times itself
    """

    def __init__(self, rows: int = 1 << 13, square: int = 2048):
        self.matrix, self.square = np.ones((rows, rows), np.float32), np.ones((square, square), np.float32)
        self.bandwidths: list[float] = []
        self.rates: list[float] = []

    def measure(self) -> None:
        """Once more."""
        matrix, square = self.matrix, self.square
        self.bandwidths.append(matrix.nbytes / seconds(lambda: matrix @ matrix[0]))
        self.rates.append(2 * len(square)**3 / seconds(lambda: square @ square))

    def median(self, last: int = 0) -> tuple[float, float]:
        """The medians of the last so many of both; of all for 0."""
        return statistics.median(self.bandwidths[-last:]), statistics.median(self.rates[-last:])
