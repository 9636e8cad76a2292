"""The sizes of a GPT-2: what hparams.json beside OpenAI's checkpoints says."""

from dataclasses import dataclass, fields

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
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:     # bool is an int to isinstance
                raise ValueError(f"{field.name}: expected a positive integer, got {value!r}")
        check_heads(self.n_embd, self.n_head)

    @property
    def n_parameters(self) -> int:
        """How many numbers training changes: two tables, 12 C^2 + 13 C for each block, and the last norm."""
        C = self.n_embd
        return (self.n_vocab + self.n_ctx) * C + self.n_layer * (12 * C * C + 13 * C) + 2 * C


# The four models that OpenAI released, by their number of parameters.
SIZES = {
    "124M": GPT2Config(n_embd=768, n_head=12, n_layer=12),
    "355M": GPT2Config(n_embd=1024, n_head=16, n_layer=24),
    "774M": GPT2Config(n_embd=1280, n_head=20, n_layer=36),
    "1558M": GPT2Config(n_embd=1600, n_head=25, n_layer=48),
}
