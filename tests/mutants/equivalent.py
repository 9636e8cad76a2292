"""The mechanical changes that no check can find, because no result changes; each with the reason."""

EQUIVALENT = ()
