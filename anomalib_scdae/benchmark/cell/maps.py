# SPDX-License-Identifier: Apache-2.0
"""What each part of a model says of a test image, at no cost: caught where the model puts the parts together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from anomalib.models import AnomalibModule, EfficientAd
from torch import Tensor

from anomalib_scdae.gallery.branch_maps import COMBINED, CONTEXT, LOCAL, branch_names
from anomalib_scdae.model.lightning_model import SCDAE


class Parts(NamedTuple):
    """What the parts of a model say of a batch.

    Attributes:
        maps: Normalised maps by name, each ``(B, 1, H, W)``.
        scores: Scores of an image that are not the maximum of the map of that name, ``(B,)``.
    """

    maps: dict[str, Tensor]
    scores: dict[str, Tensor]


@contextmanager
def parts_of(model: AnomalibModule) -> Iterator[Callable[[], Parts]]:
    """Give a function that returns the last batch's parts; there are none for models that have one map only."""
    networks: Any = model.model
    last: dict[str, Any] = {}
    if isinstance(model, SCDAE):
        with _watched(networks, "distances", last):
            yield lambda: _of_scdae(model, last)
    elif isinstance(model, EfficientAd):
        with _watched(networks, "compute_maps", last):
            yield lambda: _of_efficient_ad(model, last)
    else:
        yield lambda: Parts({}, {})


@contextmanager
def _watched(networks: Any, name: str, last: dict[str, Any]) -> Iterator[None]:
    """Keep the arguments and the result of the last call of a method."""
    original = getattr(networks, name)

    def method(*arguments: Any, **options: Any) -> Any:
        last["arguments"], last["result"] = arguments, original(*arguments, **options)
        return last["result"]

    setattr(networks, name, method)
    try:
        yield
    finally:
        delattr(networks, name)


def _of_scdae(model: SCDAE, last: dict[str, Any]) -> Parts:
    (images,), distances = last["arguments"], last["result"]
    networks, names = model.model, [LOCAL, *branch_names(model.hparams["branches"])]
    separate = networks.anomaly_map.separate(distances.maps, images.shape[-2:])
    maps, scores = dict(zip(names, separate.split(1, dim=1), strict=True)), {}
    context_map = networks.context_map(images)
    if context_map is not None:
        maps[CONTEXT], scores[CONTEXT] = context_map, distances.context
        scores[COMBINED] = networks.anomaly_map(distances.maps, images.shape[-2:]).amax(dim=(1, 2, 3))
    return Parts(maps, scores)


def _of_efficient_ad(model: EfficientAd, last: dict[str, Any]) -> Parts:
    local, autoencoder = last["result"]
    return Parts({LOCAL: local, "autoencoder_1": autoencoder}, getattr(model, "scores_apart", dict)())
