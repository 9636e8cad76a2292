"""What is said of a file that is not in UTF-8."""

import shlex

import pytest

from gpt2np.text.utf8 import read_utf8
from gpt2np.text.vocabulary import TokenizerError


@pytest.mark.parametrize("encoding, how", [("utf-16", "from UTF-16: iconv -f utf-16 -t utf-8"),
                                           ("gbk", "from GBK: iconv -f gbk -t utf-8")])
def test_the_advice_is_for_what_it_looks_like_and_can_be_typed(tmp_path, encoding, how):
    path = tmp_path / "a text.txt"
    path.write_bytes("我喜欢读书。".encode(encoding))
    with pytest.raises(TokenizerError) as caught:
        "".join(read_utf8(path))
    assert str(caught.value).endswith(f"convert it to UTF-8; {how} {shlex.quote(str(path))}")
