"""Damage a model's files at random, and see that loading either refuses them properly or has lost nothing.

    python -m tests.checkpoints.fuzz [SEED]         without end; a failure prints its seed and leaves the files

`make test` runs the first 2,000 mutations. Half of those to TensorFlow's files get valid checksums afterwards, so
that what lies behind the checksums is reached too.
"""

import contextlib
import json
import random
import shutil
import struct
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from gpt2np.checkpoints import loading, safetensors, sstable, tf_bundle
from gpt2np.checkpoints.crc32c import crc32c, mask
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.text.bpe import Tokenizer
from gpt2np.text.ruled import RuledTokenizer
from gpt2np.text.rules import AddedToken, Rules
from tests.checkpoints.tiny import MERGES, SMALL, model_of, parameters

MAX_MEMORY = 64 << 20              # beyond what the process has: the files have 40 KB
MAX_SECONDS = 5
INTERESTING = [b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff" * 4, b"\xff" * 8 + b"\xff\x01",
               b"\x80" * 9 + b"\x01",
               b"0", b"-1", b"1e999", b"NaN", b"null", b"{", b"[", b'"', b",", b"99999999999999999999", b"true", b"\r",
               b"\xed\xa0\x80"]
INDEX, DATA, WEIGHTS = "model.ckpt.index", "model.ckpt.data-00000-of-00001", "model.safetensors"
SHARDS, RULES, RULES_TOO = "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"
FILES = ((INDEX, "openai"), (DATA, "openai"), ("hparams.json", "openai"), ("encoder.json", "openai"),
         ("vocab.bpe", "openai"),
         (WEIGHTS, "safetensors"), ("config.json", "safetensors"), ("vocab.json", "safetensors"),
         ("merges.txt", "safetensors"), (SHARDS, "shards"), (RULES, "shards"), (RULES_TOO, "shards"))
OFTEN = (8, 3, 2, 1, 1, 6, 2, 1, 1, 2, 3, 1)
MAY_DIFFER = (WEIGHTS, "vocab.bpe", "encoder.json", "merges.txt", "vocab.json", RULES, RULES_TOO)


class Fuzz:
    """A model in both layouts below a folder, one file of which is damaged at a time.

    count       mutations tried
    refused     how many of them were refused
    """

    def __init__(self, folder: Path):
        self.folder, self.count, self.refused = folder, 0, 0
        self.parameters = parameters(SMALL)
        for layout in ("openai", "safetensors"):
            loading.write_model(folder / layout, layout, model_of(self.parameters, SMALL), Tokenizer(MERGES))
        in_shards(folder / "safetensors", folder / "shards")
        self.pristine = {name: (folder / layout / name).read_bytes() for name, layout in FILES}
        loading.load(folder / "openai")       # imports and caches are none of the mutations' memory

    def step(self, seed: int) -> None:
        """One mutation; AssertionError if it is met by anything but a refusal or the model as it was."""
        rng = random.Random(seed)
        name, layout = FILES[rng.choices(range(len(FILES)), OFTEN)[0]]
        path, original = self.folder / layout / name, self.pristine[name]
        with_checksums = rng.random() < 0.5 and name in (INDEX, DATA)
        if not with_checksums:
            damaged = damage(rng, original)
        elif name == INDEX:
            damaged = rng.choice((damage_blocks, damage_pairs))(rng, original)
        else:
            damaged = damage(rng, original)
            (self.folder / layout / INDEX).write_bytes(with_new_checksums(self.pristine[INDEX], damaged))
        path.write_bytes(damaged)
        try:
            self.check(path, damaged == original, may_differ=with_checksums or name in MAY_DIFFER)
        finally:
            self.count += 1
        path.write_bytes(original)
        (self.folder / "openai" / INDEX).write_bytes(self.pristine[INDEX])

    def check(self, path, unchanged, may_differ):
        """Load the folder of `path`: what comes out, how long it takes and how much memory it asks for."""
        begin = time.monotonic()
        try:
            model, tokenizer = loading.load(path.parent)
        except CheckpointError as error:
            assert not unchanged, error
            assert str(path.parent) in str(error) or "encoder.json" in str(error) or "vocab.bpe" in str(error), error
            self.refused += 1
        else:
            assert asdict(model.config) == SMALL and tokenizer.n_vocab == SMALL["n_vocab"]
            read = {path: parameter.value for path, parameter in model.named_parameters()}
            assert read.keys() == self.parameters.keys()
            for name, array in read.items():
                assert array.dtype == np.float32 and array.shape == self.parameters[name].shape
                assert np.isfinite(array).all()
                assert may_differ or np.array_equal(array, self.parameters[name])
        assert time.monotonic() - begin < MAX_SECONDS, "too slow"


def in_shards(source: Path, folder: Path) -> None:
    """The same model with its weights in two files, and with a vocabulary in one that has rules."""
    folder.mkdir()
    shutil.copy(source / "config.json", folder)
    tensors, place = safetensors.read(source / WEIGHTS)[0], {}
    for i, names in enumerate((list(tensors)[:9], list(tensors)[9:])):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        safetensors.write(folder / file, {name: tensors[name] for name in names})
        place |= dict.fromkeys(names, file)
    (folder / SHARDS).write_text(json.dumps({"metadata": {}, "weight_map": place}))
    few = Tokenizer(MERGES)
    ids = {few.decode_bytes([i]): i for i in range(few.n_vocab - 1)}
    rules = Rules((AddedToken("<|endoftext|>", 258),), normalizers=("NFC",), prefix_space=True)
    RuledTokenizer(MERGES, ids, rules, SMALL["n_vocab"], 258).save(folder)


@contextlib.contextmanager
def little_memory():
    """While this holds, an allocation that the files do not justify is a MemoryError (on Linux, which can be asked)."""
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MAX_MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


# ---- mutations

def damage(rng, data):
    """One to four small changes to some bytes."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        i = rng.randrange(len(data) + 1)
        j = min(len(data), i + rng.choice((1, 1, 2, 8, 100)))
        kind = rng.randrange(7)
        if kind == 0 and i < len(data):
            data[i] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[i:j] = rng.randbytes(j - i)
        elif kind == 2:
            del data[i:j]
        elif kind == 3:
            data[i:i] = data[i:j]
        elif kind == 4:
            data[i:i] = rng.choice(INTERESTING)
        elif kind == 5:
            new = rng.choice(INTERESTING)
            data[i:i + len(new)] = new
        else:
            del data[i:]
    return bytes(data)


def damage_blocks(rng, table):
    """Change bytes of a table, wherever they are, and then make every block's checksum right."""
    spans = blocks(table)
    table = bytearray(table)
    for _ in range(rng.choice((1, 1, 2, 4))):
        table[rng.randrange(len(table))] = rng.choice((0, 1, 7, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    for begin, size in spans:
        table[begin + size + 1:begin + size + 5] = struct.pack("<I", mask(crc32c(bytes(table[begin:begin + size + 1]))))
    return bytes(table)


def blocks(table):
    """Where the three blocks of a small table lie and how long they are: data, metaindex, index."""
    meta, meta_size, at = sstable._decode_handle(table, len(table) - sstable.FOOTER_BYTES)
    index, index_size, _ = sstable._decode_handle(table, at)
    return [(0, meta - sstable.TRAILER_BYTES), (meta, meta_size), (index, index_size)]


def damage_pairs(rng, table):
    """Change the pairs themselves, and write a sound table of them."""
    pairs = list(sstable.decode_table(table))
    i = rng.randrange(len(pairs))
    key, value = pairs[i]
    kind = rng.randrange(6)
    if kind == 0:
        del pairs[i]
    elif kind == 1:
        pairs[i] = (damage(rng, key), value)
    elif kind == 2:
        pairs.insert(rng.randrange(len(pairs) + 1), pairs[i])
    elif kind == 3:
        pairs[i] = (key, pairs[rng.randrange(len(pairs))][1])
    else:
        pairs[i] = (key, damage(rng, value))
    if rng.random() < 0.8:
        pairs.sort()
    return sstable.encode_table(pairs)


def with_new_checksums(table, data):
    """The index with the checksums that its tensors have in other data."""
    pairs = []
    for key, value in sstable.decode_table(table):
        if key:
            _, entry = tf_bundle._decode_entry(key, value)
            crc = mask(crc32c(data[entry.offset:entry.offset + entry.size]))
            value = tf_bundle._encode_entry(entry._replace(crc=crc))
        pairs.append((key, value))
    return sstable.encode_table(pairs)


def main():
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else time.time_ns() % 10**9
    folder = Path(tempfile.mkdtemp(prefix="gpt2np-fuzz-"))
    fuzz = Fuzz(folder)
    try:
        with little_memory():
            while True:
                fuzz.step(seed)
                seed += 1
                if fuzz.count % 1000 == 0:
                    print(f"{fuzz.count:,} mutations, {fuzz.refused:,} refused, next seed {seed}", flush=True)
    except KeyboardInterrupt:
        shutil.rmtree(folder)
    except BaseException:
        print(f"FAILED at seed {seed} after {fuzz.count:,} mutations; the files are in {folder}", flush=True)
        raise


if __name__ == "__main__":
    main()
