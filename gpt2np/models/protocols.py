"""What training and decoding ask of a model: any class that has these is served by all of their machinery."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from numpy.typing import ArrayLike

from ..blocks.kv_cache import Past
from ..hints import Array
from ..layers.module import Constant, Parameter


class Trainable(Protocol):
    """A Module with a loss over batches; a batch is a tuple of arrays on the host with one first axis, the rows.

    The loss is a mean, or a sum of means, over something that the rows hold each in their own number: targets, pairs.
    What the mean of a whole batch is over, `counted` says, and then the losses and gradients of any parts of it add up
    to those of the batch, exactly.
    """

    @property
    def counted(self) -> Callable[..., Any]:
        """counted(*batch): what the mean over this batch is over, a number, or one for each term of the loss."""

    @property
    def loss(self) -> Callable[..., Array]:
        """loss(*batch, counted=None): these rows' part of the mean over all that is counted, or their own mean."""

    @property
    def loss_and_gradients(self) -> Callable[..., Array]:
        """loss_and_gradients(*batch, counted=None, rng=None): with dropout by rng; adds to the parameters' grad."""

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...
    def named_constants(self) -> Iterator[tuple[str, Constant]]: ...
    def zero_grad(self) -> None: ...
    def replica(self) -> Any: ...


class Body(Protocol):
    """A Module that makes a vector of each token of a text, and one of all of it: what a head stands on (heads.py).

        x, cache = body.hidden(tokens, ...)             (B, T) -> (B, T, C)
        y, cache = body.pooled(x, padding_mask)         (B, T, C) -> (B, C)

    config      with n_vocab and n_embd, C
    head_bias   whether a head on what it pools has a bias, as that of transformers' has or has not
    """

    config: Any
    head_bias: bool

    @property
    def n_ctx(self) -> int:
        """How many positions of a text it sees at most: those of the config, or what a prefix leaves of them."""

    @property
    def hidden(self) -> Callable[..., tuple[Array, Any]]:
        """hidden(tokens, *, segments=None, padding_mask=None, rng=None, keep_cache=True), all on the host."""

    @property
    def hidden_backward(self) -> Callable[[Array, Any], Any]:
        """hidden_backward(dy, cache): adds to the parameters' grad."""

    @property
    def pooled(self) -> Callable[..., tuple[Array, Any]]:
        """pooled(x, padding_mask=None), the mask on the host."""

    @property
    def pooled_backward(self) -> Callable[[Array, Any], Array]:
        """pooled_backward(dy, cache) -> dx (B, T, C); adds to the parameters' grad."""

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...


class LanguageModel(Protocol):
    """A model that says how likely each token is to come next in texts that it has read so far.

        past   = model.new_past(B, n)                   of B texts: an object for each block, with room for n positions
        logits = model.next_logits(tokens, past)        (B, T) new tokens -> (B, 1, V); the past then holds them, too

    What is in the past is the model's own affair: all that is asked of it is Past.  A model that reads something else
    beside the text, as a decoder does its encoder's memory, keeps that in it, a row for each text.
    """

    @property
    def n_vocab(self) -> int:
        """How many tokens there are, V."""

    @property
    def n_ctx(self) -> int:
        """How many positions it sees at most."""

    def new_past(self, B: int, n: int) -> Sequence[Past]:
        """The past of B texts of which nothing was read."""

    def next_logits(self, tokens: ArrayLike, past: Sequence[Any], padding_mask: Array | None = None,
                    last: int = 1) -> Array:
        """The logits (B, last, V) after the last of the tokens (B, T), which are on the host, and follow the past.

        padding_mask   (B, S)   bool, for the past and the tokens: False for padding, on the left, that nobody sees;
                                None: all are real
        last                    from 0 on

        Every object of the past is asked to append, once; and what comes before the tokens is not looked at before
        append has returned, since a long prompt is read in pieces at the same time: see decoding/prefill.py.
        """


class Translator(Protocol):
    """A model that reads a source, another text for each of its rows, before it writes."""

    @property
    def n_ctx(self) -> int:
        """How many positions it sees at most, of a source, and of what it writes."""

    @property
    def source_end(self) -> bool:
        """Whether a source ends in the token that ends a text."""

    def given(self, source: ArrayLike, source_mask: Array | None = None) -> LanguageModel:
        """What writes, given the sources (B, S) with a mask of their real tokens."""

    def looked_at(self, source: ArrayLike, source_mask: Array | None, tokens: ArrayLike) -> Array:
        """p (B, T, S): how much each position of what is written, tokens (B, T), looked at which of the source."""
