# SPDX-License-Identifier: Apache-2.0
"""SPADE's stages against plain references, written as the paper describes them."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anomalib_scdae.benchmark.baselines import Spade
from anomalib_scdae.benchmark.baselines.spade.torch_model import SpadeModel
from tests.benchmark.baselines.systems import SIDE, make


def model_with_gallery(count: int = 5, **arguments: int) -> tuple[SpadeModel, torch.Tensor]:
    model = make("Spade", **arguments).model
    images = torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    model.reserve(count + 2, images)  # room for images that do not come
    model.add(images[:2])
    model.add(images[2:])
    model.close()
    return model, images


@pytest.mark.parametrize("neighbours", [1, 3, 50])
def test_the_score_is_the_mean_squared_distance_to_the_nearest_images(neighbours: int) -> None:
    model, images = model_with_gallery(neighbours=neighbours)
    queries = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    scores = model(queries).pred_score
    pooled = model.feature_extractor(images)[-1].mean(dim=(2, 3)).numpy().astype(np.float64)
    for query, score in zip(queries, scores, strict=True):
        own = model.feature_extractor(query[None])[-1].mean(dim=(2, 3))[0].numpy().astype(np.float64)
        distances = sorted(sum((a - b) ** 2 for a, b in zip(own, other, strict=True)) for other in pooled)
        assert float(score) == pytest.approx(np.mean(distances[:neighbours]), rel=1e-4)


@pytest.mark.parametrize("pixel_neighbours", [1, 2])
def test_the_map_is_the_distance_to_the_nearest_features_of_these_images(pixel_neighbours: int) -> None:
    model, images = model_with_gallery(neighbours=2, pixel_neighbours=pixel_neighbours)
    query = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))

    def pyramid(image: torch.Tensor) -> np.ndarray:
        """Every position's features, by itself."""
        fine, *coarse, _ = model.feature_extractor(image)
        size = fine.shape[-2:]
        layers = [fine, *(F.interpolate(layer, size=size, mode="bilinear") for layer in coarse)]
        whole = torch.cat(layers, dim=1)[0].numpy().astype(np.float64)
        return whole.transpose(1, 2, 0)

    pooled = [model.feature_extractor(image[None])[-1].mean(dim=(2, 3)) for image in images]
    own = model.feature_extractor(query)[-1].mean(dim=(2, 3))
    order = sorted(range(len(images)), key=lambda index: float((own - pooled[index]).norm()))
    gallery = np.concatenate([np.concatenate(pyramid(images[index][None])) for index in order[:2]])
    distances = [((gallery - feature) ** 2).sum(axis=1) for feature in np.concatenate(pyramid(query))]
    expected = np.array([np.mean(sorted(values)[:pixel_neighbours]) for values in distances]).reshape(16, 16)
    *stages, last = model.feature_extractor(query)
    _, nearest = model.nearest_images(last.mean(dim=(2, 3)))
    found = model.pixel_distances([stage[0] for stage in stages], nearest[0])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-4 * expected.max())
    enlarged = F.interpolate(found[None, None], size=(SIDE, SIDE), mode="bilinear")
    torch.testing.assert_close(model(query).anomaly_map, model.blur(enlarged))


def test_a_training_image_has_no_distance_from_itself() -> None:
    model, images = model_with_gallery(neighbours=1)
    found = model(images[:1])
    assert float(found.pred_score) == pytest.approx(0, abs=1e-6)
    assert float(found.anomaly_map.max()) < 1e-3


def test_the_papers_pre_processing_is_the_default_and_a_size_shows_all_of_the_image() -> None:
    wide = torch.rand(1, 3, 300, 600)
    assert Spade.configure_pre_processor()(wide).shape[-2:] == (224, 224)
    assert Spade.configure_pre_processor().transform(wide).shape[-2:] == (224, 224)
    assert Spade.configure_pre_processor((128, 96))(wide).shape[-2:] == (128, 96)
