"""What is saved here loads in huggingface/peft and gives equal logits, where peft is installed: `make test-peers`."""

import os

import numpy as np
import pytest

from gpt2np.checkpoints.peft import read_peft, write_peft
from tests.adapt.test_peft import GOLDEN, METHODS, base_of

pytestmark = [pytest.mark.skipif(not os.environ.get("GPT2NP_PEERS"), reason="opt-in: make test-peers"),
              pytest.mark.filterwarnings("ignore")]     # of what transformers will change in its next version


@pytest.mark.parametrize("method", METHODS)
def test_peft_reads_what_is_saved_here(method, tmp_path):
    torch, peft, transformers = map(pytest.importorskip, ("torch", "peft", "transformers"))
    golden = dict(np.load(GOLDEN / "peft.npz"))
    model = base_of(golden)
    read_peft(GOLDEN / "peft" / method, model)
    write_peft(tmp_path, model, "base")
    (V, C), n_ctx = golden["base/transformer.wte.weight"].shape, len(golden["base/transformer.wpe.weight"])
    config = transformers.GPT2Config(vocab_size=V, n_positions=n_ctx, n_embd=C, n_head=2, n_layer=2, bos_token_id=None,
                                     eos_token_id=None)
    theirs = transformers.GPT2LMHeadModel(config).double()
    for name, p in theirs.named_parameters():
        p.data = torch.tensor(golden[f"base/{name}"])
    theirs = peft.PeftModel.from_pretrained(theirs, str(tmp_path)).double().eval()
    tokens = golden["tokens"]
    with torch.no_grad():
        logits = theirs(input_ids=torch.tensor(tokens)).logits[:, -tokens.shape[1]:].numpy()
    expected, _ = model.forward(tokens)
    assert np.abs(logits - expected).max() < 1e-12 * np.abs(expected).max()
