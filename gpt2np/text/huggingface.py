"""The vocabulary in a model's folder: which files are there, what each says, and whether that fits together.

    vocab.txt, or tokenizer.json that says so, and no files of a BPE: BERT's WordPiece (vocab_txt.py)
    tokenizer.json               all of it (tokenizer_json.py), as Hugging Face's libraries write it today; or
    vocab.json, merges.txt       the ids and the merges, with GPT-2's own rules; encoder.json, vocab.bpe are OpenAI's
    tokenizer_config.json        more rules; the names of special tokens; tokens that no merge makes, with their ids
    added_tokens.json            such tokens, as earlier libraries wrote them
    special_tokens_map.json      the names of special tokens, likewise

A rule is followed, or refused by its name. Where two files contradict each other, no one can know with which of them
the model was trained: both are named.

huggingface/transformers, src/transformers/tokenization_utils_base.py.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from . import vocab_txt
from .bpe import Tokenizer
from .ruled import RuledTokenizer
from .rules import AddedToken, Rules
from .tokenizer_json import CONFIG_FILE, FILE, Vocabulary, an_object, is_one_of, parse, parse_token, refusal
from .vocabulary import (
    BYTE_TOKENS,
    END_OF_TEXT,
    FILES,
    TOKENS_AND_IDS,
    TokenizerError,
    check_ids,
    check_merges,
    no_id,
    not_made,
    openai_ids,
    read_gpt2_merges,
    read_merges,
    read_object,
    spell,
    spelled_ids,
    unspell,
)
from .wordpiece import WordPiece

PAIR = ("vocab.json", "merges.txt")
GPT2_TOKENS, MAX_TOKENS = 50_257, 1 << 22           # of a vocabulary without a model
ADDED_FILE, NAMES_FILE = "added_tokens.json", "special_tokens_map.json"
SENTENCE_PIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")

# What tokenizer_config.json may say: the fields that change the ids of a text, or the text of ids, and their values.
CONFIG = {
    "tokenizer_class": ("GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizer", "PreTrainedTokenizerFast",
                        "TokenizersBackend"),
    "add_prefix_space": (False, True), "add_bos_token": (False,), "add_eos_token": (False,), "do_lower_case": (False,),
    "errors": ("replace",)}

# The fields that name special tokens, in the order in which those that have no id yet get one.
END = "eos_token"
ROLES = ("bos_token", END, "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
MORE_ROLES = ("additional_special_tokens", "extra_special_tokens")


class WrongSize(TokenizerError):
    """A vocabulary that has ids which the model does not have, or a WordPiece that lacks some."""

    def __init__(self, n: int, n_vocab: int):
        super().__init__(f"the vocabulary has ids up to {n - 1:,}: expected {n_vocab:,} tokens")
        self.n = n


def read_tokenizer(folder: str | Path, n_vocab: int = 0,
                   end_of_text: int | None = None) -> Tokenizer | WordPiece | None:
    """The tokenizer whose files lie in a folder; None where there are none.

    A model with 50,257 tokens has GPT-2's own vocabulary, which comes with this package, where there are none.

    n_vocab       how many tokens the model has rows for; those that no token has are `unused`
    end_of_text   the id that ends a text for the model; None: what the vocabulary names, or `<|endoftext|>`

    TokenizerError, with the file's name, for files that are damaged, contradict each other, or ask for what is not
    supported; WrongSize where the model has fewer rows than the vocabulary has ids.
    """
    folder = Path(folder)
    pairs = [names for names in (FILES, PAIR) if any(os.path.exists(folder / name) for name in names)]
    content = read_object(folder / FILE) if os.path.exists(folder / FILE) else None
    if not pairs and (os.path.exists(folder / vocab_txt.FILE) if content is None else vocab_txt.is_mine(content)):
        return _word_piece(folder, n_vocab, end_of_text)
    config = _read_config(folder)
    if content is not None:
        vocabulary = parse(content)
        if config.get("add_prefix_space", vocabulary.prefix_space) != vocabulary.prefix_space:
            raise TokenizerError(f"{FILE} and {CONFIG_FILE} contradict each other in add_prefix_space: make them "
                                 "the same, as the model was trained")
    elif pairs:
        ids = spelled_ids(read_object(folder / pairs[0][0], TOKENS_AND_IDS), pairs[0][0])
        vocabulary = Vocabulary(ids, *read_merges(folder / pairs[0][1]), files=pairs[0],
                                prefix_space=config.get("add_prefix_space", False))
    elif others := [name for name in SENTENCE_PIECE if os.path.exists(folder / name)]:
        raise TokenizerError(f"{others[0]} is a vocabulary of SentencePiece, which is not supported: expected {FILE}, "
                             f"{PAIR[0]} and {PAIR[1]}, or {vocab_txt.FILE}")
    elif n_vocab == GPT2_TOKENS:
        merges = read_gpt2_merges()
        vocabulary = Vocabulary({spell(token): i for token, i in openai_ids(merges).items()}, merges, 2,
                                prefix_space=config.get("add_prefix_space", False))
    else:
        return None
    for names in pairs:
        if names != vocabulary.files:
            _check_same(folder, names, vocabulary)
    return _assemble(folder, vocabulary, config, n_vocab, end_of_text)


def _word_piece(folder: Path, n_vocab: int, end_of_text: int | None) -> WordPiece:
    """The tokenizer of a GPT-2 with BERT's vocabulary, as Chinese ones have it."""
    tokenizer = WordPiece.load(folder)
    if all(os.path.exists(folder / name) for name in (vocab_txt.FILE, FILE)) and \
            vocab_txt.read_json(folder)[0] != tokenizer.pieces:
        raise TokenizerError(f"{vocab_txt.FILE} and {FILE} contradict each other: take away the file that the model "
                             "was not trained with")
    if n_vocab and tokenizer.n_vocab != n_vocab:
        raise WrongSize(tokenizer.n_vocab, n_vocab)
    if end_of_text is not None:
        tokenizer.end_of_text = end_of_text
    return tokenizer


# ---- what the files say

def _read_config(folder: Path) -> dict:
    """What tokenizer_config.json says, if it is there and asks for nothing that is not supported."""
    config = read_object(folder / CONFIG_FILE) if os.path.exists(folder / CONFIG_FILE) else {}
    for name, values in CONFIG.items():
        if config.get(name) is not None and not is_one_of(values, config[name]):
            raise refusal(name, config[name], " or ".join(map(repr, values)), CONFIG_FILE)
    return {name: value for name, value in config.items() if value is not None}


def _read_roles(folder: Path, config: Mapping) -> dict[str, str]:
    """The names of special tokens, by the fields that name them."""
    names = read_object(folder / NAMES_FILE) if os.path.exists(folder / NAMES_FILE) else {}
    roles = {}
    for field in ROLES:
        token = config.get(field, names.get(field))
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str) and token:
            roles[field] = token
    for field in MORE_ROLES:
        tokens = config.get(field, names.get(field)) or []
        for token in tokens.values() if isinstance(tokens, dict) else tokens if isinstance(tokens, list) else []:
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and token:
                roles[f"{field} {token}"] = token
    return roles


def _told(folder: Path, vocabulary: Vocabulary, config: Mapping,
          special: set[str]) -> Iterator[tuple[str, AddedToken]]:
    """The tokens that a file calls special or added, and gives an id, each with the file."""
    yield from ((FILE, token) for token in vocabulary.added)
    for i, fields in an_object("added_tokens_decoder", config.get("added_tokens_decoder", {}), CONFIG_FILE).items():
        where = f"added_tokens_decoder {i}"
        fields = {"id": int(i) if i.isdecimal() else None} | an_object(where, fields, CONFIG_FILE)
        yield CONFIG_FILE, parse_token(where, fields, CONFIG_FILE)
    if os.path.exists(folder / ADDED_FILE):
        for name, i in spelled_ids(read_object(folder / ADDED_FILE, TOKENS_AND_IDS), ADDED_FILE).items():
            yield ADDED_FILE, AddedToken(name, i, special=name in special, normalized=name not in special)
    for name in special & vocabulary.ids.keys():
        yield vocabulary.files[0], AddedToken(name, vocabulary.ids[name])


def _check_same(folder: Path, names: tuple[str, str], vocabulary: Vocabulary) -> None:
    """TokenizerError where two more files are not of the same vocabulary."""
    (ids_file, merges_file), (own_ids, own_merges) = names, vocabulary.files
    advice = "take away the file that the model was not trained with"
    if os.path.exists(folder / ids_file):
        ids = spelled_ids(read_object(folder / ids_file, TOKENS_AND_IDS), ids_file)
        added = {token.content: token.id for token in vocabulary.added}
        all_ids = added | vocabulary.ids
        for token in (*ids, *vocabulary.ids):
            if ids.get(token, added.get(token)) != all_ids.get(token):
                raise TokenizerError(f"{own_ids} and {ids_file} contradict each other in {token!r}: {advice}")
    if os.path.exists(folder / merges_file) and read_merges(folder / merges_file)[0] != vocabulary.merges:
        raise TokenizerError(f"{own_merges} and {merges_file} contradict each other: {advice}")


# ---- whether it fits together

def _assemble(folder: Path, vocabulary: Vocabulary, config: Mapping, n_vocab: int,
              end_of_text: int | None) -> Tokenizer:
    """The tokenizer of all that the files say."""
    ids, left = _merged(vocabulary)
    roles = _read_roles(folder, config)
    added = _added(_told(folder, vocabulary, config, set(roles.values())), vocabulary, ids, left)
    taken = _taken(ids, added, vocabulary.files[0])
    for name in roles.values():                         # those that have a name alone get the ids after all others
        if name not in added and (i := 1 + max(taken, default=-1)) < n_vocab:
            added[name] = AddedToken(name, i)
            taken.add(i)
    if (n := 1 + max(taken, default=-1)) > (n_vocab or MAX_TOKENS):
        raise WrongSize(n, n_vocab or MAX_TOKENS)
    n_vocab = n_vocab or n
    if end_of_text is None:
        end_of_text = _end_of_text(config, roles, added, n_vocab)
    return _tokenizer(vocabulary, ids, added, n_vocab, end_of_text)


def _merged(vocabulary: Vocabulary) -> tuple[dict[bytes, int], dict[str, int]]:
    """The ids of the bytes that there are, and of the tokens that the merges make; and the names that are left."""
    tokens, left = {}, {}
    for name, i in vocabulary.ids.items():
        try:
            tokens[unspell(name)] = i
        except TokenizerError as error:
            if vocabulary.files == FILES:
                raise TokenizerError(f"{FILES[0]}: {error}") from None
            left[name] = i                              # of an added token, which is not spelled by its bytes
    alphabet = [token for token in BYTE_TOKENS if token in tokens]
    check_merges(vocabulary.merges, vocabulary.files[1], vocabulary.first, vocabulary.unit, alphabet)
    if vocabulary.files == FILES:                       # OpenAI's: every byte has a token, and there is but one special
        check_ids(tokens, vocabulary.merges)
        return tokens, {END_OF_TEXT: tokens.pop(END_OF_TEXT.encode())}
    ids = {}
    for token in chain(alphabet, (one + other for one, other in vocabulary.merges)):
        if token not in tokens:
            raise no_id(token, *vocabulary.files)
        ids[token] = tokens[token]
    return ids, left | {spell(token): tokens[token] for token in tokens.keys() - ids.keys()}


def _added(told: Iterator[tuple[str, AddedToken]], vocabulary: Vocabulary, ids: Mapping[bytes, int],
           left: Mapping[str, int]) -> dict[str, AddedToken]:
    """The tokens that no merge makes, by their names; each as it is told first, and the ids seen to be the same."""
    added: dict[str, AddedToken] = {}
    for file, token in told:
        i = vocabulary.ids.get(token.content, added.get(token.content, token).id)
        if token.id != i:
            raise TokenizerError(f"{file} gives {token.content!r} the id {token.id}, and {vocabulary.files[0]} {i}: "
                                 "take away the file that the model was not trained with")
        added.setdefault(token.content, token)
    lowest = min((i for token, i in ids.items() if len(token) == 1), default=0)
    for name, i in sorted(left.items(), key=lambda item: item[1]):
        if name not in added and name != END_OF_TEXT and i >= lowest:   # one before the bytes is special without a word
            raise not_made(name, *vocabulary.files, vocabulary.unit)
        added.setdefault(name, AddedToken(name, i))
    return added


def _taken(ids: Mapping[bytes, int], added: Mapping[str, AddedToken], file: str) -> set[int]:
    """The ids that are taken; TokenizerError where two tokens have the same, or one is below 0."""
    merged: dict[int, bytes] = {}
    for token, i in ids.items():
        if merged.setdefault(i, token) != token:
            raise _twice(file, i, spell(merged[i]), spell(token))
    names = {i: spell(merged[i]) for i in merged.keys() & {token.id for token in added.values()}}
    for name, (_, i, *_) in added.items():
        if names.setdefault(i, name) != name:
            raise _twice(file, i, names[i], name)
    taken = merged.keys() | names.keys()
    if (i := min(taken, default=0)) < 0:
        raise TokenizerError(f"{file}: expected ids from 0 on, got {i} for '{names.get(i) or spell(merged[i])}'")
    return taken


def _twice(file: str, i: int, one: str, other: str) -> TokenizerError:
    return TokenizerError(f"{file} gives the id {i} twice: to '{one}' and '{other}'")


def _end_of_text(config: Mapping, roles: Mapping[str, str], added: Mapping[str, AddedToken],
                 n_vocab: int) -> int | None:
    """The id that ends a text, by the vocabulary alone."""
    i = config.get("eos_token_id")                      # which only this package writes there
    if type(i) is int and 0 <= i < n_vocab:
        return i
    token = added.get(roles.get(END, ""), added.get(END_OF_TEXT))
    return None if token is None else token.id


def _tokenizer(vocabulary: Vocabulary, ids: dict[bytes, int], added: Mapping[str, AddedToken], n_vocab: int,
               end_of_text: int | None) -> Tokenizer:
    """A plain Tokenizer, where nothing but GPT-2's rules is asked for; or one with the rules."""
    unknown = None
    if vocabulary.unknown is not None and any(token not in ids for token in BYTE_TOKENS):
        unknown = vocabulary.ids.get(vocabulary.unknown)
        if unknown is None:
            raise TokenizerError(f"{vocabulary.files[0]} has no id for {vocabulary.unknown!r}, its unk_token")
    end = AddedToken(END_OF_TEXT, -1 if end_of_text is None else end_of_text)
    plain = [token._replace(normalized=False) for token in added.values()] == [end] and len(ids) + 1 == n_vocab
    if plain and all(token in ids for token in BYTE_TOKENS) and not (vocabulary.normalizers or vocabulary.prefix_space):
        return Tokenizer.checked(vocabulary.merges, ids | {END_OF_TEXT.encode(): end.id})
    in_order = sorted(added.values(), key=lambda token: token.id)           # always the same: it is in the fingerprint
    rules = Rules(tuple(in_order), vocabulary.normalizers, vocabulary.prefix_space, unknown,
                  vocabulary.fuse_unknown)
    return RuledTokenizer(vocabulary.merges, ids, rules, n_vocab, end_of_text)
