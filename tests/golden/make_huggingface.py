"""Makes the small Hugging Face model in tests/golden with transformers itself, and the logits that it gives.

    pip install transformers safetensors torch
    python -m tests.golden.make_huggingface

Its parameters are those of tests/golden/tf/tiny. transformers 5.23.0, safetensors 0.8.0, torch 2.13.0.
"""

import shutil

import numpy as np

from tests.golden.make_tf_bundles import GOLDEN, TINY, tiny_gpt2

IDS = [[3, 1, 4, 1, 5, 9, 2], [28, 27, 0, 6, 5, 3, 5]]


def main():
    import safetensors
    import torch
    import transformers

    from gpt2np.checkpoints.huggingface_gpt2 import tensor_name
    from gpt2np.checkpoints.openai_gpt2 import tensor_name as openai_name
    from tests.checkpoints.tiny import parameters

    config = transformers.GPT2Config(vocab_size=TINY["n_vocab"], n_positions=TINY["n_ctx"], n_embd=TINY["n_embd"],
                                     n_head=TINY["n_head"], n_layer=TINY["n_layer"], bos_token_id=28, eos_token_id=28)
    model = transformers.GPT2LMHeadModel(config).eval()
    tensors = tiny_gpt2()
    state = {"transformer." + tensor_name(path): torch.tensor(tensors[openai_name(path)]).reshape(array.shape)
             for path, array in parameters().items()}
    print(model.load_state_dict(state, strict=False))
    shutil.rmtree(GOLDEN / "huggingface", ignore_errors=True)
    model.save_pretrained(GOLDEN / "huggingface")
    (GOLDEN / "huggingface" / "generation_config.json").unlink()
    with torch.no_grad():
        np.save(GOLDEN / "huggingface" / "logits.npy", model(torch.tensor(IDS)).logits.numpy())
    print(transformers.__version__, safetensors.__version__, torch.__version__)


if __name__ == "__main__":
    main()
