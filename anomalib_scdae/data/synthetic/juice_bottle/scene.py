# SPDX-License-Identifier: Apache-2.0
"""The bottle as plain data: its measures, its labels, and how a normal one is drawn at random."""

from dataclasses import dataclass, replace

from anomalib_scdae.data.synthetic.scene import Look, Pose, Rng, Scene, draw_seed, pick

SIZE = (800, 1600)
FRUITS = ("banana", "cherry", "orange")
#: The band in which the juice's surface must lie, below the bottle's middle.
LEVEL = (-490.0, -380.0)
#: Where the labelling machine may stand: the range of the upper label's height.
MACHINE = (60.0, 175.0)
#: How far below the upper label the lower one belongs, and by how much the distance may differ.
DISTANCE = 310.0
PLAY = 30.0
#: How far the two labels may be shifted against each other around the bottle. How far the bottle itself is turned, and
#: both labels with it, is left to chance.
ALIGNMENT = 25.0
#: Half the width (along the glass) and height of the two labels.
LABELS = {"fruit": (126.0, 124.0), "text": (118.0, 62.0)}
ICON_REACH = 90.0
#: Paper and frame of the labels that the printer delivers; both labels of a bottle come from one batch.
BATCHES = (
    ((0.80, 0.76, 0.66), (0.16, 0.20, 0.12)),
    ((0.82, 0.83, 0.82), (0.10, 0.14, 0.30)),
    ((0.62, 0.50, 0.34), (0.22, 0.10, 0.05)),
)
#: How far a fruit may be from its label's middle.
ICON_PLAY = 14.0
#: Areas in squared scene units, for the saturation thresholds: a label (bent round the bottle, as it is seen), a fruit.
FRUIT_LABEL_AREA, TEXT_LABEL_AREA, ICON_AREA = 58_400.0, 27_200.0, 10_700.0


@dataclass(frozen=True)
class Label:
    """A label on the bottle.

    Attributes:
        kind: ``"fruit"`` or ``"text"``.
        height: Its centre below the bottle's middle.
        around: How far it is shifted around the bottle; 0 is the front.
        turn: How far it is turned, in radians.
        icon: The fruit that is printed on it; ``None``: no fruit.
        icon_shift: Offset of the fruit from the label's middle.
    """

    kind: str
    height: float
    around: float
    turn: float
    icon: str | None = None
    icon_shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class JuiceBottleScene(Scene):
    """The bottle.

    Attributes:
        bottle: Where it stands; its middle.
        juice: The fruit that the juice is made of; ``None``: the bottle is empty.
        level: The juice's surface below the bottle's middle.
        labels: The labels.
        batch: Which batch the labels come from.
        ripeness: How dark the juice is, -1 to 1.
    """

    bottle: Pose
    juice: str | None
    level: float
    labels: tuple[Label, ...]
    batch: int
    ripeness: float


def sample_label(
    rng: Rng, difficulty: float, kind: str, height: float, around: float, icon: str | None = None
) -> Label:
    """Draw how the labelling machine puts a label on."""
    shift = (float(difficulty * rng.uniform(-7, 7)), float(difficulty * rng.uniform(-7, 7)))
    return Label(
        kind,
        height + float(difficulty * rng.uniform(-13, 13)),
        around + float(difficulty * rng.uniform(-10, 10)),
        float(difficulty * rng.uniform(-0.02, 0.02)),
        icon,
        shift if icon else (0.0, 0.0),
    )


def sample(rng: Rng, difficulty: float) -> JuiceBottleScene:
    """Draw a normal scene."""
    look = Look.sample(rng, difficulty)
    look = replace(look, zoom=look.zoom * float(1 + difficulty * rng.uniform(-0.03, 0.02)))
    bottle = Pose(
        SIZE[0] / 2 + float(difficulty * rng.uniform(-30, 30)),
        825.0 + float(difficulty * rng.uniform(-12, 12)),
        float(difficulty * rng.uniform(-0.012, 0.012)),
    )
    around = float(difficulty * rng.uniform(-35, 35))
    fruit = pick(rng, FRUITS)
    middle, half = sum(LEVEL) / 2, (LEVEL[1] - LEVEL[0]) / 2
    level = middle + min(difficulty, 1.0) * 0.85 * half * float(rng.uniform(-1, 1))
    machine = sum(MACHINE) / 2 + difficulty * float(rng.uniform(-0.5, 0.5)) * (MACHINE[1] - MACHINE[0])
    labels = (
        sample_label(rng, difficulty, "fruit", machine, around, fruit),
        sample_label(rng, difficulty, "text", machine + DISTANCE, around),
    )
    batch = int(rng.integers(len(BATCHES))) if difficulty > 0 else 0
    ripeness = float(difficulty * rng.uniform(-1, 1))
    return JuiceBottleScene(look, draw_seed(rng), None, bottle, fruit, level, labels, batch, ripeness)


def label_of(scene: JuiceBottleScene, kind: str) -> Label:
    """Return the label of a kind, which must be there."""
    return next(label for label in scene.labels if label.kind == kind)
