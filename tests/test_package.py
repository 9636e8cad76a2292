"""What gpt2np shows at its own door: its names, a text in one call, the sizes of a model, its version."""

import configparser
import inspect
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import gpt2np
from gpt2np import generate as command
from gpt2np.checkpoints.errors import CheckpointError
from gpt2np.sampling import GenerationError
from tests.test_generate import folder, no_pipe, written  # noqa: F401    fixtures


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout


def test_its_names():
    names = [name for name in python("import gpt2np; print(*dir(gpt2np))").split() if name[0] != "_"]
    assert names == sorted(gpt2np.__all__) == ["generate", "load", "save", "trace"]
    for name in (*gpt2np.__all__, "__version__", "__doc__"):
        assert name in dir(gpt2np) and getattr(gpt2np, name)
    with pytest.raises(AttributeError, match="module 'gpt2np' has no attribute 'genrate'"):
        gpt2np.genrate  # noqa: B018
    assert python("import sys; before = set(sys.modules); import gpt2np\n"
                  "print(*(m for m in set(sys.modules) - before if 'gpt2np' in m or m == 'numpy'))") == "gpt2np\n"


@pytest.mark.parametrize("options, arguments", [
    ({"seed": 3}, ["--seed", "3"]), ({"max_new_tokens": 7, "temperature": 0}, ["--max-new-tokens", "7", "--temperature",
                                                                              "0"]),
    ({"seed": 1, "top_k": 5, "min_p": 0.1, "stop": "a"}, ["--seed", "1", "--top-k", "5", "--min-p", "0.1", "--stop",
                                                          "a"])])
@pytest.mark.parametrize("prompt", ["the cat", ""])
def test_a_text_in_one_call_is_what_the_command_writes(capsys, folder, prompt, options, arguments):  # noqa: F811
    text = gpt2np.generate(prompt, folder, **options)
    assert text.startswith(prompt) and len(text) > len(prompt)
    assert text + "\n" == written(capsys, folder, *[prompt] * bool(prompt), *arguments).out


def test_a_model_that_was_loaded(folder):  # noqa: F811
    """It is left as it is: someone may be training it."""
    model, tokenizer = gpt2np.load(folder)
    before = [p.value for _, p in model.named_parameters()]
    assert gpt2np.generate("the", (model, tokenizer), temperature=0) == gpt2np.generate("the", folder, temperature=0)
    assert all(p.value is value for (_, p), value in zip(model.named_parameters(), before))
    assert gpt2np.generate("the", (model, tokenizer)) != gpt2np.generate("the", (model, tokenizer))


def test_what_cannot_be(folder):  # noqa: F811
    with pytest.raises(CheckpointError, match=r"did you mean demo\?"):
        gpt2np.generate("the", "dmeo")
    with pytest.raises(GenerationError, match="temperature: expected a number from 0"):
        gpt2np.generate("the", folder, temperature=-1)
    with pytest.raises(TypeError, match="temprature"):
        gpt2np.generate("the", folder, temprature=1)


ORDERS = ["import gpt2np", "import gpt2np.generate", "from gpt2np.generate import main", "from gpt2np import generate",
          "import gpt2np; gpt2np.load", "import gpt2np; gpt2np.generate"]


@pytest.mark.slow
def test_it_can_be_called_whoever_has_imported_what_before():
    """Each order in a package that is imported anew, all in one process."""
    script = """
import itertools, sys
for first, second in itertools.permutations({orders}, 2):
    for name in [name for name in sys.modules if name.partition(".")[0] == "gpt2np"]:
        del sys.modules[name]
    exec(first, {{}}), exec(second, {{}})
    import gpt2np
    assert callable(gpt2np.generate), (first, second)
    from gpt2np.generate import main
    assert main is gpt2np.generate.main and gpt2np.generate is sys.modules["gpt2np.generate"], (first, second)
print(sum(1 for _ in itertools.permutations({orders}, 2)), gpt2np.generate("a", max_new_tokens=1, temperature=0)[0])
"""
    assert python(script.format(orders=ORDERS)) == f"{len(ORDERS) * (len(ORDERS) - 1)} a\n"


def test_the_call_is_explained():
    assert "gpt2np.load takes" in command.__call__.__doc__
    assert list(inspect.signature(gpt2np.generate).parameters)[:2] == ["prompt", "model"]


def test_the_demo_is_what_is_loaded_where_nothing_is_said():
    model, tokenizer = gpt2np.load()
    assert repr(tokenizer) == "Tokenizer of 4,096 tokens: byte-level BPE of 3,839 merges, end of text 4095"
    assert repr(model) == (f"GPT2 of {model.config.n_parameters:,} parameters, float32: GPT2Config(n_vocab=4096, "
                           "n_ctx=256, n_embd=256, n_head=8, n_layer=6)")
    assert model.config == gpt2np.load("demo", np.float64)[0].config and tokenizer.n_vocab == model.n_vocab


def test_the_version_is_said_once():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    assert setup["metadata"]["version"] == "attr: gpt2np.__version__"
    try:
        assert metadata.version("gpt2np") == gpt2np.__version__
    except metadata.PackageNotFoundError:
        pytest.skip("gpt2np is not installed here, it is run from its folder")
