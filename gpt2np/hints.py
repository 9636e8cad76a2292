"""The names of types that stand in signatures; what shape an array has, its docstring says."""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray       # NumPy's, or CuPy's, which takes over NumPy's calls
Cache: TypeAlias = Any              # what a forward keeps for its backward: a tuple of arrays and of children's caches
Rng: TypeAlias = np.random.Generator
