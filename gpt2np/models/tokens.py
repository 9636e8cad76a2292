"""The doors of the models: token ids are checked on the host, and then moved to where the weights are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..blocks.kv_cache import Past
from ..device import to_host
from ..hints import Array
from ..layers.checks import check_ids, check_padding_mask


def host_ids(name: str, ids: ArrayLike, n_vocab: int, n_ctx: int, ignored: int | None = None) -> Array:
    """Check token ids (B, T), with T from 1 to n_ctx.  Returns them as an array on the host; ValueError for others."""
    try:
        ids = np.asarray(to_host(ids))
    except ValueError as error:
        raise ValueError(f"{name}: expected rows of equal length, {error}") from error
    if ids.ndim != 2 or not 1 <= ids.shape[1] <= n_ctx:
        raise ValueError(f"{name}: expected shape (B, T) with T from 1 to {n_ctx}, got {ids.shape}")
    check_ids(name, ids, n_vocab, ignored)
    return ids


def check_inference(shape: tuple[int, int], past: Sequence[Past], n_layer: int, padding_mask: Array | None,
                    last: int | None) -> None:
    """ValueError for what cannot follow a past of this many blocks: see GPT2.next_logits.  shape is the tokens'."""
    if len(past) != n_layer:
        raise ValueError(f"past: expected that of new_past, a KVCache for each of {n_layer} blocks, got {len(past)}")
    B, T = shape
    if last is not None and not 0 <= last <= T:
        raise ValueError(f"last: expected from 0 to {T} of the tokens, got {last}")
    if padding_mask is not None:
        check_padding_mask(padding_mask, (B, past[0].length + T))


def positions_of(T: int, S: int, padding_mask: Array | None, like: Array, before: int = 0) -> Array:
    """The positions of the last T of S tokens, (T,), or (B, T) where there is padding on the left: that of a token is
    the number of real ones before it.

    padding_mask   (B, S), on the host
    like           an array on the device on which they are wanted
    before         how many positions come before all tokens, of a prefix
    """
    if padding_mask is None:
        return np.arange(before + S - T, before + S, like=like)
    return np.asarray(before + np.maximum(padding_mask.cumsum(axis=1) - 1, 0)[:, S - T:], like=like)
