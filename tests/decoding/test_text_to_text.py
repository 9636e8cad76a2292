"""generate_text: the chapter's call, and the texts that come of it."""

import numpy as np
import pytest

from gpt2np.decoding import generate_text
from gpt2np.models.config import GPT2Config
from gpt2np.text.bpe import Tokenizer
from tests.decoding.test_decoding import filled


def test_generate_text_has_the_chapters_names():
    tokenizer = Tokenizer([])
    model = filled(GPT2Config(n_vocab=257, n_ctx=16, n_embd=8, n_head=2, n_layer=1))
    texts = generate_text(model, tokenizer, "a b", num_return_sequences=3, max_length=12, temperature=1.0, top_k=50,
                          top_p=0.9, rng=np.random.default_rng(0))
    assert len(texts) == 3 and len(set(texts)) == 3 and all(text.startswith("a b") for text in texts)
    assert not any("endoftext" in text for text in texts)
    assert generate_text(model, tokenizer, "a b", 2, 12, rng=np.random.default_rng(0)) == texts[:2]
    stops = [next(character for character in text[5:] if character != "\ufffd") for text in texts]
    for text in generate_text(model, tokenizer, "a b", 3, 12, rng=np.random.default_rng(0), stop=stops):
        assert any(whole.startswith(text) and len(text) < len(whole) for whole in texts)
        assert not any(stop in text[3:] for stop in stops)
    whole, = generate_text(model, tokenizer, "a", max_length=40, temperature=0)
    stop = whole[8:11]                                  # one text is one stop string, not three
    assert generate_text(model, tokenizer, "a", max_length=40, temperature=0, stop=stop) == [whole[:whole.index(stop)]]
    with pytest.raises(ValueError, match="max_length: expected more than the prompt's 3 tokens, got 3"):
        generate_text(model, tokenizer, "a b", max_length=3)
    with pytest.raises(ValueError, match="prompt: expected at least one token"):
        generate_text(model, tokenizer, "")
