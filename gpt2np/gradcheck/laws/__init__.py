"""What must hold for one layer in particular, whatever its numbers: sums, invariances, causality, limits.

Gradient checks cannot see a mask that is off by one, since forward and backward agree on it.  A law can.
Each is a function of (subject, rng) that raises CheckFailed where the law is broken, and leaves the subject as it was.

    common.py       of layers of many kinds, and of every module
    layers.py       of the pairs, and of classes of one layer
    blocks.py       of attention with its projections, of blocks, and of a stack of them
    models.py       of GPT-2; transformer.py, bert.py of the others
    adapt.py        of what takes the places of layers, to train few parameters
"""
