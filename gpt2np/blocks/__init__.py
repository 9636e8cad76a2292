"""Sub-layers wired into one layer of a stack: attention with its projections, the MLP, and the blocks made of them.

Each forward packs the caches of its children into a tuple, in the order of the calls; backward unpacks it and mirrors
forward line by line, in reverse.  All take

    rng         numpy.random.Generator for dropout in training, or None: nothing is dropped
    keep_cache  False for inference: what only backward would need is not kept
    past        KVCache of the tokens before these, when a text is written token by token
"""
