"""The base of the errors that this package foresees: what a command says of one is a sentence, without a traceback.

ValueError itself is also NumPy's, for shapes that do not fit, and json's and the codecs': there it is a mistake in the
code, which is found by its traceback.
"""


class Gpt2npError(ValueError):
    """Something that cannot be used, or cannot be done; the message says what was expected, what came, what to do."""


class Gpt2npWarning(UserWarning):
    """Something that was passed over and makes no difference, so that nobody believes that it was taken."""


def foreseen(error: BaseException) -> bool:
    """Whether an error is said in a sentence: this package's own, and what the system refuses."""
    return isinstance(error, (Gpt2npError, OSError, MemoryError))


def sentence(error: BaseException) -> str:
    """What is said of an error that is foreseen."""
    if isinstance(error, OSError):
        problem = error.strerror or str(error)
        return f"{error.filename}: {problem}" if error.filename else problem
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}): ask for less at once, or take a smaller model"
    return str(error)
