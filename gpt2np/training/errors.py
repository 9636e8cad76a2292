"""The one exception of this part."""

from ..errors import Gpt2npError


class TrainingError(Gpt2npError):
    """Something that makes training impossible or worthless; the message says what was expected and what came."""
