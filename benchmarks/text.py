"""Time the tokenizers and the trainer beside others, in one run: `python -m benchmarks.text [FILE]`.

The peers tiktoken and tokenizers come with the extra `bench`; one that is not installed is named as absent. The third
is the algorithm of OpenAI's encoder.py (tests/text/reference.py). All use the vocabulary in this package: no network.
Those of WordPiece use a vocab.txt that is named, or one that tokenizers learns from the text. They get the text line by
line, since tokenizers would need minutes for it as a whole, and gpt2np gets it as a whole too; all on one thread.

Rounds are interleaved, every peer once in each, so that a slow moment of the machine meets all; ratios are taken within
a round, and medians over the rounds. "cold" is the first text that a tokenizer meets, "warm" the same text again, and
"from the files" is cold with the time before it in which the vocabulary is read and the tokenizer made. The garbage
collector of Python rests while the clock runs, as in timeit: it would charge each peer for what others hold.
"""

import argparse
import gc
import os
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from statistics import median
from time import perf_counter

from gpt2np.command import run_command
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.bpe_train import learn_vocabulary
from gpt2np.text.vocab_txt import SPECIAL
from gpt2np.text.vocabulary import BYTE_TOKENS, END_OF_TEXT, spell
from gpt2np.text.wordpiece import WordPiece
from tests.text import reference

os.environ.setdefault("TIKTOKEN_CACHE_DIR", "")         # a file that is there already needs no copy
try:
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
except ImportError:
    tiktoken = None
try:
    import tokenizers
except ImportError:
    tokenizers = None

SHAKESPEARE = Path(__file__).parents[2] / "shared" / "data" / "shakespeare" / "train.txt"
ROUNDS = 5
N_VOCAB = 4096
N_PIECES = 30_522       # as many as BERT has


# ---- the peers: each is a function that reads its files, makes a new tokenizer and returns its encode ----------------


def write_files(folder: str) -> None:
    """GPT-2's vocabulary as the peers read it."""
    tokenizer = Tokenizer.gpt2()
    tokenizer.save(folder)
    tokens = BYTE_TOKENS + [left + right for left, right in tokenizer.merges]
    lines = [b"%s %d\n" % (b64encode(token), i) for i, token in enumerate(tokens)]
    Path(folder, "gpt2.tiktoken").write_bytes(b"".join(lines))


def new_gpt2np() -> Callable[[str], list[int]]:
    return Tokenizer.gpt2().encode


def new_encoder_py() -> Callable[[str], list[int]]:
    merges = [(spell(left), spell(right)) for left, right in Tokenizer.gpt2().merges]
    return reference.Reference(merges, reference.ids_in_order(merges)).encode


def new_tiktoken(folder: str) -> Callable[[str], list[int]]:
    ranks = load_tiktoken_bpe(f"{folder}/gpt2.tiktoken")
    return tiktoken.Encoding("gpt2", pat_str=reference.PATTERN.pattern, special_tokens={END_OF_TEXT: len(ranks)},
                             mergeable_ranks=ranks).encode_ordinary


def new_tokenizers(folder: str) -> Callable[[str], list[int]]:
    peer = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(f"{folder}/encoder.json", f"{folder}/vocab.bpe"))
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return lambda text: peer.encode(text).ids


def learn_with_gpt2np(path: Path) -> int:
    return learn_vocabulary([path], N_VOCAB).n_vocab


def learn_with_tokenizers(path: Path) -> int:
    peer = tokenizers.Tokenizer(tokenizers.models.BPE())
    peer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=N_VOCAB, min_frequency=2, special_tokens=[END_OF_TEXT], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    peer.train_from_iterator(path.read_bytes().decode().split(END_OF_TEXT), trainer)
    return peer.get_vocab_size()


def wordpiece_peers(pieces: list[str]) -> dict[str, Callable[[], Callable[[str], list[int]]]]:
    """The peers that cut words into these pieces, each a function that makes a new one and returns its encode."""
    def by_line(encode: Callable[[str], list[int]]) -> Callable[[str], list[int]]:
        return lambda text: list(chain.from_iterable(map(encode, text.split("\n"))))

    def new_library() -> tokenizers.BertWordPieceTokenizer:
        return tokenizers.BertWordPieceTokenizer({piece: i for i, piece in enumerate(pieces)})

    def new_by_line() -> Callable[[str], list[int]]:
        peer = new_library()
        return by_line(lambda line: peer.encode(line, add_special_tokens=False).ids)

    def new_batch() -> Callable[[str], list[int]]:
        peer = new_library()._tokenizer
        return lambda text: list(chain.from_iterable(
            encoded.ids for encoded in peer.encode_batch_fast(text.split("\n"), add_special_tokens=False)))

    name = f"tokenizers {version('tokenizers')}"
    return {"gpt2np": lambda: by_line(WordPiece(pieces).encode), "gpt2np, as a whole": lambda: WordPiece(pieces).encode,
            name: new_by_line, f"{name}, a batch": new_batch}


def learn_pieces(text: str) -> list[str]:
    """The pieces that tokenizers learns from a text."""
    peer = tokenizers.BertWordPieceTokenizer()
    peer.train_from_iterator(text.split("\n"), N_PIECES, limit_alphabet=10_000, special_tokens=[*SPECIAL],
                             show_progress=False)
    return sorted(peer.get_vocab(), key=peer.get_vocab().get)


# ---- the measurements ------------------------------------------------------------------------------------------------


def seconds(function: Callable, *arguments) -> tuple[float, object]:
    """How long a call takes, and what it returns."""
    gc.collect()
    gc.disable()
    start = perf_counter()
    result = function(*arguments)
    time = perf_counter() - start
    gc.enable()
    return time, result


def report(title: str, times: dict[str, list[float]], megabytes: float) -> None:
    """One line for each peer: its speed, and how many times faster gpt2np is."""
    print(f"\n{title}")
    ours = times["gpt2np"]
    for name, theirs in times.items():
        ratio = median(their / our for their, our in zip(theirs, ours))
        print(f"  {name:32}{median(theirs):8.2f} s{megabytes / median(theirs):9.2f} MB/s"
              + ("" if theirs is ours else f"    gpt2np is {ratio:.2f} times as fast"))


def times_of_encoding(text: str, peers: dict[str, Callable], rounds: int = ROUNDS) -> tuple[dict, dict, dict]:
    """The seconds of every peer, by its name: cold with the reading of its files, cold, warm; all give the same ids."""
    whole, cold, warm = ({name: [] for name in peers} for _ in range(3))
    for _ in range(rounds):
        results = []
        for name, new in peers.items():
            made, encode = seconds(new)
            time, ids = seconds(encode, text)
            whole[name].append(made + time)
            cold[name].append(time)
            warm[name].append(seconds(encode, text)[0])
            results.append(ids)
        if any(ids != results[0] for ids in results):
            sys.exit("the peers disagree on the ids: these times mean nothing")
    return whole, cold, warm


def compare_encoding(text: str, peers: dict[str, Callable], what: str) -> None:
    """Encode the text with every peer, cold and warm."""
    whole, cold, warm = times_of_encoding(text, peers)
    megabytes = len(text.encode()) / 1e6
    report(f"{what}: encode {megabytes:.2f} MB, from the files", whole, megabytes)
    report(f"{what}: encode {megabytes:.2f} MB, cold", cold, megabytes)
    report(f"{what}: encode {megabytes:.2f} MB, warm", warm, megabytes)


def compare_learning(path: Path, learners: dict[str, Callable]) -> None:
    """Learn a vocabulary with every peer."""
    times = {name: [] for name in learners}
    for _ in range(ROUNDS):
        for name, learn in learners.items():
            times[name].append(seconds(learn, path)[0])
    report(f"learn {N_VOCAB:,} tokens from {path.stat().st_size / 1e6:.2f} MB", times, path.stat().st_size / 1e6)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text", description="Time the tokenizer beside others.")
    parser.add_argument("file", nargs="?", type=Path, default=SHAKESPEARE, help="a text (default: Shakespeare's works)")
    parser.add_argument("--vocab", metavar="DIR", help="a folder with vocab.txt (default: one is learned from FILE)")
    parser.add_argument("--wordpiece", action="store_true", help="time WordPiece alone")
    options = parser.parse_args(arguments)
    path = options.file
    if not path.is_file():
        parser.error(f"there is no file {path}; name a text of some megabytes")

    text = path.read_bytes().decode()
    if tokenizers:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        pieces = WordPiece.load(options.vocab).pieces if options.vocab else learn_pieces(text)
        compare_encoding(text, wordpiece_peers(pieces), f"WordPiece of {len(pieces):,} pieces")
    else:
        print("tokenizers is absent: pip install tokenizers")
    if options.wordpiece:
        return
    peers, learners = {"gpt2np": new_gpt2np}, {"gpt2np": learn_with_gpt2np}
    if tiktoken:
        peers[f"tiktoken {version('tiktoken')}"] = lambda: new_tiktoken(folder)
    else:
        print("tiktoken is absent: pip install tiktoken")
    if tokenizers:
        peers[f"tokenizers {version('tokenizers')}"] = lambda: new_tokenizers(folder)
        learners[f"tokenizers {version('tokenizers')}"] = learn_with_tokenizers
    peers["OpenAI's encoder.py, rewritten"] = new_encoder_py

    compare_learning(path, learners)
    with tempfile.TemporaryDirectory() as folder:
        write_files(folder)
        compare_encoding(text, peers, "BPE")
    print()
    for word, name in (("a" * 10**6, "a"), ("世界" * 166_667, "世界")):
        print(f"one word of 1 MB, {name}...: {seconds(new_gpt2np(), word)[0]:.2f} s")


if __name__ == "__main__":
    sys.exit(run_command(main, None))
