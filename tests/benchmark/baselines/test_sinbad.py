# SPDX-License-Identifier: Apache-2.0
"""SINBAD's stages against plain references, written as the paper describes them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.covariance import ShrunkCovariance
from torch.nn import functional as F

from anomalib_scdae.benchmark.baselines import Sinbad
from anomalib_scdae.benchmark.baselines.sinbad.crops import Crops, cut, fitted, padded, unpadded
from anomalib_scdae.benchmark.baselines.sinbad.set_gallery import SetGallery
from anomalib_scdae.errors import UserError
from tests.benchmark.baselines.systems import make


def random_sets(count: int, elements: int = 12, channels: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, elements, channels, generator=torch.Generator().manual_seed(seed))


def gallery(training: torch.Tensor, **arguments: float) -> SetGallery:
    torch.manual_seed(3)
    found = SetGallery(training.shape[2], 1, **{"projections": 3, "thresholds": 5, **arguments})
    found.reserve(len(training))
    found.fit(0, training)
    return found


def described_by_loops(found: SetGallery, training: torch.Tensor, sets: torch.Tensor) -> np.ndarray:
    """Cumulative histograms: for each projection, count one element after the other; ``(B, R P T)``."""
    projections = found.projections.numpy().astype(np.float64)
    columns = []
    for direction in projections:
        values = sorted(float(element @ direction) for one in training.numpy() for element in one)
        low, high = np.quantile(values, 0.01), np.quantile(values, 0.99)
        for threshold in (low + (high - low) * step / (found.thresholds - 1) for step in range(found.thresholds)):
            shares = [np.mean([float(element @ direction) <= threshold for element in one]) for one in sets.numpy()]
            columns.append(shares)
    return np.array(columns).T


def test_sets_become_cumulative_histograms_of_their_projections() -> None:
    training, sets = random_sets(6), random_sets(3, seed=1)
    found = gallery(training)
    np.testing.assert_allclose(
        found.describe(0, sets)[:, 0].numpy(), described_by_loops(found, training, sets), atol=1e-6
    )


def test_the_order_of_the_elements_does_not_matter() -> None:
    found = gallery(random_sets(6))
    sets = random_sets(2, seed=1)
    torch.testing.assert_close(found(0, sets), found(0, sets.flip(1)))


@pytest.mark.parametrize("count", [6, 40], ids=["fewer images than numbers", "more images than numbers"])
@pytest.mark.parametrize("shrinkage", [0.1, 1.0])
def test_the_distance_is_mahalanobis_to_the_nearest_by_sklearns_shrunk_covariance(count: int, shrinkage: float) -> None:
    training, sets = random_sets(count), random_sets(3, seed=1)
    found = gallery(training, shrinkage=shrinkage)
    normal, others = (described_by_loops(found, training, each) for each in (training, sets))
    inverse = np.linalg.inv(ShrunkCovariance(shrinkage=shrinkage).fit(normal).covariance_)
    expected = [min(np.sqrt((one - other) @ inverse @ (one - other)) for other in normal) for one in others]
    np.testing.assert_allclose(found(0, sets).numpy(), expected, rtol=1e-3)
    apart = [
        min(np.sqrt((a - b) @ inverse @ (a - b)) for j, b in enumerate(normal) if j != i) for i, a in enumerate(normal)
    ]
    np.testing.assert_allclose(found.among_themselves()[0].numpy(), apart, rtol=1e-2, atol=1e-3)


def test_repetitions_count_by_their_median() -> None:
    training, sets = random_sets(6), random_sets(2, seed=1)
    found = gallery(training, repetitions=4, shrinkage=1.0)
    singles = []
    for number in range(4):
        single = gallery(training, shrinkage=1.0)
        single.projections = found.projections[3 * number : 3 * number + 3]
        single.fit(0, training)
        singles.append(single(0, sets))
    torch.testing.assert_close(found(0, sets), torch.stack(singles).quantile(0.5, dim=0))


def test_there_are_16_9_4_and_1_crops_of_the_papers_sides() -> None:
    crops = Crops(1024)
    assert [len(starts) ** 2 for starts in crops.starts] == [16, 9, 4, 1]
    assert crops.sizes == [256, 512, 716, 1013]
    assert crops.boxes[1] == (0, 256, 256)
    assert len(crops.boxes) == 30


def test_a_position_has_the_mean_of_the_crops_that_it_lies_in() -> None:
    crops = Crops(64)
    scores = torch.rand(30, generator=torch.Generator().manual_seed(0))
    maps = crops.maps(scores)
    assert maps.shape == (4, 64, 64)
    first = 0
    for size, starts, found in zip(crops.sizes, crops.starts, maps, strict=True):
        boxes = list(enumerate(crops.boxes))[first : first + len(starts) ** 2]
        first += len(starts) ** 2
        for row, column in ((0, 0), (17, 40), (40, 17), (43, 43)):
            within = [
                float(scores[index])
                for index, box in boxes
                if box.top <= row < box.top + size and box.left <= column < box.left + size
            ]
            assert float(found[row, column]) == pytest.approx(np.mean(within), rel=1e-5)
    assert maps[2, 63, 63] == maps[2, 60, 60] == scores[28]  # what is left out goes with the last crop


def test_an_image_is_padded_by_zeros_and_found_again() -> None:
    size = fitted((300, 600), 64)
    assert size == (32, 64)
    image = torch.rand(1, 3, *size) + 1
    whole = padded(image, 64)
    assert torch.equal(unpadded(whole, size), image)
    assert whole.sum() == pytest.approx(float(image.sum()))
    assert cut(whole, Crops(64).boxes[0], 24).shape == (1, 3, 24, 24)


def test_levels_and_sizes_are_divided_by_their_means_and_pixels_count_a_tenth() -> None:
    model = make("Sinbad", pixel_weight=0.1).model
    images = torch.rand(5, 3, 40, 64, generator=torch.Generator().manual_seed(1))
    model.add(images[:3])
    model.fit()
    model.standardise([images[3:]])
    scores = model.crop_scores(model._resized(images[3:]))
    maps = model.crops.maps(scores)
    scaled = [[maps[level, :, size] / maps[level, :, size].mean() for size in range(4)] for level in range(3)]
    layer3, layer4, pixels = (torch.stack(each).mean(dim=0) for each in scaled)
    whole = unpadded((layer3 + layer4) / 2 + 0.1 * pixels, (40, 64))
    found = model(images[3:])
    torch.testing.assert_close(found.anomaly_map[:, 0], whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.pred_score, whole.amax(dim=(1, 2)), rtol=1e-4, atol=1e-4)


def test_images_keep_their_size_and_masks_get_that_of_the_maps() -> None:
    pre_processor = Sinbad.configure_pre_processor((32, 48))
    batch = SimpleNamespace(image=torch.rand(2, 3, 100, 150), gt_mask=torch.ones(2, 100, 150, dtype=torch.bool))
    pre_processor.on_test_batch_start(None, None, batch, 0)
    assert batch.image.shape == (2, 3, 100, 150)
    assert batch.gt_mask.shape == (2, 32, 48)
    assert batch.gt_mask.all()
    model = Sinbad(backbone="resnet18", pre_trained=False, pre_processor=pre_processor)
    assert model.model.map_size == (32, 48)
    config = pre_processor.checkpoint_config()
    restored = Sinbad.configure_pre_processor()
    assert restored.map_size == (256, 256)
    restored.load_checkpoint_config(config)
    assert restored.map_size == (32, 48)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"shrinkage": 0.0}, "shrinkage must be above 0"), ({"larger_side": 8}, "larger_side must be 32 or more")],
)
def test_options_that_make_no_sense_are_told(arguments: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make("Sinbad", **arguments)


def test_a_single_training_image_is_told() -> None:
    model = make("Sinbad").model
    model.add(torch.rand(1, 3, 64, 64))
    with pytest.raises(UserError, match="two or more; there are 1"):
        model.fit()


def test_pixels_in_another_order_are_the_same_set_and_other_pixels_are_not() -> None:
    training = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1)).flatten(2).transpose(1, 2)
    found = gallery(training, projections=10)
    moved = training[:1].roll(7, dims=1)
    assert float(found(0, moved)[0]) == pytest.approx(0, abs=1e-3)
    assert float(found(0, F.relu(moved - 0.5))[0]) > 0.1
