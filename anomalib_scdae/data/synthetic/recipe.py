# SPDX-License-Identifier: Apache-2.0
"""What decides every byte of a rendered category, and nothing else."""

from dataclasses import asdict, dataclass
from typing import Any

from anomalib_scdae.data.synthetic import CATEGORIES, load_category
from anomalib_scdae.errors import UserError

#: Numbers of images: train, validation, and of the test split good, logical and structural.
PRESETS = {"full": (350, 60, 100, 100, 100), "small": (24, 8, 8, 16, 16)}
_SMALLEST, _LARGEST = 128, 4096


@dataclass(frozen=True)
class Recipe:
    """A category to render.

    Attributes:
        category: One of the five products of MVTec LOCO.
        train: Number of normal training images.
        validation: Number of normal validation images.
        good: Number of normal test images.
        logical: Number of test images with a logical anomaly.
        structural: Number of test images with a structural anomaly.
        long_side: Longer side of the images in pixels; the shorter one follows from the category.
        seed: Another seed gives other images of the same kind.
        difficulty: How far poses, parts and light stray from nominal; 1 is what the rules allow.

    Raises:
        UserError: If a value makes no sense.
    """

    category: str
    train: int = PRESETS["full"][0]
    validation: int = PRESETS["full"][1]
    good: int = PRESETS["full"][2]
    logical: int = PRESETS["full"][3]
    structural: int = PRESETS["full"][4]
    long_side: int = 512
    seed: int = 0
    difficulty: float = 1.0

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES:
            msg = f"SyntheticLOCO has no category {self.category!r}; choose one of {', '.join(CATEGORIES)}."
            raise UserError(msg)
        for name in ("train", "validation", "good", "logical", "structural", "seed"):
            if getattr(self, name) < 0:
                msg = (
                    f"SyntheticLOCO cannot render {getattr(self, name)} as {name}; give a number that is not negative."
                )
                raise UserError(msg)
        if self.train == 0 or self.good + self.logical + self.structural == 0:
            msg = "SyntheticLOCO needs at least one training and one test image; raise the numbers of images."
            raise UserError(msg)
        if not _SMALLEST <= self.long_side <= _LARGEST:
            msg = f"SyntheticLOCO renders {_SMALLEST} to {_LARGEST} pixels along the longer side, not {self.long_side}."
            raise UserError(msg)
        if not 0 <= self.difficulty <= 1:
            msg = f"SyntheticLOCO's difficulty lies between 0 and 1, not at {self.difficulty}."
            raise UserError(msg)

    @classmethod
    def from_preset(cls, category: str, preset: str, **changes: Any) -> "Recipe":
        """Take the numbers of images from a preset; every change that is not ``None`` replaces a value."""
        if preset not in PRESETS:
            msg = f"SyntheticLOCO has no preset {preset!r}; choose one of {', '.join(PRESETS)}."
            raise UserError(msg)
        values = dict(zip(("train", "validation", "good", "logical", "structural"), PRESETS[preset], strict=True))
        return cls(category, **{**values, **{name: value for name, value in changes.items() if value is not None}})

    @property
    def version(self) -> int:
        """What else decides the images: how this package renders the category."""
        return load_category(self.category).version

    @property
    def manifest(self) -> dict[str, Any]:
        """What is written beside the images, so that they can be recognised."""
        return {"generator": "anomalib_scdae.SyntheticLOCO", "version": self.version, "recipe": asdict(self)}
