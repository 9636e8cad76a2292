"""gpt2np.memory: the memory of freed arrays is used again, in every thread."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from gpt2np.memory import keep_freed_memory

keep_freed_memory()

def use_120_megabytes(_):
    arrays = [np.ones((3 << 18) + i, np.float32) for i in range(40)]
    while arrays:
        arrays.pop()

with ThreadPoolExecutor(2) as pool:
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        list(pool.map(use_120_megabytes, range(2)))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_step_in_threads_needs_no_new_pages():
    """With an arena for each thread, glibc gives half of the 60000 pages back, step after step."""
    out = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    *_, third, fourth = (int(line) for line in out.stdout.split())
    assert min(third, fourth) < 5000
