"""Makes the small checkpoints in tests/golden with TensorFlow itself: what our reader must read and our writer must
equal.

    pip install tensorflow-cpu
    python -m tests.golden.make_tf_bundles

The tensors are given by rules that need NumPy alone, so the tests know what each file must hold. TensorFlow 2.21.0.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent
TINY = {"n_vocab": 29, "n_ctx": 7, "n_embd": 6, "n_head": 2, "n_layer": 11}     # 11: h10 sorts before h2


def numbers(shape, seed, dtype=np.float32):
    """Numbers that look random, are exact in any dtype of 16 bits, and need no generator that might change."""
    i = np.arange(int(np.prod(shape, dtype=int)), dtype=np.int64)
    return (((i * 7919 + seed * 104729) % 127 - 63) / 64).astype(dtype).reshape(shape)


def tiny_gpt2():
    """The tensors of a very small GPT-2, under OpenAI's names and in OpenAI's shapes."""
    C = TINY["n_embd"]
    shapes = {"model/wte": (TINY["n_vocab"], C), "model/wpe": (TINY["n_ctx"], C),
              "model/ln_f/g": (C,), "model/ln_f/b": (C,)}
    for i in range(TINY["n_layer"]):
        for name, shape in {"ln_1/g": (C,), "ln_1/b": (C,), "ln_2/g": (C,), "ln_2/b": (C,),
                            "attn/c_attn/w": (1, C, 3 * C), "attn/c_attn/b": (3 * C,),
                            "attn/c_proj/w": (1, C, C), "attn/c_proj/b": (C,),
                            "mlp/c_fc/w": (1, C, 4 * C), "mlp/c_fc/b": (4 * C,),
                            "mlp/c_proj/w": (1, 4 * C, C), "mlp/c_proj/b": (C,)}.items():
            shapes[f"model/h{i}/{name}"] = shape
    return {name: numbers(shape, seed) for seed, (name, shape) in enumerate(sorted(shapes.items()))}


def all_dtypes():
    """One tensor of every dtype that we write, and every kind of shape and name that might go wrong."""
    tensors = {f"kinds/{np.dtype(d).name}": (np.arange(-3, 12) % 100).astype(d).reshape(3, 5)
               for d in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")}
    tensors |= {"scalar": np.array(1.5, np.float32),
                "none": np.zeros((0,), np.float32), "none/3": np.zeros((3, 0, 2), "i4"),
                "a": np.ones(1, np.int8), "ab": np.full((1, 1, 1, 1), 2, np.float64), "höhe/高度": numbers((130,), 1),
                "extremes": np.array([np.inf, -np.inf, np.nan, -0.0, 1e-45], np.float32)}
    return tensors


def many():
    """Enough names to fill several blocks of an index, and a tensor long enough for every stage of our checksum.

    Where one block ends and the next begins, the names of layers differ by one in some letter, and then the
    index has the whole name; scattered ones differ by two, and then it has a shorter one.
    """
    near = {f"layer_{i % 97:03d}/a_rather_long_scope_name/unit_{i}/w": np.float32([i]) for i in range(9000)}
    letters = str.maketrans("01234", "acegi")
    far = {f"scattered/{np.base_repr(i, 5):>06}/and/a/long/name".translate(letters): np.float32([i])
           for i in range(9000)}
    return near | far | {"large": numbers((150_000,), 2)}


def main():
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    def save(prefix, tensors, slices=None):
        names = sorted(tensors, key=str.encode)
        tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, tensors=[tf.constant(tensors[n]) for n in names],
                          shape_and_slices=[(slices or {}).get(n, "") for n in names])

    def saver(prefix, tensors):                     # as OpenAI's training did: a graph, and TensorFlow 1's Saver
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            variables = [tf.compat.v1.get_variable(name, initializer=value) for name, value in tensors.items()]
            session.run(tf.compat.v1.global_variables_initializer())
            tf.compat.v1.train.Saver(variables).save(session, prefix, write_meta_graph=False)

    shutil.rmtree(GOLDEN / "tf", ignore_errors=True)
    folder = GOLDEN / "tf"
    (folder / "tiny").mkdir(parents=True)
    with contextlib.chdir(folder / "tiny"):         # so that `checkpoint` holds a relative path, as OpenAI's does
        saver("model.ckpt", tiny_gpt2())
    save(folder / "dtypes", all_dtypes())
    save(folder / "bfloat16", {"x": tf.constant(numbers((5, 3), 3), tf.bfloat16)})
    save(folder / "strings", {"x": tf.constant(["one", "two"])})
    save(folder / "bool", {"x": np.array([True, False])})
    save(folder / "slices", {"w": np.ones((2, 3), np.float32)}, {"w": "4 3 0,2:0,3"})
    with tempfile.TemporaryDirectory() as scratch:
        save(Path(scratch) / "many", many())
        sums = {kind: hashlib.sha256((Path(scratch) / f"many.{kind}").read_bytes()).hexdigest()
                for kind in ("index", "data-00000-of-00001")}
    (folder / "many.sha256").write_text("".join(f"{digest}  many.{kind}\n" for kind, digest in sums.items()))
    print("TensorFlow", tf.__version__)


if __name__ == "__main__":
    main()
