# SPDX-License-Identifier: Apache-2.0
"""Photographs, their random views, and the rolling cache of views with their target features."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as TF

from anomalib_scdae.distill.backbone import INPUT_SIZE, TARGET_STRIDE
from anomalib_scdae.errors import UserError
from anomalib_scdae.image_files import iterate_images, opened

#: Side of the teacher's input in pixels: half of the backbone's.
TEACHER_SIZE = INPUT_SIZE // 2
#: Stride of a PDN's output in pixels of its input.
STRIDE = TARGET_STRIDE // 2
#: Cells of the target grid that an unpadded PDN leaves out on each side: (256 / 4 - 56) / 2.
MARGIN = 4
#: A PDN's receptive field is 33 px, so smaller crops than this have no cell.
SMALLEST_CROP = 36
#: File that says what a cache's other files are of.
IDENTITY = "identity.txt"
#: So many photographs in a row that cannot be read are no damaged files: the folder is gone.
MOST_UNREADABLE = 20


class View(NamedTuple):
    """One view of a photograph at both sizes: ``[3, 512, 512]`` and ``[3, 256, 256]``, uint8."""

    backbone: Tensor
    teacher: Tensor


def split_images(folder: Path, held_out: int, seed: int = 0) -> tuple[list[Path], list[Path]]:
    """Find the photographs below ``folder`` and hold some out.

    Args:
        folder: Folder of photographs; subfolders are searched too.
        held_out: Number of photographs for validation.
        seed: Of the draw; the names' order is fixed, so the same folder gives the same split everywhere.

    Returns:
        Paths for training and for validation.

    Raises:
        UserError: If the folder is missing or holds too few photographs.
    """
    paths = sorted(folder / name for name in iterate_images(folder))
    if len(paths) <= held_out:
        msg = (
            f"{folder} holds {len(paths)} images, which is too few with {held_out} held out for validation: "
            "check --images, or lower --validation_images."
        )
        raise UserError(msg)
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(seed)).tolist()
    return [paths[i] for i in sorted(order[held_out:])], [paths[i] for i in sorted(order[:held_out])]


def whole_view(path: Path) -> View:
    """Read the whole photograph, resized to squares: what validation sees."""
    return _resized(_read(path))


def random_view(path: Path, seed: int) -> View:
    """Draw a view: half of them whole, half cropped; half of them flipped; one in ten gray, as in the paper."""
    draw = torch.Generator().manual_seed(seed)
    image = _read(path)
    whole, flip, gray = torch.rand(3, generator=draw).tolist()
    if whole >= 0.5:
        image = _random_crop(image, draw)
    if flip < 0.5:
        image = TF.horizontal_flip(image)
    if gray < 0.1:
        image = TF.rgb_to_grayscale(image, num_output_channels=3)
    return _resized(image)


def _random_crop(image: Tensor, draw: Generator) -> Tensor:
    """Cut out 35 % to 100 % of the area, with the photograph's own proportions up to a fifth."""
    height, width = image.shape[-2:]
    area, stretch, top, left = torch.rand(4, generator=draw).tolist()
    area, stretch = 0.35 + 0.65 * area, 0.8 * 1.5625**stretch
    rows = min(height, round(height * (area * stretch) ** 0.5))
    columns = min(width, round(width * (area / stretch) ** 0.5))
    return TF.crop(image, round(top * (height - rows)), round(left * (width - columns)), rows, columns)


def _read(path: Path) -> Tensor:
    with opened(path) as image:
        return TF.pil_to_tensor(image.convert("RGB"))


def _resized(image: Tensor) -> View:
    return View(*(TF.resize(image, [side, side], antialias=True) for side in (INPUT_SIZE, TEACHER_SIZE)))


class CropBatch(NamedTuple):
    """Crops ``[B, 3, S, S]`` in [0, 1] and the raw features ``[B, C, S / 4 - 8, S / 4 - 8]`` of their insides."""

    images: Tensor
    targets: Tensor


def holds_views(folder: Path) -> bool:
    """Tell whether a :class:`RollingCache` has left its files in a folder."""
    return (folder / IDENTITY).is_file()


class RollingCache:
    """The latest ``capacity`` views of an endless stream, with their features, in files.

    Neither the backbone nor the decoder keeps up with a small teacher, so every view serves several steps before a
    newer one takes its place. View ``n`` of the stream and the batch of step ``s`` depend on nothing but
    ``(seed, n)`` and ``(seed, s)``: a resumed run sees what an uninterrupted one would have seen.

    Args:
        folder: For the two arrays and the list of what they hold.
        paths: The photographs.
        features: Maps ``[B, 3, 512, 512]`` in [0, 1] to ``[B, C, 64, 64]``.
        channels: ``C``.
        capacity: Number of views kept (3.3 MB each for 384 channels); a multiple of ``fresh``.
        fresh: Number of new views a step.
        seed: Of views and batches.
        identity: Of photographs and backbone; files of another identity are not used again.
    """

    def __init__(
        self,
        folder: Path,
        paths: list[Path],
        features: Callable[[Tensor], Tensor],
        *,
        channels: int,
        capacity: int,
        fresh: int,
        seed: int,
        identity: str,
    ) -> None:
        self.paths, self.features, self.capacity, self.fresh, self.seed = paths, features, capacity, fresh, seed
        self.order = lru_cache(maxsize=2)(self._order)
        self.files = {name: folder / name for name in ("features.f16", "images.u8", "numbers.i64", IDENTITY)}
        self._unreadable: set[Path] = set()
        self.channels, self.identity = channels, f"{identity} {channels} {capacity} {fresh} {seed}"

    def _open(self) -> None:
        """Open the arrays, empty ones unless there are some of the same identity."""
        self.files[IDENTITY].parent.mkdir(parents=True, exist_ok=True)
        mode: Literal["r+", "w+"] = "r+" if self._present() else "w+"
        if mode == "w+":  # first of all, so that half of a new cache never passes for the one before
            self.files[IDENTITY].unlink(missing_ok=True)
        grid = TEACHER_SIZE // STRIDE
        shape = (self.capacity, grid, grid, self.channels)
        self.targets = np.memmap(self.files["features.f16"], np.float16, mode, shape=shape)
        shape = (self.capacity, TEACHER_SIZE, TEACHER_SIZE, 3)
        self.images = np.memmap(self.files["images.u8"], np.uint8, mode, shape=shape)
        # Numbers start from 1, so that a new file (all zeros) holds no view.
        self.numbers = np.memmap(self.files["numbers.i64"], np.int64, mode, shape=(self.capacity,))
        self.files[IDENTITY].write_text(self.identity)

    def _present(self) -> bool:
        path = self.files[IDENTITY]
        return all(file.is_file() for file in self.files.values()) and path.read_text() == self.identity

    def prepare(self, step: int) -> Iterator[int]:
        """Bring the cache to where step ``step`` needs it, yielding the number of views done as it goes.

        After a kill the files may be ahead of the checkpoint or lack the last writes; only such views are made again.
        """
        self._open()
        last = self.capacity + step * self.fresh
        for done, first in enumerate(range(last - self.capacity, last, self.fresh)):
            numbers = np.arange(first, first + self.fresh)
            if not np.array_equal(self.numbers[numbers % self.capacity], numbers + 1):
                self._store(numbers)
            yield (done + 1) * self.fresh

    def advance(self, step: int) -> None:
        """Replace the oldest views by those that come into the cache after step ``step``."""
        self._store(np.arange(self.fresh) + self.capacity + step * self.fresh)

    def _store(self, numbers: np.ndarray) -> None:
        views = [self._view(int(number)) for number in numbers]
        features = self.features(torch.stack([view.backbone for view in views]).float() / 255)
        slots = numbers % self.capacity
        self.numbers[slots] = 0
        self.targets[slots] = halves = features.permute(0, 2, 3, 1).half().cpu().numpy()
        if not np.isfinite(halves).all():
            msg = (
                "The backbone's features are too large for half precision, or not numbers: take other --layers, or "
                "check its weights and --mean and --std."
            )
            raise UserError(msg)
        self.images[slots] = torch.stack([view.teacher for view in views]).permute(0, 2, 3, 1).numpy()
        self.numbers[slots] = numbers + 1

    def _view(self, number: int) -> View:
        """Make view ``number``; every photograph comes once before any comes again.

        Where one cannot be read, the next one of the epoch takes its place: a run of hours is worth more than that.
        """
        epoch, position = divmod(number, len(self.paths))
        order = self.order(epoch)
        for offset in range(min(len(order), MOST_UNREADABLE)):
            path = self.paths[int(order[(position + offset) % len(order)])]
            try:
                return random_view(path, _generator(self.seed, 2, number).initial_seed())
            except UserError as error:
                if path not in self._unreadable:
                    rank_zero_warn(f"A photograph is passed over: {error}")
                self._unreadable.add(path)
        msg = f"Photographs such as {path} cannot be read any more: put them back and go on with --resume."
        raise UserError(msg)

    def _order(self, epoch: int) -> Tensor:
        return torch.randperm(len(self.paths), generator=_generator(self.seed, 1, epoch))

    def remove(self) -> None:
        """Delete the cache's files, and the folder if nothing else is in it."""
        folder = self.files[IDENTITY].parent
        for path in self.files.values():
            path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Compute mean and standard deviation of every feature channel over the cache, ``[C]`` each."""
        total = square = torch.zeros(self.targets.shape[-1], dtype=torch.float64)
        for features in self.targets:
            cells = torch.from_numpy(np.asarray(features)).double().flatten(0, 1)
            total, square = total + cells.mean(0), square + cells.square().mean(0)
        mean = total / self.capacity
        std = (square / self.capacity - mean.square()).clamp(min=0).sqrt()
        return mean.float(), std.float().clamp(min=1e-6)

    def batch(self, step: int, size: int, crop: int) -> CropBatch:
        """Draw the batch of a step: ``size`` squares of side ``crop`` pixels, from different views if possible."""
        draw = _generator(self.seed, 3, step)
        slots = torch.randperm(self.capacity, generator=draw).repeat(-(-size // self.capacity))[:size].tolist()
        cells = (TEACHER_SIZE - crop) // STRIDE + 1
        corners = torch.randint(cells, (size, 2), generator=draw).tolist()
        images, targets = [], []
        for slot, (row, column) in zip(slots, corners, strict=True):
            y, x, inside = row * STRIDE, column * STRIDE, crop // STRIDE - 2 * MARGIN
            images.append(self.images[slot, y : y + crop, x : x + crop])
            y, x = row + MARGIN, column + MARGIN
            targets.append(self.targets[slot, y : y + inside, x : x + inside])
        return CropBatch(
            torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255,
            torch.from_numpy(np.stack(targets)).permute(0, 3, 1, 2),
        )


def _generator(*key: int) -> Generator:
    """Make a generator that depends on the whole key, not on what was drawn before."""
    return torch.Generator().manual_seed(
        int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    )
