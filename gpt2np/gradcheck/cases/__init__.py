"""The table: one row for each pair and each module, in the chapter's order.

A row is a small case to check it at, made from a random generator and a few sizes that are pairwise different where
they can be: a transposed matrix or a sum over the wrong axis then shows.  The numbers given with it are what the report
uses; the tests draw others.  Each stands right below the function that makes it:

    drawn.py        what they are made of: numbers, ids, masks
    layers.py       the pairs, and classes of one layer
    blocks.py       attention with its projections, blocks, a stack of them
    models.py       GPT-2, the Transformer, BERT
    adapt.py        what takes the places of layers, to train few parameters
"""

from ..checks import Case
from . import adapt, blocks, layers, models

CASES: tuple[Case, ...] = (*layers.CASES, *blocks.CASES, *models.CASES, *adapt.CASES)
