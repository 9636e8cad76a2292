"""What training and decoding ask of a model: any class that has these is served by all of their machinery."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

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
