"""WordPiece as its definition says it, character by character, and nothing done to make it fast.

It shares no code with the package. Categories are those of this Python, as in the package.
"""

import unicodedata

CHINESE = [range(0x4E00, 0xA000), range(0x3400, 0x4DC0), range(0x20000, 0x2A6E0), range(0x2A700, 0x2B740),
           range(0x2B740, 0x2B820), range(0x2B920, 0x2CEB0), range(0xF900, 0xFB00), range(0x2F800, 0x2FA20)]


def is_white(c):
    return c in " \t\n\r" or unicodedata.category(c) in ("Zs", "Zl", "Zp")


def is_removed(c):
    return c in "\0\ufffd" or (c not in "\t\n\r" and unicodedata.category(c) in ("Cc", "Cf", "Co"))


def is_chinese(c):
    return any(ord(c) in block for block in CHINESE)


def is_sign(c):
    ascii_sign = 33 <= ord(c) <= 47 or 58 <= ord(c) <= 64 or 91 <= ord(c) <= 96 or 123 <= ord(c) <= 126
    return ascii_sign or unicodedata.category(c).startswith("P")


def words(text, do_lower_case=True, strip_accents=None, tokenize_chinese_chars=True):
    """The words of a text: one step after another over the whole text, in the library's order."""
    text = "".join(" " if is_white(c) else c for c in text if not is_removed(c))
    if tokenize_chinese_chars:
        text = "".join(f" {c} " if is_chinese(c) else c for c in text)
    if do_lower_case if strip_accents is None else strip_accents:
        text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    if do_lower_case:
        text = "".join(c.lower() for c in text)
    found, word = [], ""
    for c in text + " ":
        if is_white(c) or is_sign(c):
            found += [word] * bool(word) + [c] * is_sign(c)
            word = ""
        else:
            word += c
    return found


def encode(pieces, text, **options):
    """The pieces of a text, each by its spelling."""
    return [piece for word in words(text, **options) for piece in cut(set(pieces), word)]


def cut(pieces, word):
    """The longest piece that the rest begins with, again and again."""
    found, rest = [], word
    while rest:
        fitting = [n for n in range(1, len(rest) + 1) if "##" * bool(found) + rest[:n] in pieces]
        if len(word) > 100 or not fitting:
            return ["[UNK]"]
        found.append("##" * bool(found) + rest[:fitting[-1]])
        rest = rest[fitting[-1]:]
    return found
