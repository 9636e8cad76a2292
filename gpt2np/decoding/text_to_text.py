"""From a text to texts that go on from it: the tokenizer, the loop over tokens and the rules of sampling at once.

Chapter: S000 3.4, 6.1; S004 5.2.
"""

from collections.abc import Sequence

import numpy as np

from ..models.protocols import LanguageModel
from ..sampling import GenerationError, Sampler
from ..text.protocol import AnyTokenizer
from ..text.streaming import stops_at, text_before
from .loop import columns, generate_batch


def generate_text(model: LanguageModel, tokenizer: AnyTokenizer, prompt: str, num_return_sequences: int = 1,
                  max_length: int = 512, temperature: float = 1.0, top_k: int = 50, top_p: float = 0.9,
                  rng: np.random.Generator | None = None, stop: str | Sequence[str] = ()) -> list[str]:
    """Continue a prompt num_return_sequences times: returns the texts, each with the prompt before it.

    max_length   tokens, those of the prompt included
    stop         one text or several: it ends earlier before one of these, and before <|endoftext|>
    """
    tokens = tokenizer.encode(prompt)
    if tokens and max_length <= len(tokens):
        raise GenerationError(f"max_length: expected more than the prompt's {len(tokens)} tokens, got {max_length}")
    sampler = Sampler(temperature, min(top_k, model.n_vocab), top_p, end_of_text=tokenizer.end_of_text)
    rows = generate_batch(model, [tokens], max_length - len(tokens), sampler, rng, num_return_sequences,
                          stops_at(tokenizer, stop, tokens))
    return [prompt + text_before(tokenizer, written, stop, tokens) for written in columns(rows)]
