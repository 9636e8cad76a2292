"""Greedy text of OpenAI's 124M as others have published it. Runs where the weights are:

    python -m gpt2np.download 124M

Sources: picoGPT's README; transformers, test_lm_generate_gpt2; a port of LLMs-from-scratch; Hugging Face's blog post
"How to generate text".
"""

import pytest

import gpt2np
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.decoding import GREEDY, NgramDraft, generate, lay_out_for_decoding, speculate

PUBLISHED = {
    "Alan Turing theorized that computers would one day become": [
        262, 749, 3665, 8217, 319, 262, 5440, 13, 198, 198, 464, 3644, 318, 257, 4572, 326, 460, 1620, 3716, 16765, 11,
        290, 340, 460, 1620, 777, 16765, 287, 257, 835, 326, 318, 845, 2092, 284, 262, 1692, 3632, 13],
    "The dog": [373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688, 290, 2688, 27262, 13, 198, 198, 464, 3290],
    "Every effort moves you": [2651, 13, 198, 198, 464, 717, 2239, 318, 284, 1833],
    "I enjoy walking with my cute dog": [
        11, 475, 314, 1101, 407, 1654, 611, 314, 1183, 1683, 307, 1498, 284, 2513, 351, 616, 3290, 13, 314, 1101, 407,
        1654, 611, 314, 1183, 1683, 307, 1498, 284, 2513, 351, 616, 3290, 13, 198, 198, 40, 1101, 407, 1654, 611, 314,
        1183],
}


@pytest.fixture(scope="module")
def released():
    try:
        model, tokenizer = gpt2np.load("124M")
    except CheckpointError:
        pytest.skip("the weights of 124M are not here: python -m gpt2np.download 124M")
    lay_out_for_decoding(model)
    return model, tokenizer


@pytest.mark.parametrize("prompt", PUBLISHED)
def test_greedy_text_is_as_published(released, prompt):
    model, tokenizer = released
    tokens, expected = tokenizer.encode(prompt), PUBLISHED[prompt]
    assert list(generate(model, tokens, len(expected), GREEDY)) == expected
    draft = NgramDraft(tokenizer.n_vocab)
    assert list(speculate(model, tokens, len(expected), draft, GREEDY)) == expected
