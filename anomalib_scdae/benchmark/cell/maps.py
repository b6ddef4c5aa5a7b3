# SPDX-License-Identifier: Apache-2.0
"""Each branch's own map during a test, at no cost: caught where the model merges them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from anomalib.models import AnomalibModule, EfficientAd
from torch import Tensor

from anomalib_scdae.gallery.branch_maps import LOCAL, branch_names
from anomalib_scdae.model.lightning_model import SCDAE

Maps = dict[str, Tensor]


@contextmanager
def branch_maps(model: AnomalibModule) -> Iterator[Callable[[], Maps]]:
    """Give a function that returns the last batch's normalised maps by branch, each ``(B, 1, H, W)``.

    Empty for models that have one map only.
    """
    if isinstance(model, SCDAE):
        yield from _of_scdae(model)
    elif isinstance(model, EfficientAd):
        yield from _of_efficient_ad(model)
    else:
        yield dict


def _of_scdae(model: SCDAE) -> Iterator[Callable[[], Maps]]:
    names = [LOCAL, *branch_names(model.hparams["branches"])]
    merger, last = model.model.anomaly_map, {}

    def keep(_module: Any, arguments: tuple[Any, ...]) -> None:
        last["arguments"] = arguments

    def maps() -> Maps:
        return dict(zip(names, merger.separate(*last["arguments"]).split(1, dim=1), strict=True))

    handle = merger.register_forward_pre_hook(keep)
    try:
        yield maps
    finally:
        handle.remove()


def _of_efficient_ad(model: EfficientAd) -> Iterator[Callable[[], Maps]]:
    networks: Any = model.model
    original, last = networks.compute_maps, {}

    def compute_maps(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        last[LOCAL], last["autoencoder_1"] = original(*arguments, **options)
        return last[LOCAL], last["autoencoder_1"]

    networks.compute_maps = compute_maps
    try:
        yield lambda: dict(last)
    finally:
        del networks.compute_maps
