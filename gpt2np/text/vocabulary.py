"""A vocabulary and its two files: encoder.json gives every token its id, vocab.bpe gives the merges in order.

A token is a string of bytes. The 256 single bytes are tokens, each merge of two tokens makes one more, and
`<|endoftext|>`, which ends a document, is the last. So the merges alone say what the tokens are, and in OpenAI's order
also what their ids are. Both files spell a token with one printable character for each byte. Hugging Face calls the
same two files vocab.json and merges.txt: so what reads them, or names them in a message, is given their `names`.

Everything that a damaged file can do to us is refused here, by name of the file and number of the line. This file does
not encode (see bpe.py). The layout is that of openai/gpt-2, src/encoder.py and its released models.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from .. import bytes_in
from ..errors import Gpt2npError

Merges = Sequence[tuple[bytes, bytes]]

END_OF_TEXT = "<|endoftext|>"
VERSION_LINE = "#version: 0.2"
FILES = ("encoder.json", "vocab.bpe")       # the ids, the merges
MAX_FILE_BYTES = 2**24      # 16 MB: GPT-2's encoder.json has 1 MB


class TokenizerError(Gpt2npError):
    """A vocabulary, a text or an id that cannot be right; the message says what was expected and what came."""


# ---- the spelling of tokens

def _printable_bytes() -> dict[int, str]:
    """One printable character for each byte, so that a token can stand as a word in a text file.

    The 188 bytes that are printable in Latin-1 stand for themselves. The other 68 (the space, control characters, ...)
    take the characters from U+0100 on, in their order: the space is Ġ and the newline Ċ.
    """
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in own]
    return {byte: chr(byte) for byte in own} | {byte: chr(256 + i) for i, byte in enumerate(others)}


CHARACTERS = _printable_bytes()                                         # byte -> character
BYTES = {character: byte for byte, character in CHARACTERS.items()}     # and back
BYTE_TOKENS = [bytes([byte]) for byte in CHARACTERS]                    # ids 0 to 255, in OpenAI's order


def spell(token: bytes) -> str:
    """The token as the two files write it: spell(b" the") is "Ġthe"."""
    return "".join([CHARACTERS[byte] for byte in token])


def unspell(symbol: str) -> bytes:
    """The token that `symbol` spells; TokenizerError for a character that spells no byte."""
    try:
        return bytes([BYTES[character] for character in symbol])
    except KeyError as error:
        unknown = error.args[0]
        raise TokenizerError(f"{unknown!r} (U+{ord(unknown):04X}) in {symbol[:40]!r} spells no byte") from None


# ---- what a vocabulary must be

def openai_ids(merges: Merges) -> dict[bytes, int]:
    """The id of every token in OpenAI's order: the bytes by their spelling, what the merges make, `<|endoftext|>`."""
    tokens = BYTE_TOKENS + [left + right for left, right in merges] + [END_OF_TEXT.encode()]
    return {token: i for i, token in enumerate(tokens)}


def check_merges(merges: Merges, names: tuple[str, str] = FILES) -> None:
    """TokenizerError unless each part is a byte or made by an earlier merge, and no token is made twice.

    Encoding rests on both: see the note on merging in bpe.py. Lines are counted as in vocab.bpe: merge 0 is line 2.
    """
    line_of = dict.fromkeys(BYTE_TOKENS, 0)
    for line, (left, right) in enumerate(merges, 2):
        made = left + right
        if left not in line_of or right not in line_of:
            unknown = right if left in line_of else left
            fault = f"merges '{spell(unknown)}', which no earlier line makes"
        elif made in line_of:
            fault = f"is a duplicate: line {line_of[made]} makes '{spell(made)}' already"
        elif made == END_OF_TEXT.encode():
            fault = f"makes '{spell(made)}', which is reserved for the end of a document"
        else:
            line_of[made] = line
            continue
        raise TokenizerError(f"{names[1]} line {line}: '{spell(left)} {spell(right)}' {fault}")


def check_ids(ids: Mapping[bytes, int], merges: Merges, names: tuple[str, str] = FILES) -> None:
    """TokenizerError unless exactly the tokens of the merges have ids, and these are 0, 1, 2, ... in any order."""
    ids_file, merges_file = names
    expected = openai_ids(merges)
    for token in expected:
        if token not in ids:
            raise TokenizerError(f"{ids_file} has no id for '{spell(token)}', which {merges_file} needs: "
                                 f"one file is damaged, or the two do not belong together")
    for token in ids:
        if token not in expected:
            raise TokenizerError(f"{ids_file} has '{spell(token)}', which no line of {merges_file} makes: "
                                 f"{merges_file} is cut short, or the two files do not belong together")
    token_of: dict[int, bytes] = {}
    for token, i in ids.items():
        if not 0 <= i < len(ids):
            raise TokenizerError(f"{ids_file}: expected ids from 0 to {len(ids) - 1}, got {i} for '{spell(token)}'")
        if i in token_of:
            raise TokenizerError(f"{ids_file} gives the id {i} twice: to '{spell(token_of[i])}' and '{spell(token)}'")
        token_of[i] = token


# ---- the files

def read_vocabulary(folder: str | Path, names: tuple[str, str] = FILES) -> tuple[Merges, dict[bytes, int]]:
    """The merges and ids in the two files of a folder. TokenizerError says where a file is not sound in itself."""
    ids_file, merges_file = names
    ids = _parse_ids(_decode(_read(Path(folder, ids_file)), ids_file), ids_file)
    merges = _parse_merges(_decode(_read(Path(folder, merges_file)), merges_file), merges_file)
    return merges, ids


def read_gpt2_merges() -> Merges:
    """The merges of GPT-2, from the vocab.bpe that comes with this package."""
    data = files(__package__).joinpath("gpt2", FILES[1]).read_bytes()
    return _parse_merges(_decode(data, FILES[1]), FILES[1])


def write_vocabulary(folder: str | Path, merges: Merges, ids: Mapping[bytes, int]) -> None:
    """Write encoder.json and vocab.bpe, byte for byte as OpenAI lays them out.

    OSError where that cannot be done; TokenizerError where one of them is there already.
    """
    expect_no_vocabulary(folder)
    Path(folder).mkdir(parents=True, exist_ok=True)
    lines = [VERSION_LINE] + [f"{spell(left)} {spell(right)}" for left, right in merges]
    spelled = {spell(token): i for token, i in sorted(ids.items(), key=lambda item: item[1])}
    texts = (json.dumps(spelled), "".join(f"{line}\n" for line in lines))
    for name, text in zip(FILES, texts):
        Path(folder, name).write_bytes(text.encode())


def expect_no_vocabulary(folder: str | Path) -> None:
    """TokenizerError for a folder that has one of the two files: stopped between them, writing would leave one old and
    one new, which contradict each other.
    """
    for name in FILES:
        if Path(folder, name).exists():
            raise TokenizerError(f"{Path(folder, name)} exists, and a model may need it: name another folder, or "
                                 f"remove it")


def _read(path: Path) -> bytes:
    """The bytes of a vocabulary file."""
    try:
        return bytes_in.read_small(path, MAX_FILE_BYTES)
    except OSError as error:
        raise TokenizerError(f"{path.name} cannot be read: {error.strerror or error}") from None
    except bytes_in.TooLarge as error:
        raise TokenizerError(f"{path.name}: {error}; this is no vocabulary") from None


def _decode(data: bytes, name: str) -> str:
    """The text of a vocabulary file, with its line ends as they are."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise TokenizerError(f"{name} line {line}: the byte 0x{byte:02x} is not valid UTF-8 here") from None


def _parse_merges(text: str, name: str) -> Merges:
    """The merges of vocab.bpe: a version line, then one merge a line, its two parts with one space between them."""
    if "\r" in text:
        number = text.count("\n", 0, text.index("\r")) + 1
        raise TokenizerError(f"{name} line {number}: a carriage return: a copy with the line ends of Windows "
                             f"(CRLF); get the file anew, as binary")
    version, *lines = text.split("\n")
    if not version.startswith("#version"):
        raise TokenizerError(f"{name} line 1: expected '{VERSION_LINE}', got {version[:40]!r}")
    if not lines or lines.pop() != "":
        raise TokenizerError(f"{name} line {text.count(chr(10)) + 1}: no newline at the end: the file is cut short")
    merges = []
    for number, line in enumerate(lines, 2):
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts):
            raise TokenizerError(f"{name} line {number}: expected two symbols with one space between them, "
                                 f"got {line[:40]!r}")
        try:
            merges.append((unspell(parts[0]), unspell(parts[1])))
        except TokenizerError as error:
            raise TokenizerError(f"{name} line {number}: {error}") from None
    return merges


def _parse_ids(text: str, name: str) -> dict[bytes, int]:
    """The ids of encoder.json: one JSON object, from the spelling of each token to its id."""
    try:
        ids = bytes_in.parse_json(text)
    except json.JSONDecodeError as error:
        raise TokenizerError(f"{name} line {error.lineno}, column {error.colno}: not valid JSON ({error.msg}): "
                             f"the file is damaged or cut short") from None
    except bytes_in.KeyTwice as error:
        first, second = error.values
        raise TokenizerError(f"{name}: {error}, with {first!r:.40} and {second!r:.40}") from None
    except ValueError as error:                         # nested a thousand deep, or a number of 5,000 digits
        raise TokenizerError(f"{name}: expected one object of tokens and ids ({error})") from None
    if not isinstance(ids, dict):
        raise TokenizerError(f"{name}: expected an object of tokens and ids, got a {type(ids).__name__}")
    for symbol, i in ids.items():
        if type(i) is not int:              # isinstance would let true and false through
            raise TokenizerError(f"{name}: expected a whole number as the id of {symbol!r}, got {i!r:.40}")
    try:
        return {unspell(symbol): i for symbol, i in ids.items()}
    except TokenizerError as error:
        raise TokenizerError(f"{name}: {error}") from None
