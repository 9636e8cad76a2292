"""The tokenizer that lies in a model's folder, whatever layout the weights have."""

import os
from pathlib import Path

from ..text import huggingface, vocab_txt
from ..text.protocol import AnyTokenizer
from ..text.tokenizer_json import CONFIG_FILE, FILE
from ..text.vocabulary import FILES, TokenizerError
from ..text.wordpiece import WordPiece
from .errors import CheckpointError

VOCABULARY_FILES = frozenset((*FILES, *huggingface.PAIR, FILE, CONFIG_FILE, vocab_txt.FILE))


def read_tokenizer(folder: Path, n_vocab: int, end_of_text: int | None = None) -> AnyTokenizer | None:
    """The tokenizer whose files lie in a folder, under OpenAI's or Hugging Face's names: see text/huggingface.py.

    n_vocab       how many tokens the model has rows for
    end_of_text   the id that ends a text for the model, where its files say one

    None where there are no such files at all. Raises CheckpointError for damaged files, for rules that are not
    supported, and for a vocabulary with more tokens than the model has rows.
    """
    try:
        return huggingface.read_tokenizer(folder, n_vocab, end_of_text)
    except huggingface.WrongSize as error:
        raise CheckpointError(folder, "its vocabulary is not the model's", expected=f"{n_vocab:,} tokens",
                              found=f"{error.n:,}") from None
    except (TokenizerError, OSError) as error:
        raise CheckpointError(folder, f"its vocabulary cannot be read: {error}") from None


def read_word_piece(folder: Path, n_vocab: int) -> WordPiece | None:
    """The WordPiece of a BERT: of vocab.txt, or of tokenizer.json, in which transformers 5 writes it.

    None where there is neither. Raises CheckpointError for damaged files, and for one with another number of pieces
    than the model has rows.
    """
    if not any(os.path.exists(folder / name) for name in (vocab_txt.FILE, FILE)):
        return None
    try:
        tokenizer = WordPiece.load(folder)
    except (TokenizerError, OSError) as error:
        raise CheckpointError(folder, f"its vocabulary cannot be read: {error}") from None
    if tokenizer.n_vocab != n_vocab:
        raise CheckpointError(folder, "its vocabulary is not the model's", expected=f"{n_vocab:,} pieces",
                              found=f"{tokenizer.n_vocab:,}")
    return tokenizer


def write_tokenizer(folder: Path, tokenizer: AnyTokenizer | None, n_vocab: int,
                    names: tuple[str, str] = FILES) -> None:
    """Write the files of a model's tokenizer, those of a BPE under these names; none where there is no tokenizer.

    Raises CheckpointError if it has another number of tokens than the model.
    """
    if tokenizer is None:
        return
    if tokenizer.n_vocab != n_vocab:
        raise CheckpointError(folder, "the tokenizer is not the model's", expected=f"{n_vocab:,} tokens",
                              found=f"{tokenizer.n_vocab:,}")
    tokenizer.save(folder)
    for ours, theirs in zip(FILES, names):
        if os.path.exists(folder / ours):
            os.rename(folder / ours, folder / theirs)
