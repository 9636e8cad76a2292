"""BERT's WordPiece: text to the ids of words and parts of words, to the id as the tokenizers library does it, and back.

    text  ->  words  ->  pieces  ->  ids
    Unaffable, 世界！   ->   unaffable , 世 界 ！   ->   un ##aff ##able , 世 界 ！

1. Each character is prepared by itself: control characters go, and white space becomes a space; a Chinese character
   and a punctuation sign get a space on both sides; for an uncased vocabulary accents go, é is e, and letters become
   small ones. What then stands between spaces is a word.
2. Of a word, the longest beginning that is a piece of the vocabulary is taken; then the longest of the rest, among the
   pieces that go on with a word, spelled with ## before them; and so on. If at some place nothing fits, the whole word
   is [UNK]; so is a word of more than 100 characters.

Words are cut independently of one another, so each is worked out once and then remembered.
This file does not read vocabulary files (vocab_txt.py) or print tokens as they arrive (streaming.py).

Programs differ in a few characters. Followed here is the tokenizers library of Hugging Face, which is behind today's
transformers. Google's tokenization.py and the BertTokenizer that was written in Python differ from it in that
- a code point that Unicode has not assigned is removed, where here it stays, as a part of a word;
- Σ at the end of a word becomes ς, where here it is σ as everywhere else;
- U+2B820 to U+2B91F are Chinese characters, where here they are letters;
- of two texts that are cut to one length, the first one keeps more (see `kept`).
And this file differs from the library where Unicode has grown: what is a mark, a sign or a control character is asked
of Python's own tables, as Google's program does, and the library's are those of Unicode 8, of 2015.
tests/text/test_wordpiece.py compares all code points, and lists those few.

Devlin, Chang, Lee, Toutanova 2019, arXiv:1810.04805, section 3 (the input of BERT);
Wu et al. 2016, arXiv:1609.08144, section 4.1 (pieces of words); google-research/bert, tokenization.py.

Chapter: S002 5.2.
"""

import hashlib
import re
import struct
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import regex

from .utf8 import expect_text, lone_surrogate
from .vocab_txt import (
    CLS,
    DEFAULTS,
    FILE,
    JSON,
    MASK,
    PAD,
    SEP,
    SPECIAL,
    UNK,
    check_pieces,
    read_json,
    read_options,
    read_pieces,
    write_vocab_txt,
)
from .vocabulary import END_OF_TEXT, TokenizerError

GOES_ON = "##"                  # before a piece that goes on with a word
MAX_LETTERS = 100               # a longer word is [UNK]
ASCII_SIGNS = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")       # all are punctuation to BERT, $ and + too

# What BERT takes for Chinese characters, within the brackets of a regular expression: the blocks of ideographs that
# Unicode 8 had, but for the first 256 characters of the last one, extension E.
CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f\U0002b920-\U0002ceaf" \
          "\U0002f800-\U0002fa1f"
IS_CHINESE = re.compile(f"[{CHINESE}]").match
WHITE = r"\t\n\r\p{Z}"
AS_WRITTEN = regex.compile(f"[^{WHITE}]+")          # what is written without white space

# Between words that are written again, there is no space before the first of these, nor after the second. All are signs
# that are words by themselves: without a space beside them, the text has the same words.
CLOSING = frozenset(".,:;!?%)]}”»…'’-—/_@·")
OPENING = frozenset("([{“‘«¿¡#$'’-—/_@·")
DIGITS = frozenset("0123456789")

WINDOW = 2**16          # characters cut into words at a time, so that the list of words stays small
MAX_CHARACTERS = 2**16  # remembered, in some 10 MB at most; Chinese needs 10,000
MAX_WORDS = 2**16       # remembered, in some 10 MB
MAX_WORD_LENGTH = 64    # longer words are hardly ever met twice

Cut = Literal["longest_first", "only_first", "only_second"]


class Encoded(NamedTuple):
    """What BERT reads: [CLS] first [SEP], or [CLS] first [SEP] second [SEP].

    ids         of the pieces
    segments    0 for each id up to the first [SEP], 1 for each after it
    words       for each id the number of its word, from 0 in each text; None for [CLS] and [SEP]
    """

    ids: list[int]
    segments: list[int]
    words: list[int | None]


class Word(NamedTuple):
    """A word, the pieces found from its beginning on, the rest that begins with no piece, and the ids that came out.

    Where there is a rest, the word is [UNK], whatever was found before.
    """

    text: str
    pieces: list[str]
    rest: str
    ids: list[int]


class Passage(NamedTuple):
    """What a text has between white space, as it is written, and the words that it becomes."""

    text: str
    words: list[Word]


class WordPiece:
    """Encodes text as the ids of pieces of words, and decodes ids as text.

    pieces                  the vocabulary in the order of its ids, with [PAD] [UNK] [CLS] [SEP] [MASK] anywhere in it
    do_lower_case           the vocabulary is uncased: it has small letters only
    strip_accents           it has no accents either; None: if do_lower_case
    tokenize_chinese_chars  each Chinese character is a word
    name                    of the file that the pieces are from, for messages

    TokenizerError where a piece is there twice or a special one is missing. The options have the names and defaults of
    tokenizer_config.json. Attributes to read: pieces, n_vocab, how many there are; pad, unk, cls, sep and mask, the ids
    of the special ones; end_of_text, which is that of [SEP], as in a GPT-2 with such a vocabulary; unused, the ids that
    no piece has: none.
    """

    unused: Sequence[int] = ()
    cuts = True                     # at white space: see protocol.py

    def __init__(self, pieces: Sequence[str], do_lower_case: bool = True, strip_accents: bool | None = None,
                 tokenize_chinese_chars: bool = True, name: str = FILE):
        check_pieces(pieces, name)
        self.pieces, self.n_vocab = list(pieces), len(pieces)
        self.options = dict(zip(DEFAULTS, (do_lower_case, strip_accents, tokenize_chinese_chars)))
        ids = {piece: i for i, piece in enumerate(pieces)}
        self.pad, self.unk, self.cls, self.sep, self.mask = (ids[piece] for piece in (PAD, UNK, CLS, SEP, MASK))
        self.end_of_text = self.sep
        self._begins = {piece: i for piece, i in ids.items() if not goes_on(piece)}
        self._goes_on = {piece.removeprefix(GOES_ON): i for piece, i in ids.items() if goes_on(piece)}
        self._longest = max(map(len, pieces))
        self._written = dict(enumerate(self._as_written(piece) for piece in pieces))
        self._prepared = _PreparedCharacters(do_lower_case, do_lower_case if strip_accents is None else strip_accents,
                                             tokenize_chinese_chars)
        self._last_break = regex.compile(f"(?r)[{WHITE}{CHINESE if tokenize_chinese_chars else ''}]")
        self._ids_of_word = _RememberedWords(self)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"WordPiece of {self.n_vocab:,} pieces: {options}, end of text {self.end_of_text}"

    @classmethod
    def load(cls, path: str | Path) -> "WordPiece":
        """The vocabulary in a folder's vocab.txt, or in the file of this path, whatever its name; in a folder without
        vocab.txt, that in tokenizer.json.

        The options are those of tokenizer_config.json in the same folder; without it, transformers' defaults: uncased.
        TokenizerError says which file and line is missing or damaged.
        """
        file = Path(path, FILE) if Path(path).is_dir() else Path(path)
        try:
            pieces, options = read_json(file.parent) if not file.exists() and Path(file.parent, JSON).exists() else \
                (read_pieces(file), read_options(file.parent))
            return cls(pieces, bool(options["do_lower_case"]), options["strip_accents"],
                       bool(options["tokenize_chinese_chars"]), file.name)
        except TokenizerError as error:
            raise TokenizerError(f"the vocabulary in {path} cannot be used: {error}") from None

    def save(self, folder: str | Path) -> None:
        """Write the vocabulary as vocab.txt and tokenizer_config.json into `folder`, made if need be.

        OSError where that fails; TokenizerError where one of the two is there already.
        """
        write_vocab_txt(folder, self.pieces, self.options)

    def fingerprint(self) -> bytes:
        """32 bytes that differ where two vocabularies or their options do: a SHA-256."""
        digest = hashlib.sha256(repr(self.options).encode())
        for piece in self.pieces:
            digest.update(struct.pack("<I", len(piece.encode())) + piece.encode())
        return digest.digest()

    # ---- text to ids

    def encode(self, text: str, allowed_special: Iterable[str] = ()) -> list[int]:
        """The ids of a text, without [CLS] and [SEP]: encode_pair adds them.

        text             any str; TokenizerError for bytes and for lone surrogates, which are no text
        allowed_special  `("[MASK]",)` makes that string in the text the special piece; by default it is text like any
                         other, so that nobody can end a text by writing it. The tokenizers library allows them all.
                         `<|endoftext|>` is the piece that ends a text, as it is to every tokenizer here
        returns          a list of ids
        """
        ids: list[int] = []
        for words in self._cut(text, allowed_special):
            ids.extend(chain.from_iterable(map(self._ids_of_word.__getitem__, words)))
        return ids

    def encode_pair(self, first: str | Sequence[str], second: str | Sequence[str] | None = None,
                    max_length: int | None = None, cut: Cut = "longest_first",
                    allowed_special: Iterable[str] = ()) -> Encoded:
        """The ids of one text, or of two, with [CLS] and [SEP], with their segments and the numbers of their words.

        first, second    texts, or lists of words: then `words` has their numbers in the list, and a word that becomes
                         several, as "U.S." does, has one number all the same
        max_length       of the ids, [CLS] and [SEP] included; None: whatever it comes to
        cut              which of the two loses its end where that is too long: see `kept`
        allowed_special  as in encode

        TokenizerError for what is no text, and where max_length cannot be kept.
        """
        texts, allowed = [first] if second is None else [first, second], _names(allowed_special)
        numbered = [self._numbered(text, allowed) for text in texts]
        if max_length is not None:
            room, lengths = max_length - 1 - len(texts), [len(text) for text in numbered]
            numbered = [text[:n] for text, n in zip(numbered, kept(lengths, room, cut))]
        ids, segments = [self.cls], [0]
        words: list[int | None] = [None]
        for segment, text in enumerate(numbered):
            ids += [i for i, _ in text] + [self.sep]
            segments += [segment] * (len(text) + 1)
            words += [number for _, number in text] + [None]
        return Encoded(ids, segments, words)

    def words(self, text: str, allowed_special: Iterable[str] = ()) -> list[str]:
        """The words of a text, step 1; the arguments and errors are those of encode."""
        return list(chain.from_iterable(self._cut(text, allowed_special)))

    def needed(self, text: str, allowed_special: Iterable[str] = ()) -> set[int]:
        """The ids of all pieces that are found in a text: also of those in a word that becomes [UNK] for its end.

        With these and the special ones alone, the text has the same pieces: see smaller.py.
        """
        return {i for words in self._cut(text, allowed_special) for word in set(words) for i in self._match(word)[0]}

    def explain(self, text: str, allowed_special: Iterable[str] = ()) -> list[Passage]:
        """How encode comes to its ids: what is written between white space, its words, and the pieces of each."""
        explained = []
        try:
            for i, part in enumerate(_parts(text, allowed_special)):
                for passage in [part] if i % 2 else AS_WRITTEN.findall(part):
                    words = [self._special(part)] if i % 2 else self._words(passage)
                    explained.append(Passage(passage, [self._explained(word) for word in words]))
        except UnicodeEncodeError:
            raise lone_surrogate(text) from None
        return explained

    # ---- ids to text

    def decode(self, ids: Iterable[int]) -> str:
        """The text of a sequence of ids; TokenizerError for an unknown id.

        Between two words there is a space, but none beside a Chinese character or a full-width sign, before one of
        .,:;!?%)] or after one of ([{#$ and their like, on either side of ' - / _ @, nor between a dot and a digit.
        Capitals, accents and where spaces were are not known any more; but what is written has the same ids again, if
        they are those of a text, and no special ones.

        What an id writes depends on that id and on the one before it, and on nothing else: so it can be streamed.
        """
        written: list[str] = []
        may_follow = False
        try:
            for i in ids:
                text, before, after = self._written[i]
                if may_follow and before and not (written[-1] == "." and text[0] in DIGITS): written.append(" ")
                written.append(text)
                may_follow = after
        except KeyError as error:
            raise TokenizerError(f"decode: expected ids from 0 to {self.n_vocab - 1}, got {error.args[0]!r}") from None
        except TypeError as error:
            raise TokenizerError(f"decode: expected a flat sequence of ids: {error}") from None
        return "".join(written)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The same in UTF-8."""
        return self.decode(ids).encode()

    # ---- the steps

    def _cut(self, text: str, allowed_special: Iterable[str]) -> Iterator[list[str]]:
        """The words of a text, step 1, as one list after another, each of some WINDOW characters.

        A special piece is among them as its own name: no other word is like it, since [ alone is a word in any text.
        """
        try:
            for i, part in enumerate(_parts(text, allowed_special)):
                if i % 2:
                    yield [self._special(part)]
                else:
                    yield from map(self._words, self._windows(part))
        except UnicodeEncodeError:
            raise lone_surrogate(text) from None

    def _special(self, name: str) -> str:
        """The special piece of that name; what ends a text has the name <|endoftext|> too, in every vocabulary."""
        return self.pieces[self.end_of_text] if name == END_OF_TEXT else name

    def _words(self, text: str) -> list[str]:
        """The words of a text without special pieces, step 1. UnicodeEncodeError for a lone surrogate."""
        prepared = text.translate(self._prepared)
        if self._prepared.strip_accents:        # NFD also puts the marks that are no accents into an order of their own
            prepared = unicodedata.normalize("NFD", prepared)
        return prepared.split()

    def _windows(self, text: str) -> Iterator[str]:
        """The text in parts, each of some WINDOW characters, that begin where a word does."""
        start = 0
        while start < len(text):
            end = start + WINDOW
            while end < len(text):
                if found := self._last_break.search(text, start + 1, end):
                    end = found.start()
                    break
                end += end - start                  # a long run without a break: look twice as far
            yield text[start:end]
            start = end

    def _numbered(self, text: str | Sequence[str], allowed_special: Sequence[str]) -> list[tuple[int, int]]:
        """The ids of a text, or of a list of words, each with the number of its word."""
        ids_of_words: Iterable[Sequence[int]]
        if isinstance(text, str):
            ids_of_words = map(self._ids_of_word.__getitem__, self.words(text, allowed_special))
        elif isinstance(text, (list, tuple)):
            ids_of_words = (self.encode(word, allowed_special) for word in text)
        else:
            raise TokenizerError(f"expected a text or a list of words, got {type(text).__name__}")
        return [(i, number) for number, ids in enumerate(ids_of_words) for i in ids]

    def _match(self, word: str) -> tuple[list[int], str]:
        """The ids of the pieces of a word, step 2, and the rest that begins with no piece: "" if all is well."""
        ids: list[int] = []
        start, pieces = 0, self._begins
        while start < len(word) <= MAX_LETTERS:
            for end in range(min(len(word), start + self._longest), start, -1):
                if (i := pieces.get(word[start:end])) is not None: break
            else:
                break
            ids.append(i)
            start, pieces = end, self._goes_on
        return ids, word[start:]

    def _explained(self, word: str) -> Word:
        """A word with its pieces."""
        ids, rest = self._match(word)
        return Word(word, [self.pieces[i] for i in ids], rest, [self.unk] if rest else ids)

    def _as_written(self, piece: str) -> tuple[str, bool, bool]:
        """What a piece writes, and whether a space may be before it, and after it."""
        text = piece.removeprefix(GOES_ON) if goes_on(piece) else piece
        before = not (goes_on(piece) or self._is_wide(text[0]) or text[0] in CLOSING)
        return text, before, not (self._is_wide(text[-1]) or text[-1] in OPENING)

    def _is_wide(self, character: str) -> bool:
        """Whether this is a Chinese character or a full-width sign, and so a word without spaces beside it."""
        if is_punctuation(character):
            return unicodedata.east_asian_width(character) in ("W", "F", "H")
        return bool(self.options["tokenize_chinese_chars"] and IS_CHINESE(character))


class _PreparedCharacters(dict[int, str]):
    """code point -> what becomes of it, step 1: a table for str.translate, worked out when first asked for.

    All of step 1 is here, since nothing in it depends on what stands beside a character. Emptied when full.
    """

    def __init__(self, do_lower_case: bool, strip_accents: bool, tokenize_chinese_chars: bool):
        self.do_lower_case, self.strip_accents = do_lower_case, strip_accents
        self.tokenize_chinese_chars = tokenize_chinese_chars

    def __missing__(self, code: int) -> str:
        if len(self) >= MAX_CHARACTERS: self.clear()
        self[code] = prepared = self.prepare(chr(code))
        return prepared

    def prepare(self, character: str) -> str:
        """A character as it goes into words: with spaces where words end; " " for white space, "" for what is removed.

        UnicodeEncodeError for a lone surrogate.
        """
        category = unicodedata.category(character)
        if character in "\t\n\r" or category[0] == "Z":
            return " "
        if character in "\0\ufffd" or category in ("Cc", "Cf", "Co"):
            return ""
        character.encode()                              # a lone surrogate is no text, and ends here
        written = character
        if self.strip_accents:
            written = "".join(c for c in unicodedata.normalize("NFD", character) if unicodedata.category(c) != "Mn")
        if self.do_lower_case:
            written = written.lower()
        if is_punctuation(written) or (self.tokenize_chinese_chars and IS_CHINESE(character)):
            return f" {written} "
        return written


class _RememberedWords(dict[str, tuple[int, ...]]):
    """word -> its ids, worked out when first asked for; emptied when full, so that it never grows with the text."""

    def __init__(self, tokenizer: WordPiece):
        self.tokenizer = tokenizer

    def __missing__(self, word: str) -> tuple[int, ...]:
        found, rest = self.tokenizer._match(word)
        ids = (self.tokenizer.unk,) if rest else tuple(found)
        if len(word) <= MAX_WORD_LENGTH:
            if len(self) >= MAX_WORDS: self.clear()
            self[word] = ids
        return ids


def is_punctuation(text: str) -> bool:
    """Whether a text is one sign that BERT takes for a word by itself."""
    return len(text) == 1 and (text in ASCII_SIGNS or unicodedata.category(text)[0] == "P")


def goes_on(piece: str) -> bool:
    """Whether a piece goes on with a word: ## alone does not, since it would write nothing."""
    return piece.startswith(GOES_ON) and piece != GOES_ON


def kept(lengths: Sequence[int], room: int, cut: Cut) -> list[int]:
    """How much is kept of one text, or of each of two, so that together they are not longer than room.

    longest_first   the longer one loses until both are of one length, then both; of an odd room, the one that was
                    longer keeps one more, the second if they were of one length (in Google's program, the first always)
    only_first      the first loses all that is too much, and must keep something; so only_second

    TokenizerError where that cannot be. All is as in the tokenizers library, but that it says nothing where there is no
    room for any text, and then cuts both or none.
    """
    if cut not in ("longest_first", "only_first", "only_second"):
        raise TokenizerError(f"cut: expected longest_first, only_first or only_second, got {cut!r}")
    if room < 0:
        specials = 1 + len(lengths)
        raise TokenizerError(f"max_length: expected {specials} or more, for {CLS} and {specials - 1} {SEP}, got "
                             f"{room + specials}")
    too_much = sum(lengths) - room
    if too_much <= 0:
        return list(lengths)
    if cut == "only_second" and len(lengths) == 1:
        raise TokenizerError(f"cut: only_second: expected a second text, to lose the {too_much} ids that are too many, "
                             f"got one text")
    if len(lengths) == 1:
        return [room]
    first, second = lengths
    if cut == "longest_first":
        shorter = min(first, second, room // 2)
        return [shorter, room - shorter] if first <= second else [room - shorter, shorter]
    at, which = (0, "first") if cut == "only_first" else (1, "second")
    if lengths[at] <= too_much:
        raise TokenizerError(f"cut: {cut}: expected a {which} text of more than the {too_much} ids that are too many, "
                             f"got one of {lengths[at]}: give more room by max_length, or cut longest_first")
    return [first - too_much, second] if at == 0 else [first, second - too_much]


def learn_characters(texts: Iterable[str], n_vocab: int, do_lower_case: bool = True, strip_accents: bool | None = None,
                     tokenize_chinese_chars: bool = True) -> WordPiece:
    """A vocabulary of the characters of some texts: the special pieces, then the most frequent first.

    n_vocab   how many pieces to have at most: fewer, if the texts have fewer

    A letter at the beginning of a word and one further on are two pieces, as "t" and "##t". Of equally frequent ones,
    the one of the lower code point comes first, and then the one that begins a word. TokenizerError for what is no
    text, and where there is nothing to learn.
    """
    if n_vocab <= len(SPECIAL):
        raise TokenizerError(f"n_vocab: expected more than the {len(SPECIAL)} of the special pieces, got {n_vocab}")
    if isinstance(texts, (str, bytes)):
        raise TokenizerError(f"expected a list of texts, got one {type(texts).__name__}")
    preparing = WordPiece(SPECIAL, do_lower_case, strip_accents, tokenize_chinese_chars)
    counts: Counter[tuple[str, bool]] = Counter()                   # of a character, and whether it goes on with a word
    for text in texts:
        for word, times in Counter(preparing.words(text)).items():
            if len(word) <= MAX_LETTERS:
                for at, character in enumerate(word):
                    counts[character, at > 0] += times
    if not counts:
        raise TokenizerError("expected texts with characters to learn, got none")
    likeliest = sorted(counts, key=lambda key: (-counts[key], key))[:n_vocab - len(SPECIAL)]
    pieces = [GOES_ON * further + character for character, further in likeliest]
    return WordPiece([*SPECIAL, *pieces], do_lower_case, strip_accents, tokenize_chinese_chars)


def _parts(text: str, allowed_special: Iterable[str]) -> list[str]:
    """Text and special pieces in turn: parts 0, 2, 4, ... are text, which may be empty."""
    expect_text(text)
    allowed = _names(allowed_special)
    return re.split("(" + "|".join(map(re.escape, allowed)) + ")", text) if allowed else [text]


def _names(allowed_special: Iterable[str]) -> list[str]:
    """The special pieces that are allowed; TokenizerError where there is none of that name."""
    allowed = {allowed_special} if isinstance(allowed_special, str) else set(allowed_special)
    if unknown := allowed - {*SPECIAL, END_OF_TEXT}:
        raise TokenizerError(f"allowed_special: expected some of {' '.join(SPECIAL)}, got {sorted(unknown)}")
    return sorted(allowed)
