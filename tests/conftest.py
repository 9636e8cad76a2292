"""How the tests draw: Hypothesis chooses sizes, options and seeds, never single numbers; the same ones in every run.

    make test                                   the same examples each time
    HYPOTHESIS_PROFILE=search make test         new ones, ten times as many
"""

import os
import signal

import numpy as np  # noqa: F401    which brings its BLAS along
from hypothesis import settings

from gpt2np import blas

settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# What a shell runs behind the scenes, with &, is deaf to Ctrl-C, and so are its children: the tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Where the commands would say a line about it: the kernels are those that BLAS has chosen, here and in their processes.
if blas.what_to_set():
    os.environ[blas.TYPE] = "Haswell"
