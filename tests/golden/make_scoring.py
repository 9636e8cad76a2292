"""Makes scoring/: what transformers says of continuations, with a small GPT-2 of random weights, in float64.

    pip install transformers torch
    python -m tests.golden.make_scoring

The rules are written down here once more, from lm-evaluation-harness's own (lm_eval/api/model.py, _encode_pair;
lm_eval/models/huggingface.py, _loglikelihood_tokens): each text is run alone, and no past is kept.
transformers 5.24.0, torch 2.13.0.
"""

import json
import shutil
from collections import Counter
from pathlib import Path

from gpt2np.text.bpe import Tokenizer, cut
from gpt2np.text.bpe_train import learn_merges

FOLDER = Path(__file__).parent / "scoring"
N_CTX = 48
LEARNED_FROM = ("The cat sat on the mat, and the dog sat on the log. The nurse said that she was tired. "
                "The capital of France is Paris, and the capital of China is Beijing. To be, or not to be. "
                "床前明月光，疑是地上霜。举头望明月，低头思故乡。白日依山尽，黄河入海流。中国的首都是北京。\n") * 3
LONG = "The cat sat on the mat, and the dog sat on the log. " * 4

# Of each context, its continuations: 38 in all.
ASKED = [
    ("The capital of France is", [" Paris", " Beijing", " the mat", " not", "!",
                                  " Paris, and the capital of China is Beijing."]),
    ("The capital of China is ", ["Paris", "Beijing", " Beijing"]),         # its space belongs to the continuation
    ("", ["The cat sat", "床前明月光", " Paris", "x"]),
    ("床前明月光，", ["疑是地上霜。", "低头思故乡。", "黄河", "霜", " Paris"]),
    ("中国的首都是", ["北京。", "巴黎", "故乡"]),
    ("To be, or not to", [" be", " be ", " be  ", " be.\n", "\n"]),         # some end in a space
    ("The dog said:\n\n", ["The cat", " 猫", "2 + 2 = 4"]),
    (LONG + "The nurse said that", [" she was tired.", " he"]),             # more than it sees
    (" 床前  ", ["明月", "光", "😀"]),
    ("The dog", ["R", "RRR", "Rx", " R"]),                                  # what this model would write, and what not
]


def encode_pair(encode, end, context, continuation):
    """Harness's tokens of a context and of its continuation."""
    if context == "":
        return [end], encode(continuation)
    n_spaces = len(context) - len(context.rstrip())
    if n_spaces > 0:
        continuation = context[-n_spaces:] + continuation
        context = context[:-n_spaces]
    whole, before = encode(context + continuation), encode(context)
    # The harness has n = len(before), which is the same but where a token has parts of both: some text is lost then.
    n = next((i for i, (a, b) in enumerate(zip(before, whole)) if a != b), min(len(before), len(whole)))
    return whole[:n] or [end], whole[n:]


def main():
    import tokenizers
    import torch
    import transformers

    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    pieces = Counter(piece for part in cut(LEARNED_FROM) for piece in part)
    Tokenizer(learn_merges(pieces, 83)).save(FOLDER)
    tokenizer = tokenizers.ByteLevelBPETokenizer(str(FOLDER / "encoder.json"), str(FOLDER / "vocab.bpe"))
    V = tokenizer.get_vocab_size()
    end = V - 1
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=V, n_positions=N_CTX, n_embd=12, n_head=3, n_layer=2, bos_token_id=end, eos_token_id=end)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith("bias") and ".ln_" not in name:
                parameter.copy_(torch.randn_like(parameter) * 0.5)
    model.save_pretrained(FOLDER)
    (FOLDER / "generation_config.json").unlink()
    model = model.double()
    golden = []

    def encode_text(text):
        return tokenizer.encode(text).ids

    for context, continuations in ASKED:
        for continuation in continuations:
            before, after = encode_pair(encode_text, end, context, continuation)
            joined = context.strip() != "" and encode_text(context.rstrip()) != before
            inputs = torch.tensor([(before + after)[-(N_CTX + 1):][:-1]])
            with torch.no_grad():
                logits = model(inputs).logits[0, -len(after):]
            log_p = torch.log_softmax(logits, -1)[range(len(after)), after]
            likeliest = (logits.argmax(-1) == torch.tensor(after)).all()
            golden.append({"context": context, "continuation": continuation, "tokens": after, "joined": joined,
                           "sum": log_p.sum().item(), "greedy": bool(likeliest)})
    (FOLDER / "scores.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"transformers {transformers.__version__}, torch {torch.__version__}: {len(golden)} scores, "
          f"{sum(one['greedy'] for one in golden)} greedy, {sum(one['joined'] for one in golden)} joined")


if __name__ == "__main__":
    main()
