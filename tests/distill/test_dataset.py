# SPDX-License-Identifier: Apache-2.0
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from anomalib.models.image.efficient_ad.torch_model import MediumPatchDescriptionNetwork, SmallPatchDescriptionNetwork
from torch import Tensor
from torch.nn import functional as F

from anomalib_scdae.distill import dataset
from anomalib_scdae.distill.dataset import RollingCache, random_view, split_images, whole_view
from anomalib_scdae.errors import UserError


def colours(images: Tensor) -> Tensor:
    """Stand in for a backbone: each cell's mean colour, so that a target tells which pixels it belongs to."""
    return F.avg_pool2d(images, 8)


def make_cache(folder: Path, photographs: Path, capacity: int = 6, fresh: int = 2, seed: int = 0) -> RollingCache:
    paths, _ = split_images(photographs, held_out=2)
    return RollingCache(
        folder, paths, colours, channels=3, capacity=capacity, fresh=fresh, seed=seed, identity="colours"
    )


def fill(cache: RollingCache, step: int = 0) -> RollingCache:
    for _ in cache.prepare(step):
        pass
    return cache


@pytest.mark.parametrize("crop", [36, 64, 128, 256])
def test_targets_belong_to_the_crops_insides(tmp_path: Path, photographs: Path, crop: int) -> None:
    """The target of output cell j is the cell under the middle of its receptive field, 16 px from the border."""
    cache = fill(make_cache(tmp_path, photographs))
    batch = cache.batch(step=0, size=8, crop=crop)
    expected = F.avg_pool2d(batch.images, 4)[..., 4:-4, 4:-4]
    torch.testing.assert_close(batch.targets.float(), expected, rtol=0, atol=0.02)
    shifted = F.avg_pool2d(batch.images, 4)[..., 3:-5, 3:-5]
    if crop > 36:
        assert (batch.targets - shifted).abs().max() > (batch.targets - expected).abs().max()


@pytest.mark.parametrize("network", [SmallPatchDescriptionNetwork, MediumPatchDescriptionNetwork])
@pytest.mark.parametrize("crop", [36, 64, 100])
def test_targets_fit_unpadded_outputs(tmp_path: Path, photographs: Path, network: type, crop: int) -> None:
    cache = fill(make_cache(tmp_path, photographs))
    batch = cache.batch(step=3, size=1, crop=crop)
    assert network(3)(batch.images).shape == batch.targets.shape


def test_receptive_field_is_centred_on_the_target() -> None:
    """Output cell j sees pixels 4 j to 4 j + 32; target cell j + 4 covers 4 j + 16 to 4 j + 19: the middle."""
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    SmallPatchDescriptionNetwork(8)(image)[..., 2, 2].sum().backward()
    seen = torch.nonzero(image.grad.abs().sum((0, 1, 2))).flatten()
    assert (seen.min().item(), seen.max().item()) == (8, 40)


def test_split_is_deterministic_and_disjoint(photographs: Path) -> None:
    training, held_out = split_images(photographs, held_out=2)
    assert (training, held_out) == split_images(photographs, held_out=2)
    assert len(held_out) == 2
    assert set(training) | set(held_out) == set(photographs.iterdir())
    assert not set(training) & set(held_out)


def test_views_are_of_the_two_sizes_and_depend_on_the_seed_alone(photographs: Path) -> None:
    path = next(photographs.iterdir())
    first, again, other = random_view(path, 1), random_view(path, 1), random_view(path, 2)
    assert first.backbone.shape == (3, 512, 512)
    assert first.teacher.shape == (3, 256, 256)
    assert torch.equal(first.backbone, again.backbone)
    assert not torch.equal(first.backbone, other.backbone)


def test_some_views_are_gray_some_flipped_some_whole(photographs: Path) -> None:
    path = sorted(photographs.iterdir())[0]
    whole = whole_view(path).teacher
    views = [random_view(path, seed).teacher for seed in range(60)]
    gray = sum(bool((view[0] == view[1]).all()) for view in views)
    same = sum(torch.equal(view, whole) for view in views)
    assert 1 <= gray <= 15
    assert 5 <= same <= 25
    assert any((view.flip(-1).int() - whole.int()).abs().max() <= 1 for view in views)


def test_each_photograph_comes_once_before_any_comes_again(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    original = dataset.random_view
    monkeypatch.setattr(dataset, "random_view", lambda path, seed: seen.append(path) or original(path, seed))
    cache = fill(make_cache(tmp_path, photographs, capacity=4, fresh=2))
    assert len(cache.paths) == 4
    cache.advance(0)
    cache.advance(1)
    assert set(Counter(seen).values()) == {2}
    assert set(seen[:4]) == set(cache.paths)


@pytest.mark.filterwarnings("ignore:A photograph is passed over")
def test_a_photograph_that_cannot_be_read_is_passed_over(tmp_path: Path, photographs: Path) -> None:
    """The same one takes its place in a run that is resumed; without any photograph a sentence says so."""
    shutil.copytree(photographs, tmp_path / "photographs")
    caches = [make_cache(tmp_path / name, tmp_path / "photographs", capacity=4) for name in ("whole", "resumed")]
    broken = caches[0].paths[1]
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.warns(UserWarning, match=f"passed over: .*{broken.name}") as told:
        whole, resumed = map(fill, caches)
    assert len(told) == 2  # once each
    for name in ("numbers", "images", "targets"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    assert (np.asarray(whole.numbers) > 0).all()
    for path in whole.paths:
        path.unlink()
    with pytest.raises(UserError, match="cannot be read any more: put them back"):
        whole.advance(0)


def test_features_beyond_half_precision_are_told(tmp_path: Path, photographs: Path) -> None:
    cache = make_cache(tmp_path, photographs)
    cache.features = lambda images: 1e6 * colours(images)
    with pytest.raises(UserError, match=r"too large for half precision.*--layers"):
        fill(cache)


def test_resumed_cache_equals_an_uninterrupted_one(tmp_path: Path, photographs: Path) -> None:
    """Files behind, ahead, or partly lost are brought to exactly the state that the step needs."""
    whole = fill(make_cache(tmp_path / "whole", photographs))
    ahead = fill(make_cache(tmp_path / "resumed", photographs))
    for step in range(2):
        whole.advance(step)
    for step in range(4):
        ahead.advance(step)
    ahead.numbers[1] = 0  # as a kill in the middle of a write leaves it
    ahead.images[1] = 0
    resumed = fill(make_cache(tmp_path / "resumed", photographs), step=2)
    for name in ("numbers", "images", "targets"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    assert torch.equal(resumed.batch(2, 4, 64).targets, whole.batch(2, 4, 64).targets)


def test_intact_views_are_not_made_again(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(make_cache(tmp_path, photographs))
    monkeypatch.setattr(RollingCache, "_store", lambda *_: pytest.fail("an intact view was made again"))
    fill(make_cache(tmp_path, photographs))


def test_cache_of_other_options_is_not_used(tmp_path: Path, photographs: Path) -> None:
    fill(make_cache(tmp_path / "used", photographs, seed=0))
    other, new = (fill(make_cache(tmp_path / name, photographs, seed=1)) for name in ("used", "new"))
    np.testing.assert_array_equal(other.targets, new.targets)


def test_removing_the_cache_leaves_other_files(tmp_path: Path, photographs: Path) -> None:
    (tmp_path / "mine.txt").touch()
    fill(make_cache(tmp_path, photographs)).remove()
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]
    fill(make_cache(tmp_path / "own", photographs)).remove()
    assert not (tmp_path / "own").exists()


def test_statistics_are_those_of_all_cells(tmp_path: Path, photographs: Path) -> None:
    cache = fill(make_cache(tmp_path, photographs))
    cells = torch.from_numpy(np.asarray(cache.targets)).double().flatten(0, 2)
    mean, std = cache.statistics()
    torch.testing.assert_close(mean, cells.mean(0).float())
    torch.testing.assert_close(std, cells.std(0, unbiased=False).float())


@pytest.mark.parametrize(("content", "held_out"), [([], 1), (["a.txt"], 1), (["a.png", "b.jpg"], 2)])
def test_too_few_images_are_refused(tmp_path: Path, content: list[str], held_out: int) -> None:
    for name in content:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="too few"):
        split_images(tmp_path, held_out)
    with pytest.raises(UserError, match="too few"):
        split_images(tmp_path / "absent", held_out)


def test_damaged_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken\.png cannot be read"):
        whole_view(tmp_path / "broken.png")
