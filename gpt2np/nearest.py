"""Which of some names was meant by another."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(typed: str, names: Iterable[str], about: str = "") -> str:
    """A question with the names that begin like what was typed, or else with those that look like it, to stand behind a
    sentence: "; did you mean demo?"; nothing where no name is near.

    about   what stands before the question
    """
    bare = {name.strip("-").lower(): name for name in names}
    typed = typed.strip("-").lower()
    near = [name for name in bare if typed and name.startswith(typed)][:3] or get_close_matches(typed, bare, 2)
    return f"; {about}did you mean {' or '.join(bare[name] for name in near)}?" if near else ""
