"""Sub-layers wired into one layer of a stack: attention with its projections, the MLP, and the blocks made of them.

Each forward packs the caches of its children into a tuple, in the order of the calls; backward unpacks it and mirrors
forward line by line, in reverse.  The forwards take

    rng         numpy.random.Generator for dropout in training, or None: nothing is dropped
    keep_cache  False for inference: then the cache is None, and nothing lives on that only backward would need

and SelfAttention and PreNormBlock, of which GPT-2 is made, for inference also

    past        KVCache of the tokens before these, when a text is written token by token
    last        how many of the positions the result is wanted of, the last ones; None: of all
"""
