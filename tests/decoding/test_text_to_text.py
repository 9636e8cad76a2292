"""generate_text: the chapter's call, and the texts that come of it."""

from itertools import product

import numpy as np
import pytest

from gpt2np.decoding import columns, generate_batch, generate_text
from gpt2np.models.config import GPT2Config
from gpt2np.sampling import Sampler
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.wordpiece import learn_characters
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


def test_a_model_with_pieces_of_words_writes_on_from_the_prompt():
    """With a space after it or not, as between any two pieces, and to a stop string that may begin with that space."""
    tokenizer = learn_characters(["我们在2024年to be, or not to be。"], 100)
    n = tokenizer.n_vocab
    model = filled(GPT2Config(n_vocab=n, n_ctx=32, n_embd=8, n_head=2, n_layer=1))
    followed_by = set()

    def continued(prompt, seed, stop=()):
        return generate_text(model, tokenizer, prompt, 1, 16, 1.0, n, 1.0, np.random.default_rng(seed), stop)[0]

    for prompt, seed in product(("我们在", "to be"), range(12)):
        tokens, text = tokenizer.encode(prompt), continued(prompt, seed)
        rows = generate_batch(model, [tokens], 16 - len(tokens), Sampler(1.0, n, 1.0, end_of_text=tokenizer.sep),
                              np.random.default_rng(seed))
        written, = columns(rows)
        assert text == tokenizer.decode([*tokens, *(token for token in written if token != tokenizer.sep)])
        for stop in filter(None, (text[len(prompt):][:2], text[len(prompt):][3:5])):
            assert continued(prompt, seed, stop) == prompt + text[len(prompt):].partition(stop)[0]
        followed_by.add(text[len(prompt):][:1] == " ")
    assert followed_by == {True, False}
