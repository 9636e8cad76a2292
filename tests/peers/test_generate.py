"""The models that benchmarks/ times in PyTorch and onnxruntime compute our logits: `make test-peers` installs both."""

import os

import numpy as np
import pytest

from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2

pytestmark = pytest.mark.skipif(not os.environ.get("GPT2NP_PEERS"), reason="opt-in: make test-peers")


def random_model():
    """One whose logits are far apart."""
    rng = np.random.default_rng(0)
    model = GPT2(GPT2Config(n_vocab=53, n_ctx=40, n_embd=24, n_head=3, n_layer=3))
    for _, parameter in model.named_parameters():
        parameter.value = 0.3 * rng.standard_normal(parameter.value.shape, np.float32)
    return model


def test_the_peer_computes_our_logits():
    """A prompt at once, then token by token after it, with the keys and values of all before."""
    torch = pytest.importorskip("torch")
    from benchmarks.generate import Peer
    model = random_model()
    tokens = np.random.default_rng(1).integers(0, 53, (2, 16))
    expected, _ = model.forward(tokens, keep_cache=False)
    peer, seen = Peer(model), 0
    cache = [(torch.empty(2, 3, 16, 8), torch.empty(2, 3, 16, 8)) for _ in range(3)]
    for end in (7, *range(8, 17)):
        with torch.no_grad():
            logits = peer.logits(torch.from_numpy(tokens[:, seen:end]), cache, seen).numpy()
        np.testing.assert_allclose(logits, expected[:, end - 1], atol=1e-4)
        seen = end


def test_the_peer_writes_our_greedy_text():
    pytest.importorskip("torch")
    from benchmarks.generate import PROMPT, Peer
    from gpt2np.decoding import GREEDY, generate
    model = random_model()
    theirs = [best.item() for best in Peer(model).steps(1, PROMPT, 20)]
    assert theirs == list(generate(model, list(range(PROMPT)), 21, GREEDY))


def test_the_graph_computes_our_logits_and_writes_our_greedy_text():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from benchmarks.onnx_gpt2 import PROMPT, Peer
    from gpt2np.decoding import GREEDY, generate
    model = random_model()
    tokens = np.random.default_rng(1).integers(0, 53, (2, 16))
    expected, _ = model.forward(tokens, keep_cache=False)
    peer, seen = Peer(model), 0
    cache = peer.new_cache(2, 16)
    for end in (7, *range(8, 17)):
        np.testing.assert_allclose(peer.logits(tokens[:, seen:end], cache, seen), expected[:, end - 1], atol=1e-4)
        seen = end
    theirs = [best.item() for best in peer.steps(1, PROMPT, 20)]
    assert theirs == list(generate(model, list(range(PROMPT)), 21, GREEDY))
