"""How long it takes to load a model of 124M's shape, beside reading the same bytes, and looking at each number once.

    python -m benchmarks.checkpoints

Ratios are to the mere reading of the bytes into an array. The weights are random, and without a tokenizer; the file is
read once before, so all of it comes from the system's cache. Each time is the shortest of five, and the memory is that
of a process which does nothing else (Linux tells it).
"""

import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.timing import environment, interleaved
from gpt2np.checkpoints import huggingface_gpt2, openai_gpt2, tf_bundle
from gpt2np.checkpoints.crc32c import crc32c
from gpt2np.checkpoints.layout import Source
from gpt2np.models.config import SIZES
from gpt2np.models.gpt2 import GPT2

LOAD = "import sys, benchmarks.checkpoints as b; kept = b.weights(b.{module}, sys.argv[1]); " \
       "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"


def shortest(*calls):
    """The shortest time of each (function, *arguments) in five rounds, in which they take turns."""
    return [min(times) for times in interleaved(5, [partial(*call) for call in calls])]


def read_and_look(path):
    """The bytes in memory, and one look at every number."""
    assert np.isfinite(np.fromfile(path, np.float32)).all()


def weights(layout, path):
    """The model in a folder, or with its weights in a file, without a tokenizer."""
    source = Source(Path(path))
    return layout.read_weights(source, layout.read_config(source))


def peak_memory(module, path):
    """Of a process that loads the model, in bytes."""
    code = LOAD.format(module=module)
    output = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True,
                            env=environment()).stdout
    return 1024 * int(output)


def main():
    rng = np.random.default_rng(0)
    model = GPT2(SIZES["124M"], rng)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        begin = time.perf_counter()
        openai_gpt2.write(folder, model, None)
        saved = time.perf_counter() - begin
        huggingface_gpt2.write(folder, model, None)
        del model
        path = tf_bundle.data_path(folder / "model.ckpt")
        size = path.stat().st_size
        data = np.fromfile(path, np.uint8)
        read, looked, openai, safetensors, checksum = shortest(
            (np.fromfile, path, np.float32), (read_and_look, path), (weights, openai_gpt2, folder),
            (weights, huggingface_gpt2, folder / "model.safetensors"), (crc32c, data))
        del data
        print(f"{size / 1e6:.0f} MB, shortest of 5\n")
        for name, seconds in (("np.fromfile", read), ("np.fromfile and one np.isfinite", looked)):
            print(f"{name:40}{seconds:6.3f} s   {seconds / read:4.2f}")
        for name, seconds, module, at in (
                ("OpenAI's files, every CRC verified", openai, "openai_gpt2", folder),
                ("model.safetensors", safetensors, "huggingface_gpt2", folder / "model.safetensors")):
            memory = peak_memory(module, at) / size
            print(f"{name:40}{seconds:6.3f} s   {seconds / read:4.2f}   memory {memory:.2f} of the file")
        print(f"{'CRC-32C alone, in one piece':40}{checksum:6.3f} s   {size / checksum / 1e9:.1f} GB/s")
        print(f"{'saving OpenAI files, once, with fsync':40}{saved:6.3f} s")


if __name__ == "__main__":
    main()
