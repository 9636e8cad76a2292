"""Greedy text of OpenAI's 124M as others have published it. Runs where the weights are:

    python -m gpt2np.download 124M

Sources: picoGPT's README; transformers, test_lm_generate_gpt2; a port of LLMs-from-scratch; Hugging Face's blog post
"How to generate text".
"""

import pytest

import gpt2np
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.checkpoints.loading import find
from gpt2np.decoding import GREEDY, NgramDraft, columns, generate, generate_batch, lay_out_for_decoding, speculate
from gpt2np.text.bpe import Tokenizer

# prompt: its ids, the ids of what was written, the end of it as text
PUBLISHED = {
    "Alan Turing theorized that computers would one day become": (
        [36235, 39141, 18765, 1143, 326, 9061, 561, 530, 1110, 1716],
        [262, 749, 3665, 8217, 319, 262, 5440, 13, 198, 198, 464, 3644, 318, 257, 4572, 326, 460, 1620, 3716, 16765, 11,
         290, 340, 460, 1620, 777, 16765, 287, 257, 835, 326, 318, 845, 2092, 284, 262, 1692, 3632, 13],
        " in a way that is very similar to the human brain."),
    "The dog": (
        [464, 3290],
        [373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688, 290, 2688, 27262, 13, 198, 198, 464, 3290],
        ".\n\nThe dog"),
    "Every effort moves you": (
        [6109, 3626, 6100, 345], [2651, 13, 198, 198, 464, 717, 2239, 318, 284, 1833],
        " forward.\n\nThe first step is to understand"),
    "I enjoy walking with my cute dog": (
        [40, 2883, 6155, 351, 616, 13779, 3290],
        [11, 475, 314, 1101, 407, 1654, 611, 314, 1183, 1683, 307, 1498, 284, 2513, 351, 616, 3290, 13, 314, 1101, 407,
         1654, 611, 314, 1183, 1683, 307, 1498, 284, 2513, 351, 616, 3290, 13, 198, 198, 40, 1101, 407, 1654, 611, 314,
         1183],
        " to walk with my dog.\n\nI'm not sure if I'll"),
}


@pytest.fixture(scope="module")
def released():
    try:
        find("124M")
    except CheckpointError as error:
        pytest.skip(f"the weights of 124M are not here: {error}")
    model, tokenizer = gpt2np.load("124M")
    lay_out_for_decoding(model)
    return model, tokenizer


def test_the_ids_are_those_of_the_published_text():
    """Without the weights, so that what waits for them is right."""
    tokenizer = Tokenizer.gpt2()
    for prompt, (ids, expected, end) in PUBLISHED.items():
        assert tokenizer.encode(prompt) == ids and tokenizer.decode(expected).endswith(end)


@pytest.mark.parametrize("prompt", PUBLISHED)
def test_greedy_text_is_as_published(released, prompt):
    model, tokenizer = released
    tokens, expected, _ = PUBLISHED[prompt]
    assert list(generate(model, tokens, len(expected), GREEDY)) == expected
    draft = NgramDraft(tokenizer.n_vocab)
    assert list(speculate(model, tokens, len(expected), draft, GREEDY)) == expected


def test_greedy_text_of_a_batch_is_as_published(released):
    """With padding before the shorter prompts, and each for as long as it was published."""
    model, _ = released
    texts = columns(generate_batch(model, [ids for ids, _, _ in PUBLISHED.values()], 43, GREEDY))
    for text, (_, expected, _) in zip(texts, PUBLISHED.values()):
        assert text[:len(expected)] == expected
