"""The tokenizer that lies in a model's folder, whatever layout the weights have."""

import os
from pathlib import Path

from ..models.config import SIZES
from ..text.bpe import Tokenizer
from ..text.protocol import AnyTokenizer
from ..text.vocabulary import FILES, TokenizerError
from .errors import CheckpointError

# The two files of a BPE go by other names in Hugging Face's layout, and have the same content.
HUGGING_FACE_FILES = ("vocab.json", "merges.txt")
VOCABULARY_FILES = frozenset((*FILES, *HUGGING_FACE_FILES))


def read_tokenizer(folder: Path, n_vocab: int, end_of_text: int | None = None) -> AnyTokenizer:
    """The tokenizer whose files lie in a folder, under OpenAI's or Hugging Face's names.

    n_vocab   how many tokens the model knows

    Where there are no such files at all, a model with 50,257 tokens has GPT-2's own vocabulary, which comes with this
    package. Raises CheckpointError for anything else that is missing, for damaged files, and for another number of
    tokens.
    """
    try:
        if any(os.path.exists(folder / name) for name in FILES):
            tokenizer = Tokenizer.load(folder)
        elif any(os.path.exists(folder / name) for name in HUGGING_FACE_FILES):
            tokenizer = Tokenizer.load(folder, HUGGING_FACE_FILES)
        elif n_vocab == SIZES["124M"].n_vocab and not os.path.exists(folder / "tokenizer.json"):
            tokenizer = Tokenizer.gpt2()
        else:
            raise CheckpointError(folder,
                                  "it lacks its vocabulary: encoder.json and vocab.bpe, or vocab.json and merges.txt")
    except (TokenizerError, OSError) as error:
        raise CheckpointError(folder, f"its vocabulary cannot be read: {error}") from None
    if tokenizer.n_vocab != n_vocab:
        raise CheckpointError(folder, "its vocabulary is not the model's", expected=f"{n_vocab:,} tokens",
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
