"""Makes generation.npz: what Hugging Face's logits processors and beam search make of the same logits and model.

    pip install transformers torch
    python -m tests.golden.make_generation

The model is the small odd one of gpt2.npz, in float64.  transformers 5.23.0, torch 2.13.0.
"""

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent
END = 7
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5]                    # the text so far
BIAS = {(3,): 1.5, (17,): -2.0}
WORDS = [[4], [5, 11], [6, 5, 12], [2, 5, 13]]          # the last one is not begun

# What is asked of gpt2np's Sampler, and of Hugging Face under the same names; `also` is at the end of each chain.
CHAINS = {
    "temperature": {"temperature": 0.7}, "hot": {"temperature": 1.9}, "top_k": {"top_k": 5}, "top_k 1": {"top_k": 1},
    "top_p": {"top_p": 0.6}, "top_p low": {"top_p": 0.01}, "top_p high": {"top_p": 0.99}, "min_p": {"min_p": 0.1},
    "typical": {"typical_p": 0.5}, "typical high": {"typical_p": 0.95}, "repetition": {"repetition_penalty": 1.3},
    "repetition wanted": {"repetition_penalty": 0.8}, "bias": {"logit_bias": BIAS}, "forbidden": {"forbidden": WORDS},
    "min_new_tokens": {"min_new_tokens": 4},
    "warped": {"temperature": 0.8, "top_k": 12, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.9},
    "all": {"temperature": 1.2, "top_k": 20, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.9, "repetition_penalty": 1.2,
            "logit_bias": BIAS, "forbidden": WORDS, "min_new_tokens": 4},
}

BEAMS = ((3, 1.0, END), (3, 1.0, 4), (4, 0.0, 10), (4, 2.0, 4), (5, -1.0, 4))       # beams, length penalty, end of text


def main():
    import torch
    import transformers
    from transformers.generation.logits_process import NoBadWordsLogitsProcessor

    with np.load(GOLDEN / "gpt2.npz") as arrays:
        source = dict(arrays)
    model = transformers_model(transformers, torch, source)
    logits = np.random.default_rng(0).standard_normal((4, 61)) * 2.5
    golden = {"logits": logits}
    for name, options in CHAINS.items():
        options = dict(options)
        config = transformers.GenerationConfig(
            do_sample=True, temperature=options.get("temperature", 1.0), top_k=options.get("top_k", 0),
            top_p=options.get("top_p", 1.0), min_p=options.get("min_p"), typical_p=options.get("typical_p", 1.0),
            repetition_penalty=options.get("repetition_penalty", 1.0), sequence_bias=options.get("logit_bias"),
            bad_words_ids=options.get("forbidden"), min_new_tokens=options.get("min_new_tokens"), eos_token_id=END)
        model._prepare_special_tokens(config, kwargs_has_attention_mask=True)
        ids = torch.tensor([TOKENS])
        chain = model._get_logits_processor(config, input_ids_seq_length=len(TOKENS) - 3, device="cpu",
                                            prefix_allowed_tokens_fn=None, logits_processor=[])
        assert ("forbidden" in options) == any(isinstance(p, NoBadWordsLogitsProcessor) for p in chain)
        golden[name] = np.concatenate([chain(ids, torch.tensor(row)[None]).numpy() for row in logits])
    prompts = np.array([[3, 1, 4], [60, 2, 2]])
    golden["prompts"] = prompts
    plain = {"do_sample": False, "pad_token_id": 0, "max_new_tokens": 8}
    for penalty in (1.0, 2.0):                          # the second makes this model leave its favourite token
        golden[f"greedy {penalty}"] = model.generate(torch.tensor(prompts), **plain, repetition_penalty=penalty,
                                                     eos_token_id=None).numpy()
    for beams, penalty, end in BEAMS:
        out = model.generate(torch.tensor(prompts[:1]), **plain, num_beams=beams, length_penalty=penalty,
                             num_return_sequences=beams, eos_token_id=end, return_dict_in_generate=True,
                             output_scores=True)
        name = f"beams {beams} {penalty} {end}"
        golden[name] = out.sequences.numpy()
        golden[name + " scores"] = out.sequences_scores.numpy()
    np.savez_compressed(GOLDEN / "generation.npz", **golden)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}: {len(golden)} arrays")


def transformers_model(transformers, torch, source):
    """gpt2.npz as a model of transformers, in float64."""
    (V, C), n_ctx = source["value wte"].shape, len(source["value wpe"])
    config = transformers.GPT2Config(vocab_size=V, n_positions=n_ctx, n_embd=C, n_head=int(source["n_head"]), n_layer=2,
                                     bos_token_id=END, eos_token_id=END)
    model = transformers.GPT2LMHeadModel(config).eval().double()
    theirs = {"w": "weight", "g": "weight", "b": "bias"}
    state = {}
    for name, value in source.items():
        if name.startswith("value "):
            path = name.removeprefix("value ")
            start, _, last = path.rpartition(".")
            key = f"transformer.{path}.weight" if not start else f"transformer.{start}.{theirs[last]}"
            state[key] = torch.tensor(value)
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and missing.missing_keys == ["lm_head.weight"], missing
    model.tie_weights()
    return model


if __name__ == "__main__":
    main()
