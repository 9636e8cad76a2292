"""The report of a run as text."""

import numpy as np
import pytest

from gpt2np.text.columns import columns_of
from gpt2np.training.findings import Findings, confusion_table


@pytest.mark.parametrize("labels", [[f"label_with_a_name_{i}" for i in range(n)] for n in (2, 5, 11, 12, 20)]
                         + [[f"L{i}" for i in range(20)], ["好" * 9, "坏"], [f"标签{i}" for i in range(13)]])
def test_counts_fit_a_line_and_none_is_lost(labels):
    """In as many tables as it takes, each with all rows."""
    counts = np.arange(len(labels) ** 2).reshape(len(labels), -1)
    tables = confusion_table(Findings([], [], 1, 1, labels=labels, confusion=counts)).split("\n\n")
    rows = [[line[14:] for line in table.splitlines()[1:]] for table in tables]
    assert max(columns_of(line) for table in tables for line in table.splitlines()) <= 80
    if labels[0].isascii():
        read = np.concatenate([[[int(n) for n in row.split()] for row in some] for some in rows], axis=1)
        assert np.array_equal(read, counts)
