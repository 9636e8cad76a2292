"""Two thousand mutations of a model's files, the same each time; `make fuzz` goes on without end."""

import pytest

from tests.checkpoints.fuzz import Fuzz, little_memory


@pytest.mark.slow
def test_two_thousand_mutations(tmp_path):
    fuzz = Fuzz(tmp_path)
    with little_memory():
        for seed in range(2000):
            fuzz.step(seed)
    assert fuzz.count == 2000 and 1500 < fuzz.refused < 2000        # the rest: other white space, other finite numbers
