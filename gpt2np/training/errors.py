"""The one exception of this part."""


class TrainingError(ValueError):
    """Something that makes training impossible or worthless; the message says what was expected and what came."""
