"""A vocabulary of WordPiece and its files: vocab.txt has a piece in each line, whose id is the line's number, from 0.

A piece that goes on with a word is spelled with ## before it: "##ing". Five pieces are no parts of a text but signs for
the model; they stand anywhere in the file. Beside it, tokenizer_config.json says how a text is prepared, above all
whether letters become small ones. Where that file or an entry of it is missing, transformers' defaults hold.

Everything that a damaged file can do to us is refused here, by name of the file and number of the line. This file does
not encode (see wordpiece.py). The layout is that of google-research/bert, and of transformers' BertTokenizer.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from .vocabulary import FILES, TokenizerError, read_object, read_text, spelled_ids

FILE, CONFIG, JSON = "vocab.txt", "tokenizer_config.json", "tokenizer.json"

PAD, UNK, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MEANING = {PAD: "fills up a row", UNK: "stands for a word that the vocabulary cannot spell", CLS: "begins a text",
           SEP: "ends a text", MASK: "hides a word"}

# How a text is prepared, as transformers does it where nothing is said. None: accents go where capitals go.
DEFAULTS: Mapping[str, bool | None] = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
# Tokenizers of transformers that do what BERT's does. Others have a vocab.txt too, and cut words in ways of their own.
CLASSES = ("BertTokenizer", "ConvBertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "LayoutLMTokenizer",
           "MobileBertTokenizer", "SqueezeBertTokenizer")


def is_vocab_txt(path: str | Path) -> bool:
    """Whether this is a file of pieces, or a folder with vocab.txt and none of the files of a BPE."""
    path = Path(path)
    if path.is_file():
        return path.suffix == ".txt"
    return Path(path, FILE).is_file() and not any(Path(path, name).exists() for name in FILES)


# ---- what a vocabulary must be

def check_pieces(pieces: Sequence[str], name: str = FILE) -> None:
    """TokenizerError unless each piece is there once, none is empty or has a line end, and all of SPECIAL are there."""
    if not pieces:
        raise TokenizerError(f"{name}: expected a piece in every line, got an empty file")
    line_of: dict[str, int] = {}
    for line, piece in enumerate(pieces, 1):
        if not piece or "\n" in piece or "\r" in piece:
            raise TokenizerError(f"{name} line {line}: expected a piece, got "
                                 + (f"one with a line end in it, {piece[:40]!r}" if piece else "an empty line"))
        if line_of.setdefault(piece, line) != line:
            raise TokenizerError(f"{name} line {line}: {piece[:40]!r} is a duplicate: it is in line {line_of[piece]} "
                                 f"already")
    for piece in SPECIAL:
        if piece not in line_of:
            raise TokenizerError(f"{name}: none of its {len(pieces):,} lines is {piece}, which {MEANING[piece]}: the "
                                 f"file is cut short, or no vocabulary of BERT's")


# ---- the files

def read_pieces(path: str | Path) -> list[str]:
    """The pieces in a vocab.txt, in their order. TokenizerError says which line is not sound in itself."""
    path = Path(path)
    text = read_text(path).removeprefix("\ufeff").replace("\r\n", "\n")      # as Windows writes them
    return text.removesuffix("\n").split("\n") if text else []          # splitlines would cut at U+2028 too


def read_json(folder: str | Path) -> tuple[list[str], dict[str, bool | None]]:
    """The pieces in a folder's tokenizer.json, and the options: transformers 5 writes no vocab.txt.

    What tokenizer_config.json says of an option holds. TokenizerError for a tokenizer that is not BERT's WordPiece.
    """
    tokenizer = read_object(Path(folder, JSON))
    model = _part(tokenizer, "model", {"type": "WordPiece", "continuing_subword_prefix": "##",
                                       "max_input_chars_per_word": 100})
    prepares = _part(tokenizer, "normalizer", {"type": "BertNormalizer", "clean_text": True})
    _part(tokenizer, "pre_tokenizer", {"type": "BertPreTokenizer"})
    ids = spelled_ids(model.get("vocab"), JSON)
    if sorted(ids.values()) != list(range(len(ids))):
        raise TokenizerError(f"{JSON}: expected the ids from 0 to {len(ids) - 1}, each for one piece, got others")
    names = {"do_lower_case": "lowercase", "strip_accents": "strip_accents",
             "tokenize_chinese_chars": "handle_chinese_chars"}
    options = {ours: prepares.get(theirs, DEFAULTS[ours]) for ours, theirs in names.items()}
    return sorted(ids, key=ids.__getitem__), read_options(folder, options)


def is_mine(tokenizer: Mapping) -> bool:
    """Whether a tokenizer.json is one of a WordPiece, as far as its model goes."""
    model = tokenizer.get("model")
    return isinstance(model, dict) and model.get("type") == "WordPiece"


def _part(tokenizer: Mapping, part: str, expected: Mapping) -> dict:
    """A part of tokenizer.json, in which these fields, where they are there, have these values."""
    fields = tokenizer.get(part)
    fields = fields if isinstance(fields, dict) else {"type": None}
    for name, value in expected.items():
        if (found := fields.get(name, value)) != value:
            raise TokenizerError(f"{JSON}: {part}: expected {name} {json.dumps(value)}, got {json.dumps(found):.40}")
    return fields


def read_options(folder: str | Path, defaults: Mapping[str, bool | None] = DEFAULTS) -> dict[str, bool | None]:
    """The options of DEFAULTS in a folder's tokenizer_config.json; TokenizerError where it asks for something else."""
    path = Path(folder, CONFIG)
    if not path.exists():
        return dict(defaults)
    config = read_object(path, "an object of options")
    name = config.get("tokenizer_class") or CLASSES[0]
    if not isinstance(name, str) or name.removesuffix("Fast") not in CLASSES:
        raise TokenizerError(f"{CONFIG}: tokenizer_class: expected {CLASSES[0]} or one that does the same, got "
                             f"{name!r:.40}, which cuts words in another way")
    if config.get("do_basic_tokenize") is False:
        raise TokenizerError(f"{CONFIG}: do_basic_tokenize: expected true, got false: leave it out, and give lists of "
                             f"words instead of texts")
    options = {key: config.get(key, default) for key, default in defaults.items()}
    for key, value in options.items():
        if not isinstance(value, bool) and (value, DEFAULTS[key]) != (None, None):
            raise TokenizerError(f"{CONFIG}: {key}: expected true or false, got {json.dumps(value):.40}")
    return options


def write_vocab_txt(folder: str | Path, pieces: Sequence[str], options: Mapping[str, bool | None]) -> None:
    """Write vocab.txt and tokenizer_config.json, from which transformers makes the same tokenizer.

    OSError where that cannot be done; TokenizerError where one of them is there already.
    """
    for name in (FILE, CONFIG):
        if Path(folder, name).exists():
            raise TokenizerError(f"{Path(folder, name)} exists, and a model may need it: name another folder, or "
                                 f"remove it")
    Path(folder).mkdir(parents=True, exist_ok=True)
    # The options first: stopped between the two, a vocabulary without them would be read with the wrong ones.
    config = {**options, "tokenizer_class": CLASSES[0]}
    Path(folder, CONFIG).write_bytes((json.dumps(config, indent=2) + "\n").encode())
    Path(folder, FILE).write_bytes("".join(f"{piece}\n" for piece in pieces).encode())
