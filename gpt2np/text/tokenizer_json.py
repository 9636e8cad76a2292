"""tokenizer.json: a vocabulary with its rules in one file, as Hugging Face's tokenizers library writes it.

    model            the BPE: ids of tokens, and merges as "a b" or ["a", "b"]
    added_tokens     tokens that no merge makes
    normalizer       what is done with a text first
    pre_tokenizer    how it is cut into pieces
    post_processor   what is put around it
    decoder          how ids become text
    truncation, padding      of batches: transformers asks for neither by itself, and the ids of a text stay the same

Each of these is followed, or refused by its name; none is passed over but the last two.

huggingface/tokenizers, tokenizers/src/tokenizer/serialization.rs.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .rules import NORMALIZERS, AddedToken, Rules
from .vocabulary import FILES, Merges, TokenizerError, expect_no_vocabulary, spell, spelled_ids, unspell

FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"

# The fields of each part, with the values that are followed, the first being that of a field that is absent. Where
# there are none, any value is: it is looked at elsewhere, or changes nothing.
Fields = Mapping[str, Collection]
TOP: Fields = {"version": ("1.0",), "truncation": (), "padding": (), "added_tokens": (), "normalizer": (),
               "pre_tokenizer": (), "post_processor": (), "decoder": (), "model": ()}
MODEL: Fields = {"type": ("BPE",), "dropout": (None, 0), "unk_token": (), "continuing_subword_prefix": (None, ""),
                 "end_of_word_suffix": (None, ""), "fuse_unk": (False, True), "byte_fallback": (False,),
                 "ignore_merges": (False,), "vocab": (), "merges": ()}
PIECES: Fields = {"type": ("ByteLevel",), "add_prefix_space": (True, False), "trim_offsets": (), "use_regex": (True,)}
BYTES: Fields = {"type": ("ByteLevel",), "add_prefix_space": (), "trim_offsets": (), "use_regex": ()}
ADDED: Fields = {"id": (), "content": (), "single_word": (False, True), "lstrip": (False, True),
                 "rstrip": (False, True), "normalized": (False, True), "special": (False, True)}


class Vocabulary(NamedTuple):
    """What the files of a vocabulary say, before it is seen whether that fits together.

    ids           of tokens as they are spelled, and of added ones as they are
    merges        as in vocabulary.py
    first, unit   where merge 0 is: see check_merges
    files         that of the ids and that of the merges
    added         AddedTokens
    unknown       the token for bytes that have none, or None
    normalizers, prefix_space, fuse_unknown   see rules.py
    """

    ids: dict[str, int]
    merges: Merges
    first: int
    unit: str = "line"
    files: tuple[str, str] = FILES
    added: Sequence[AddedToken] = ()
    normalizers: tuple[str, ...] = ()
    prefix_space: bool = False
    unknown: str | None = None
    fuse_unknown: bool = False


def parse(value: Mapping) -> Vocabulary:
    """What the object in tokenizer.json says; TokenizerError for anything that is not followed."""
    check_fields(FILE, value, TOP)
    model = {"type": "BPE"} | an_object("model", value.get("model"))            # which old files do not say
    check_fields("model", model, MODEL)
    pre_tokenizer = an_object("pre_tokenizer", value.get("pre_tokenizer"))
    if pre_tokenizer.get("type") == "Sequence":
        several = [an_object("pre_tokenizer", one) for one in a_list("pretokenizers", pre_tokenizer)]
        if len(several) != 1:
            raise refusal("pre_tokenizer", [one.get("type") for one in several], "'ByteLevel'")
        pre_tokenizer = several[0]
    check_fields("pre_tokenizer", pre_tokenizer, PIECES)
    check_post_processor(value.get("post_processor"))
    if value.get("decoder") is not None:                # without one, bytes become text all the same
        check_fields("decoder", value["decoder"], BYTES)
    if not isinstance(unknown := model.get("unk_token"), str | None):
        raise refusal("model.unk_token", unknown, "a token")
    return Vocabulary(spelled_ids(model.get("vocab"), FILE), parse_merges(model), 0, "merge", (FILE, FILE),
                      parse_added(value), parse_normalizer(value.get("normalizer")),
                      pre_tokenizer.get("add_prefix_space", True), unknown, model.get("fuse_unk", False))


def parse_merges(model: Mapping) -> Merges:
    """The merges, of which each is a text with a space in it, or two texts in a list."""
    merges = []
    for i, merge in enumerate(a_list("merges", model)):
        symbols = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(symbols, list) or [isinstance(s, str) and s != "" for s in symbols] != [True, True]:
            raise refusal(f"merge {i}", merge, "two symbols")
        try:
            merges.append((unspell(symbols[0]), unspell(symbols[1])))
        except TokenizerError as error:
            raise TokenizerError(f"{FILE} merge {i}: {error}") from None
    return merges


def parse_added(value: Mapping) -> list[AddedToken]:
    """The added tokens."""
    return [parse_token(f"added token {i}", fields) for i, fields in enumerate(a_list("added_tokens", value))]


def parse_token(where: str, fields: object, file: str = FILE) -> AddedToken:
    """One of them."""
    check_fields(where, fields, ADDED, file)
    token = AddedToken(**{"id": None, "content": None, "special": False} | an_object(where, fields))
    if type(token.id) is not int or not isinstance(token.content, str) or not token.content:
        raise refusal(where, fields, "an id and a content", file)
    return token


def parse_normalizer(value: object) -> tuple[str, ...]:
    """The names of normalisations, one after another."""
    if value is None:
        return ()
    normalizer = an_object("normalizer", value)
    if normalizer.get("type") == "Sequence":
        return tuple(name for one in a_list("normalizers", normalizer) for name in parse_normalizer(one))
    check_fields("normalizer", normalizer, {"type": tuple(NORMALIZERS)})
    return (normalizer["type"],)


def check_post_processor(value: object) -> None:
    """TokenizerError for one that puts tokens around a text."""
    if value is None:
        return
    post_processor = an_object("post_processor", value)
    if post_processor.get("type") == "Sequence":
        for one in a_list("processors", post_processor):
            check_post_processor(one)
    elif post_processor.get("type") == "TemplateProcessing":
        single = a_list("single", post_processor)
        if [isinstance(piece, dict) and list(piece) == ["Sequence"] for piece in single] != [True]:
            raise refusal("post_processor.single", single, "the text alone, and no tokens around it")
    else:
        check_fields("post_processor", post_processor, BYTES)


# ---- what can be refused

def check_fields(where: str, value: object, fields: Fields, file: str = FILE) -> None:
    """TokenizerError unless `value` is an object with these fields, or some of them, of values that are followed."""
    found = an_object(where, value, file)
    inside = "" if where == file else f"{where}."
    for name, values in fields.items():                 # the type comes first, and says what else is there
        if values and (name in found or name == "type") and not is_one_of(values, found.get(name)):
            raise refusal(f"{inside}{name}", found.get(name), " or ".join(map(repr, values)), file)
    if unknown := [name for name in found if name not in fields]:
        raise refusal(f"{inside}{unknown[0]}", found[unknown[0]], "no such field", file)


def is_one_of(values: Collection, found: object) -> bool:
    """Whether the value is there; True is no 1 here."""
    return any(value == found and isinstance(value, bool) == isinstance(found, bool) for value in values)


def an_object(where: str, value: object, file: str = FILE) -> dict:
    """The value, if it is an object."""
    if not isinstance(value, dict):
        raise refusal(where, value, "an object", file)
    return value


def a_list(name: str, value: Mapping) -> list:
    """A field of an object, if it is a list; where there is none, an empty one."""
    if not isinstance(found := value.get(name, []), list):
        raise refusal(name, found, "a list")
    return found


def refusal(where: str, found: object, expected: str, file: str = FILE) -> TokenizerError:
    """The error for a rule that is not followed."""
    text = repr(found)
    return TokenizerError(f"{file}: {where} is not supported: expected {expected}, got "
                          + (text if len(text) <= 80 else text[:77] + "..."))


# ---- writing

def write(folder: str | Path, merges: Merges, ids: Mapping[bytes, int], rules: Rules, end_of_text: int | None) -> None:
    """Write tokenizer.json, and what it cannot say, the end of a text, into tokenizer_config.json.

    ids   of bytes and of what the merges make; the added tokens are among the rules

    OSError where that fails; TokenizerError where a vocabulary is there already.
    """
    expect_no_vocabulary(folder)
    Path(folder).mkdir(parents=True, exist_ok=True)
    name_of: dict[int | None, str] = {token.id: token.content for token in rules.added}
    vocab = {spell(token): i for token, i in ids.items()} | {t.content: t.id for t in rules.added}
    normalizers = [{"type": name} for name in rules.normalizers]
    byte_level = {"type": "ByteLevel", "add_prefix_space": rules.prefix_space, "trim_offsets": True, "use_regex": True}
    value = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [token._asdict() for token in rules.added],
        "normalizer": {"type": "Sequence", "normalizers": normalizers} if normalizers else None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": name_of.get(rules.unknown),
                  "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": rules.fuse_unknown,
                  "byte_fallback": False, "ignore_merges": False,
                  "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
                  "merges": [[spell(left), spell(right)] for left, right in merges]}}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": rules.prefix_space,
              "clean_up_tokenization_spaces": False, "eos_token": name_of.get(end_of_text),
              "eos_token_id": end_of_text}
    for file, content in ((FILE, value), (CONFIG_FILE, config)):
        Path(folder, file).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
