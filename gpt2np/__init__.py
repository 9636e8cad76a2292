"""GPT-2 in NumPy alone: every layer's forward pass, its hand-written backward pass, and proof that both are right.

    model, tokenizer = gpt2np.load("124M")          a name, or the path of a model's folder
    gpt2np.save("my_model", model, tokenizer)
"""


def __getattr__(name):
    if name in ("load", "save"):                    # only now: `import gpt2np` reads no other file
        from .checkpoints import loading
        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
