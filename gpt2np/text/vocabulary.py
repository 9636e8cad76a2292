"""A vocabulary and its two files: encoder.json gives every token its id, vocab.bpe gives the merges in order.

A token is a string of bytes. The 256 single bytes are tokens, each merge of two tokens makes one more, and
`<|endoftext|>`, which ends a document, is the last. So the merges alone say what the tokens are, and in OpenAI's order
also what their ids are. Both files spell a token with one printable character for each byte. Hugging Face calls the
same two files vocab.json and merges.txt: so what reads them, or names them in a message, is given their `names`.

Everything that a damaged file can do to us is refused here, by name of the file and number of the line. This file does
not encode (see bpe.py). The layout is that of openai/gpt-2, src/encoder.py and its released models.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from .. import bytes_in
from ..errors import Gpt2npError

Merges = Sequence[tuple[bytes, bytes]]

END_OF_TEXT = "<|endoftext|>"
VERSION_LINE = "#version: 0.2"
FILES = ("encoder.json", "vocab.bpe")       # the ids, the merges
TOKENS_AND_IDS = "an object of tokens and ids"
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
        return bytes(map(BYTES.__getitem__, symbol))
    except KeyError as error:
        unknown = error.args[0]
        raise TokenizerError(f"{unknown!r} (U+{ord(unknown):04X}) in {symbol[:40]!r} spells no byte") from None


# ---- what a vocabulary must be

def openai_ids(merges: Merges) -> dict[bytes, int]:
    """The id of every token in OpenAI's order: the bytes by their spelling, what the merges make, `<|endoftext|>`."""
    tokens = BYTE_TOKENS + [left + right for left, right in merges] + [END_OF_TEXT.encode()]
    return {token: i for i, token in enumerate(tokens)}


def check_merges(merges: Merges, file: str = FILES[1], first: int = 2, unit: str = "line",
                 alphabet: Iterable[bytes] = BYTE_TOKENS) -> None:
    """TokenizerError unless each part is a byte or made by an earlier merge, and no token is made twice.

    file       where they are from, for the message
    first      the line of merge 0: 2 where the first line is the version; or another unit than lines
    alphabet   the bytes that there are: not all of them in vocabularies of some

    Encoding rests on both: see the note on merging in bpe.py.
    """
    line_of, end = dict.fromkeys(alphabet, 0), END_OF_TEXT.encode()
    for line, (left, right) in enumerate(merges, first):
        made = left + right
        if left not in line_of or right not in line_of:
            unknown = right if left in line_of else left
            fault = f"merges '{spell(unknown)}', which no earlier {unit} makes"
        elif made in line_of:
            fault = f"is a duplicate: {unit} {line_of[made]} makes '{spell(made)}' already"
        elif made == end:
            fault = f"makes '{spell(made)}', which is reserved for the end of a document"
        else:
            line_of[made] = line
            continue
        raise TokenizerError(f"{file} {unit} {line}: '{spell(left)} {spell(right)}' {fault}")


def check_ids(ids: Mapping[bytes, int], merges: Merges, names: tuple[str, str] = FILES) -> None:
    """TokenizerError unless exactly the tokens of the merges have ids, and these are 0, 1, 2, ... in any order."""
    ids_file, merges_file = names
    expected = openai_ids(merges)
    for token in expected:
        if token not in ids:
            raise no_id(token, ids_file, merges_file)
    for token in ids:
        if token not in expected:
            raise not_made(spell(token), ids_file, merges_file)
    token_of: dict[int, bytes] = {}
    for token, i in ids.items():
        if not 0 <= i < len(ids):
            raise TokenizerError(f"{ids_file}: expected ids from 0 to {len(ids) - 1}, got {i} for '{spell(token)}'")
        if i in token_of:
            raise TokenizerError(f"{ids_file} gives the id {i} twice: to '{spell(token_of[i])}' and '{spell(token)}'")
        token_of[i] = token


def no_id(token: bytes, ids_file: str, merges_file: str) -> TokenizerError:
    """The error for a token that has to be there."""
    return TokenizerError(f"{ids_file} has no id for '{spell(token)}', which {merges_file} needs: one file is damaged, "
                          "or the two do not belong together")


def not_made(symbol: str, ids_file: str, merges_file: str, unit: str = "line") -> TokenizerError:
    """The error for a token that cannot come to be."""
    return TokenizerError(f"{ids_file} has '{symbol}', which no {unit} of {merges_file} makes: {merges_file} is cut "
                          "short, or the two files do not belong together")


# ---- the files

def read_vocabulary(folder: str | Path, names: tuple[str, str] = FILES) -> tuple[Merges, dict[bytes, int], int]:
    """The merges and ids in the two files of a folder, and the line of merge 0.

    TokenizerError says where a file is not sound in itself.
    """
    ids_file, merges_file = names
    ids = spelled_ids(read_object(Path(folder, ids_file), TOKENS_AND_IDS), ids_file)
    merges, first = read_merges(Path(folder, merges_file))
    try:
        return merges, {unspell(symbol): i for symbol, i in ids.items()}, first
    except TokenizerError as error:
        raise TokenizerError(f"{ids_file}: {error}") from None


def read_gpt2_merges() -> Merges:
    """The merges of GPT-2, from the vocab.bpe that comes with this package."""
    data = files(__package__).joinpath("gpt2", FILES[1]).read_bytes()
    return parse_merges(_decode(data, FILES[1]), FILES[1])[0]


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
    """TokenizerError for a folder that has a vocabulary, or half of one: stopped in between, writing would leave one
    file old and one new, which contradict each other.
    """
    for name in (*FILES, "tokenizer.json"):
        if Path(folder, name).exists():
            raise TokenizerError(f"{Path(folder, name)} exists, and a model may need it: name another folder, or "
                                 f"remove it")


def read_merges(path: Path) -> tuple[Merges, int]:
    """The merges in a file, and the line of the first. TokenizerError says in which line there is none."""
    return parse_merges(read_text(path), path.name)


def read_object(path: Path, what: str = "a JSON object") -> dict:
    """The JSON object in a file. TokenizerError says where it is none; `what` is what was expected, for that."""
    name = path.name
    try:
        value = bytes_in.parse_json(read_text(path))
    except json.JSONDecodeError as error:
        raise TokenizerError(f"{name} line {error.lineno}, column {error.colno}: not valid JSON ({error.msg}): "
                             f"the file is damaged or cut short") from None
    except bytes_in.KeyTwice as error:
        first, second = error.values
        raise TokenizerError(f"{name}: {error}, with {first!r:.40} and {second!r:.40}") from None
    except TokenizerError:
        raise
    except ValueError as error:                         # nested a thousand deep, or a number of 5,000 digits
        raise TokenizerError(f"{name}: expected {what} ({error})") from None
    if not isinstance(value, dict):
        raise TokenizerError(f"{name}: expected {what}, got a {type(value).__name__}")
    return value


def spelled_ids(value: object, name: str) -> dict[str, int]:
    """The object, once it is seen that it maps tokens, as they are spelled, to whole numbers."""
    if not isinstance(value, dict):
        raise TokenizerError(f"{name}: expected {TOKENS_AND_IDS}, got a {type(value).__name__}")
    for symbol, i in value.items():
        if type(i) is not int:              # isinstance would let true and false through
            raise TokenizerError(f"{name}: expected a whole number as the id of {symbol!r}, got {i!r:.40}")
    return value


def parse_merges(text: str, name: str) -> tuple[Merges, int]:
    """The merges of vocab.bpe: a version line, then one merge a line, its two parts with one space between them.

    Returns them, and the line of the first.

    The version line, the last newline, and newlines without a carriage return before them, are usual and need not be:
    what a file has lost, the ids tell, since each merge makes a token that has one.
    """
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []
    first = 2 if text.startswith("#version") else 1
    if first == 1 and lines and [len(part) for part in lines[0].split(" ")] != [1, 1]:  # the first merge: two bytes
        raise TokenizerError(f"{name} line 1: expected '{VERSION_LINE}', got {lines[0][:40]!r}")
    merges = []
    token_of = {character: bytes([byte]) for character, byte in BYTES.items()}      # and what earlier lines make
    for number, line in enumerate(lines[first - 1:], first):
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise TokenizerError(f"{name} line {number}: expected two symbols with one space between them, "
                                 f"got {line[:40]!r}")
        try:
            merge = token_of.get(left) or unspell(left), token_of.get(right) or unspell(right)
        except TokenizerError as error:
            raise TokenizerError(f"{name} line {number}: {error}") from None
        merges.append(merge)
        token_of[left + right] = merge[0] + merge[1]
    return merges, first


def read_text(path: Path) -> str:
    """The text of a vocabulary file, with its line ends as they are."""
    try:
        return _decode(bytes_in.read_small(path, MAX_FILE_BYTES), path.name)
    except OSError as error:
        raise TokenizerError(f"{path.name} cannot be read: {error.strerror or error}") from None
    except bytes_in.TooLarge as error:
        raise TokenizerError(f"{path.name}: {error}; this is no vocabulary") from None


def _decode(data: bytes, name: str) -> str:
    """The text that its bytes are; TokenizerError, with the line, where they are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise TokenizerError(f"{name} line {line}: the byte 0x{byte:02x} is not valid UTF-8 here") from None
