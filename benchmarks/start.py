"""How long a command takes from its beginning to its first character: `python -m benchmarks.start [--rounds 9]`.

    generate    python -m gpt2np.generate, the demo, a prompt of three tokens: the first character after the prompt
    NumPy       python -c "import numpy; print(1)": what no program with NumPy can be faster than
    Python      python -c "print(1)"

Interleaved in one run, medians of the rounds; one round before them warms the system's cache of files, and has Python
keep what it compiles, as a user's second start finds it, in a folder that is gone afterwards.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.timing import in_turn

PROMPT = "ROMEO."
COMMANDS = {"generate": ["-m", "gpt2np.generate", PROMPT, "--max-new-tokens", "1", "--seed", "1"],
            "NumPy": ["-c", "import numpy; print(1)"], "Python": ["-c", "print(1)"]}
BEFORE = {"generate": len(PROMPT)}                          # characters that stand there at once


def first_character(name, environment):
    """Seconds from the start of a process to the first character that it had to work for."""
    begin = time.perf_counter()
    with subprocess.Popen([sys.executable, *COMMANDS[name]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env=environment, cwd=Path(__file__).parents[1]) as process:
        assert len(process.stdout.read(BEFORE.get(name, 0) + 1)) == BEFORE.get(name, 0) + 1, f"{name} wrote nothing"
        return time.perf_counter() - begin


def keeping_in(folder):
    """The environment of a process that keeps what it compiles in a folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return environment | {"PYTHONPYCACHEPREFIX": folder}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        times = in_turn(rounds, [partial(first_character, name, keeping_in(folder)) for name in COMMANDS])
    for name, kept in zip(COMMANDS, times):
        print(f"{name:12}{statistics.median(kept):6.3f} s")


if __name__ == "__main__":
    main()
