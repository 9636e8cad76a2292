"""How long it takes to load a model of 124M's shape, beside reading the same bytes and looking at each number once.

    python benchmarks/checkpoints.py

The weights are random; the file is read once before, so all of it comes from the system's cache. Each time is the
shortest of five, and the memory is that of a process which does nothing else (Linux tells it).
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gpt2np.checkpoints import huggingface_gpt2, openai_gpt2, tf_bundle
from gpt2np.checkpoints.crc32c import crc32c
from gpt2np.checkpoints.gpt2_parameters import parameter_shapes

HPARAMS = {"n_vocab": 50257, "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12}
LOAD = "import sys; from gpt2np.checkpoints import {module}; kept = {module}.read(sys.argv[1]); " \
       "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"


def shortest(*calls):
    """The shortest time of each (function, *arguments) in five rounds, in which they take turns."""
    times = [[] for _ in calls]
    for _ in range(5):
        for kept, (function, *arguments) in zip(times, calls):
            begin = time.perf_counter()
            function(*arguments)
            kept.append(time.perf_counter() - begin)
    return [min(kept) for kept in times]


def read_and_look(path):
    """The yardstick: the bytes in memory, and one look at every number."""
    assert np.isfinite(np.fromfile(path, np.float32)).all()


def peak_memory(module, path):
    """Of a process that loads the model, in bytes."""
    code = LOAD.format(module=module)
    output = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True,
                            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}).stdout
    return 1024 * int(output)


def main():
    rng = np.random.default_rng(0)
    parameters = {path: rng.standard_normal(shape, np.float32) for path, shape in parameter_shapes(HPARAMS).items()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        begin = time.perf_counter()
        openai_gpt2.write(folder, parameters, HPARAMS)
        saved = time.perf_counter() - begin
        huggingface_gpt2.write(folder, parameters, HPARAMS, 50256)
        del parameters
        path = tf_bundle.data_path(folder / "model.ckpt")
        size = path.stat().st_size
        data = np.fromfile(path, np.uint8)
        yardstick, openai, safetensors, checksum = shortest(
            (read_and_look, path), (openai_gpt2.read, folder), (huggingface_gpt2.read, folder / "model.safetensors"),
            (crc32c, data))
        del data
        print(f"{size / 1e6:.0f} MB, shortest of 5\n")
        print(f"{'np.fromfile and one np.isfinite':40}{yardstick:6.3f} s   1.00")
        for name, seconds, module, at in (
                ("OpenAI's files, every CRC verified", openai, "openai_gpt2", folder),
                ("model.safetensors", safetensors, "huggingface_gpt2", folder / "model.safetensors")):
            memory = peak_memory(module, at) / size
            print(f"{name:40}{seconds:6.3f} s   {seconds / yardstick:4.2f}   memory {memory:.2f} of the file")
        print(f"{'CRC-32C alone, in one piece':40}{checksum:6.3f} s   {size / checksum / 1e9:.1f} GB/s")
        print(f"{'saving OpenAI files, once, with fsync':40}{saved:6.3f} s")


if __name__ == "__main__":
    main()
