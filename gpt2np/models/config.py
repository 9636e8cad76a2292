"""The sizes of the models: for a GPT-2, what hparams.json beside OpenAI's checkpoints says.

Chapter: S000 3.3.
"""

from dataclasses import dataclass, fields
from typing import Any

from ..layers.checks import check_heads


@dataclass(frozen=True)
class GPT2Config:
    """The five numbers that make a GPT-2, under their names in OpenAI's hparams.json.

    n_vocab  tokens in the vocabulary (V)       n_embd   width (C)
    n_ctx    longest sequence                   n_head   attention heads (H), each n_embd / n_head wide
                                                n_layer  blocks in the stack (L)
    raises   ValueError for anything but positive integers, and for heads that do not divide the width
    """

    n_vocab: int = 50257
    n_ctx: int = 1024
    n_embd: int = 768
    n_head: int = 12
    n_layer: int = 12

    def __post_init__(self) -> None:
        check_sizes(self)

    @property
    def n_parameters(self) -> int:
        """How many numbers training changes: two tables, 12 C^2 + 13 C for each block, and the last norm."""
        C = self.n_embd
        return (self.n_vocab + self.n_ctx) * C + self.n_layer * (12 * C * C + 13 * C) + 2 * C


NORMS = ("post", "pre", "post, last")


@dataclass(frozen=True)
class TransformerConfig:
    """The sizes of an encoder-decoder Transformer, and where its norms stand.

    n_vocab  tokens in the one vocabulary of both sides (V)     n_head   attention heads (H)
    n_ctx    longest source, and longest target                 n_layer  blocks of the encoder, and of the decoder (L)
    n_embd   width (C)                                          n_inner  inner width of the MLPs (F)
    norms    "post"        after each residual sum, as in the paper: none after a stack
             "pre"         before each sub-layer, and one after each stack
             "post, last"  after each residual sum, and one more after each stack, as torch.nn.Transformer has it
    source_end   whether a source ends in the token that ends a text, which tells how long it is
    scripts      of the sources that it has learned from, as script_of names them; () where that is not known
    raises   ValueError for anything but positive integers, for heads that do not divide the width, for other norms
    """

    n_vocab: int
    n_ctx: int = 256
    n_embd: int = 256
    n_head: int = 8
    n_layer: int = 3
    n_inner: int = 1024
    norms: str = "post"
    source_end: bool = False
    scripts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.norms not in NORMS:
            raise ValueError(f"norms: expected one of {', '.join(map(repr, NORMS))}, got {self.norms!r}")

    @property
    def n_parameters(self) -> int:
        """How many numbers training changes: one table, both stacks of blocks, and the norms after them."""
        C, mlp = self.n_embd, 2 * self.n_embd * self.n_inner + self.n_inner + self.n_embd
        attention = 4 * C * C + 4 * C
        blocks = self.n_layer * (3 * attention + 2 * mlp + 5 * 2 * C)
        return self.n_vocab * C + blocks + (0 if self.norms == "post" else 4 * C)


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a BERT, and the eps of its norms; those that are not given are BERT-base's.

    n_vocab    pieces in the vocabulary (V)         n_head   attention heads (H)
    n_ctx      longest row, special pieces included n_layer  blocks in the stack (L)
    n_embd     width (C)                            n_inner  inner width of the MLPs (F)
    n_segment  kinds of segments: first text, second text
    eps        of every norm
    raises     ValueError for anything but positive integers, for heads that do not divide the width, for another eps
    """

    n_vocab: int
    n_ctx: int = 512
    n_embd: int = 768
    n_head: int = 12
    n_layer: int = 12
    n_inner: int = 3072
    n_segment: int = 2
    eps: float = 1e-12

    def __post_init__(self) -> None:
        check_sizes(self)
        if not (isinstance(self.eps, float) and 0 <= self.eps < 1):
            raise ValueError(f"eps: expected a number from 0 to less than 1, got {self.eps!r}")

    @property
    def n_parameters(self) -> int:
        """How many numbers training changes, with the pooler and both heads: BertForPreTraining's."""
        C, F = self.n_embd, self.n_inner
        blocks = self.n_layer * (4 * C * C + 4 * C + 2 * C * F + F + C + 4 * C)
        tables = (self.n_vocab + self.n_ctx + self.n_segment) * C + 2 * C
        return tables + blocks + 2 * (C * C + C) + 2 * C + self.n_vocab + 2 * C + 2


def check_sizes(config: Any) -> None:
    """ValueError unless the fields of a config that are int are positive integers, and its heads divide its width."""
    for field in fields(config):
        value = getattr(config, field.name)
        if field.type in (int, "int") and (type(value) is not int or value < 1):    # bool is an int to isinstance
            raise ValueError(f"{field.name}: expected a positive integer, got {value!r}")
    check_heads(config.n_embd, config.n_head)


# The four models that OpenAI released, by their number of parameters.
SIZES = {
    "124M": GPT2Config(n_embd=768, n_head=12, n_layer=12),
    "355M": GPT2Config(n_embd=1024, n_head=16, n_layer=24),
    "774M": GPT2Config(n_embd=1280, n_head=20, n_layer=36),
    "1558M": GPT2Config(n_embd=1600, n_head=25, n_layer=48),
}
