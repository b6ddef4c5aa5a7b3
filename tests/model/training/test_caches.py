# SPDX-License-Identifier: Apache-2.0
"""What is kept in memory equals what is computed or read anew."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from anomalib.data import AnomalibDataset, Folder, ImageItem, MVTecLOCO
from anomalib.engine import Engine
from anomalib.pre_processing import PreProcessor
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import Compose, RandomHorizontalFlip, Resize, Transform

from anomalib_scdae import SCDAE
from anomalib_scdae.model.torch_model import SCDAEModel
from anomalib_scdae.model.training.image_cache import (
    CachedImages,
    ImageCache,
    always_gives_the_same_images,
    is_repeatable,
)
from anomalib_scdae.model.training.teacher_cache import TeacherCache
from anomalib_scdae.model.training.training_set import gives_images_as_read, spread_over_training
from tests.conftest import CHANNELS

pytestmark = pytest.mark.usefixtures("narrow_networks")

PLENTY = 2**30


@pytest.fixture(params=["loco", "folder"])
def dataset(request: pytest.FixtureRequest, loco_root: Path) -> AnomalibDataset:
    part = loco_root / "part"
    if request.param == "loco":
        data: MVTecLOCO | Folder = MVTecLOCO(root=loco_root, category="part", num_workers=0)
    else:
        data = Folder("part", normal_dir=part / "train/good", abnormal_dir=part / "test/logical_anomalies")
    data.setup()
    data.train_data.augmentations = Resize((256, 272), antialias=True)
    return data.train_data


def assert_same_items(found: object, expected: object) -> None:
    for field in ("image", "gt_mask", "gt_label"):
        mine, other = getattr(found, field), getattr(expected, field)
        if other is None:
            assert mine is None
            continue
        assert type(mine) is type(other)
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    assert found.image_path == expected.image_path
    assert found.mask_path == expected.mask_path or (found.mask_path is expected.mask_path)


def test_a_cached_item_equals_the_one_that_is_read(dataset: object, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [dataset[index] for index in range(len(dataset))]
    cached = CachedImages.wrap(dataset, PLENTY, workers=0)
    first = [cached[index] for index in range(len(cached))]
    monkeypatch.setattr(type(dataset), "__getitem__", None)  # nothing is read any more
    for found in (first, [cached[index] for index in range(len(cached))]):
        for mine, other in zip(found, expected, strict=True):
            assert_same_items(mine, other)
    cached[0].image.zero_()  # what a reader does to an item stays with the reader
    assert_same_items(cached[0], expected[0])


def test_worker_processes_share_what_they_read(dataset: object) -> None:
    cached = CachedImages.wrap(dataset, PLENTY, workers=2)
    with isolate_rng():
        for _ in DataLoader(cached, num_workers=2, collate_fn=cached.collate_fn):
            pass
    assert cached._read.all()
    for index in range(len(dataset)):
        assert_same_items(cached[index], dataset[index])


def test_new_augmentations_are_not_ignored(dataset: object) -> None:
    cached = CachedImages.wrap(dataset, PLENTY, workers=0)
    assert cached[0].image.shape[-2:] == (256, 272)
    cached.augmentations = Resize((300, 256), antialias=True)
    assert cached[0].image.shape[-2:] == cached[0].image.shape[-2:] == (300, 256)


def test_nothing_is_kept_that_does_not_fit_or_may_change(dataset: object) -> None:
    size = 3 * 256 * 272 * 4
    assert CachedImages.wrap(dataset, size * len(dataset), workers=0).nbytes == size * len(dataset)
    assert CachedImages.wrap(dataset, size * len(dataset) - 1, workers=0) is None
    assert CachedImages.wrap(dataset, 0, workers=0) is None
    dataset.augmentations = Compose([RandomHorizontalFlip(), Resize((256, 256))])
    assert not always_gives_the_same_images(dataset)
    assert CachedImages.wrap(dataset, PLENTY, workers=0) is None
    dataset.augmentations = None  # images of their own sizes, but always the same
    assert always_gives_the_same_images(dataset)
    assert CachedImages.wrap(dataset, PLENTY, workers=0) is None
    dataset._samples = dataset._samples.iloc[[0, 0]]
    assert not always_gives_the_same_images(dataset)


def test_items_that_hold_more_than_an_image_are_not_kept(dataset: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those with depth, whose batches would lack it."""

    class DepthItem(ImageItem):
        pass

    read = type(dataset).__getitem__

    def with_depth(self: AnomalibDataset, index: int) -> DepthItem:
        return DepthItem(**vars(read(self, index)))

    with_depth.__module__ = read.__module__
    monkeypatch.setattr(type(dataset), "__getitem__", with_depth)
    assert always_gives_the_same_images(dataset)
    assert CachedImages.wrap(dataset, PLENTY, workers=0) is None


def test_what_changes_images_behind_the_dataset_is_noticed(loco_root: Path) -> None:
    """Features that are kept by an image's path would be those of another picture."""

    class Augmenting(MVTecLOCO):
        def on_after_batch_transfer(self, batch: object, dataloader_idx: int) -> object:
            del dataloader_idx
            return batch

    def trainer_of(data: MVTecLOCO) -> Any:
        return SimpleNamespace(datamodule=data, train_dataloader=data.train_dataloader(), lightning_module=SCDAE())

    plain, augmenting = (kind(root=loco_root, category="part", num_workers=0) for kind in (MVTecLOCO, Augmenting))
    for data in (plain, augmenting):
        data.setup()
    assert gives_images_as_read(trainer_of(plain))
    assert not gives_images_as_read(trainer_of(augmenting))
    loaders_alone = trainer_of(plain)
    loaders_alone.datamodule = None
    assert gives_images_as_read(loaders_alone)
    plain.external_collate_fn = list
    assert not gives_images_as_read(trainer_of(plain))
    loaders_alone.train_dataloader = plain.train_dataloader()
    assert not gives_images_as_read(loaders_alone)


def test_images_that_stand_in_are_collated_as_those_of_the_training(loco_root: Path) -> None:
    data = MVTecLOCO(root=loco_root, category="part", num_workers=0)
    data.setup()
    data.external_collate_fn = lambda items: ["collated", *(item.image_path for item in items)]
    for loader in (data.train_dataloader(), None):
        trainer: Any = SimpleNamespace(datamodule=data, train_dataloader=loader)
        assert [batch[0] for batch in spread_over_training(trainer, 2)] == ["collated"] * 2


def test_datasets_of_others_are_read_anew(dataset: object) -> None:
    class Own(type(dataset)):
        def __getitem__(self, index: int) -> object:
            return super().__getitem__(index)

    dataset.__class__ = Own
    assert not always_gives_the_same_images(dataset)
    assert CachedImages.wrap(dataset, PLENTY, workers=0) is None


def test_repeatable_transforms() -> None:
    assert is_repeatable(None)
    assert is_repeatable(Compose([Resize(3), Compose([Resize(4)])]))
    assert not is_repeatable(RandomHorizontalFlip())


def test_teacher_features_are_computed_once_an_image() -> None:
    seen = []

    def compute(images: torch.Tensor) -> torch.Tensor:
        seen.extend(images[:, 0, 0, 0].tolist())
        return images * 3

    cache = TeacherCache(compute, lambda features: features - 1, count=3)
    images = torch.rand(4, 3, 5, 6)
    first = cache(["a", "b", "a"], images[[0, 1, 0]])
    second = cache(["c", "b"], images[[2, 1]])
    assert len(cache) == 3
    assert seen == images[:3, 0, 0, 0].tolist()
    torch.testing.assert_close(first, images[[0, 1, 0]] * 3 - 1, rtol=0, atol=3 * 2**-11)
    torch.testing.assert_close(second[1], first[1], rtol=0, atol=0)
    assert second.dtype == torch.float32


def test_teacher_features_are_found_under_autocast() -> None:
    cache, images = TeacherCache(lambda images: images * 3, lambda features: features, count=2), torch.rand(2, 3, 5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        found = cache(["a", "b"], images)
    torch.testing.assert_close(found, images * 3, rtol=2**-11, atol=0)


@torch.no_grad()
def test_features_of_the_pass_for_the_statistics_are_those_of_a_resumed_training(dataset: AnomalibDataset) -> None:
    """To the last bit, whatever batches the images come in, before and after the statistics are known."""
    torch.manual_seed(0)
    model = SCDAEModel(teacher_out_channels=CHANNELS)
    batch = dataset.collate_fn([dataset[index] for index in range(3)])
    cache, resumed = (TeacherCache(model.teacher, model.normalised, count=3) for _ in range(2))
    torch.testing.assert_close(cache.described(batch, batch.image), model.teacher(batch.image))
    model.teacher_mean.fill_(0.25)
    model.teacher_std.fill_(0.5)
    assert len(cache) == 3
    kept = cache.of(batch)
    for index, path in enumerate(batch.image_path):
        torch.testing.assert_close(resumed([str(path)], batch.image[index : index + 1])[0], kept[index], rtol=0, atol=0)
    torch.testing.assert_close(kept, model.teacher_features(batch.image), rtol=2**-10, atol=2**-10)


def test_float16_is_refused_where_it_rounds_too_much() -> None:
    mean, std = torch.tensor([0.0, -4.0]), torch.tensor([1.0, 0.5])
    assert TeacherCache.is_precise(mean, std)
    assert not TeacherCache.is_precise(mean * 10, std)
    assert not TeacherCache.is_precise(mean * 1e-5, std * 1e-5)
    assert not TeacherCache.is_precise(mean * 1e4, std * 1e4)


@torch.no_grad()
def test_losses_with_known_teacher_features_equal_those_without() -> None:
    torch.manual_seed(0)
    model = SCDAEModel(teacher_out_channels=CHANNELS)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    images, augmented, penalty = torch.rand(3, 1, 3, 256, 256)
    plain = model.losses(images, augmented, penalty)
    exact = model.losses(images, augmented, penalty, model.teacher_features(images))
    cache = TeacherCache(model.teacher, model.normalised, count=1)
    cached = model.losses(images, augmented, penalty, cache(["a"], images))
    for name, value in plain.items():
        torch.testing.assert_close(exact[name], value)
        torch.testing.assert_close(cached[name], value, rtol=1e-3, atol=1e-6)


class _Watch(Callback):
    """Notes every step's loss, and how much the caches hold at the last one."""

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.reads_from_memory: bool | None = None
        self.described_before: int | None = None

    def on_train_batch_start(self, trainer: object, pl_module: SCDAE, *_: object) -> None:
        if self.described_before is None and pl_module._teacher_cache is not None:
            self.described_before = len(pl_module._teacher_cache)

    def on_train_batch_end(self, trainer: object, pl_module: SCDAE, *_: object) -> None:
        self.losses.append(trainer.callback_metrics["train_loss"].clone())
        cache, dataset = pl_module._teacher_cache, trainer.datamodule.train_data
        self.features = len(cache) if cache is not None else None
        self.images = int(dataset._read.sum()) if isinstance(dataset, CachedImages) else None
        self.reads_from_memory = isinstance(trainer.train_dataloader.dataset, CachedImages)

    def on_validation_end(self, trainer: object, pl_module: SCDAE) -> None:
        dataset = trainer.datamodule.val_data
        self.validation_images = int(dataset._read.sum()) if isinstance(dataset, CachedImages) else None
        self.quantiles = pl_module.model.anomaly_map.upper.clone()


@pytest.mark.slow
@pytest.mark.parametrize("length", [{"max_steps": 8}, {"max_epochs": 2}], ids=["steps", "epochs"])
def test_training_sees_the_same_with_and_without_caches(
    length: dict, loco_root: Path, model_arguments: dict, tmp_path: Path
) -> None:
    watches = []
    for gib in (0.0, 0.1):
        seed_everything(3)
        data = MVTecLOCO(root=loco_root, category="part", train_batch_size=1, num_workers=0)
        watch = _Watch()
        # With a learning rate of zero the losses tell nothing but what training has seen.
        model = SCDAE(**model_arguments, cache_gib=gib, lr=0.0)
        engine = Engine(
            default_root_dir=tmp_path, accelerator="cpu", callbacks=[watch], enable_progress_bar=False, **length
        )  # fmt: skip
        engine.fit(model, datamodule=data)
        assert not isinstance(data.train_data, CachedImages)
        assert not isinstance(data.val_data, CachedImages)
        assert model._teacher_cache is None
        watches.append(watch)
    plain, cached = watches
    assert (plain.features, plain.images, plain.validation_images) == (None, None, None)
    assert (cached.features, cached.images) == (4, 4)
    assert (plain.reads_from_memory, cached.reads_from_memory) == (False, True)
    assert (plain.described_before, cached.described_before) == (None, 4)  # by the pass for the statistics
    assert cached.validation_images == len(data.val_data) > 0
    torch.testing.assert_close(cached.quantiles, plain.quantiles, rtol=0, atol=0)
    torch.testing.assert_close(torch.stack(cached.losses), torch.stack(plain.losses), rtol=1e-3, atol=0)


def test_features_are_kept_only_where_they_fit_and_stay_the_same(loco_root: Path) -> None:
    data = MVTecLOCO(root=loco_root, category="part", num_workers=0)
    data.setup()
    model, dataset = SCDAEModel(teacher_out_channels=4), data.train_data
    room = 4 * 56 * 60 * 2 * len(dataset)

    def is_kept(room: int, *more: Transform) -> bool:
        pre_processor = PreProcessor(Compose([*more, Resize((256, 272))]))
        return TeacherCache.fitting(model, (256, 272), dataset, pre_processor, room) is not None

    assert is_kept(room)
    assert not is_kept(room - 1)
    assert not is_kept(2 * room, RandomHorizontalFlip())


def test_both_caches_share_one_limit(loco_root: Path) -> None:
    data = MVTecLOCO(root=loco_root, category="part", num_workers=0)
    data.setup()
    data.train_data.augmentations = data.val_data.augmentations = Resize((256, 256))
    size, trainer = 3 * 256 * 256 * 4, SimpleNamespace(datamodule=data, fit_loop=SimpleNamespace())
    trained, validated = len(data.train_data), len(data.val_data)
    for images, is_kept in ((trained + validated, True), (trained + validated - 1, False)):
        cache = ImageCache(images * size / 2**30)
        cache.on_fit_start(trainer, None)
        assert isinstance(data.train_data, CachedImages)
        assert isinstance(data.val_data, CachedImages) is is_kept
        assert cache.room(trainer) == (0 if is_kept else (validated - 1) * size)
        cache.on_fit_end(trainer, None)
