# SPDX-License-Identifier: Apache-2.0
"""The box as plain data: its measures, its parts, and how a normal one is drawn at random."""

from dataclasses import dataclass

import numpy as np

from anomalib_scdae.data.synthetic.scene import Look, Pose, Rng, Scene, draw_seed, pick

SIZE = (1600, 1280)
#: Half the width and height of the box, and of its inside; the divider's place.
BOX_U, BOX_V = 735.0, 575.0
IN_U, IN_V = 690.0, 530.0
DIVIDER, DIVIDER_HALF = -40.0, 13.0
#: Half the width of the compartments for fruit and for cereals.
FRUIT_HALF = (DIVIDER - DIVIDER_HALF + IN_U) / 2
CEREAL_HALF = (IN_U - DIVIDER - DIVIDER_HALF) / 2
TANGERINE, NECTARINE = 158.0, 176.0
# Areas in squared scene units, for the saturation thresholds.
TANGERINE_AREA, NECTARINE_AREA = np.pi * TANGERINE**2, np.pi * NECTARINE**2
#: Height of the cereals as a share of the compartment's, and how much of the compartment is filled.
RATIO = (0.50, 0.62)
FILLING = (0.96, 1.03)
#: Share of almonds among the pieces of the toppings.
ALMONDS = (0.40, 0.70)


@dataclass(frozen=True)
class Fruit:
    """A tangerine or a nectarine; its pose is relative to the middle of its compartment."""

    kind: str
    pose: Pose
    radius: float
    seed: int


@dataclass(frozen=True)
class BreakfastBoxScene(Scene):
    """The box.

    Attributes:
        box: Where it stands.
        mirrored: Whether fruit and cereals have changed sides.
        fruits: The fruit.
        cereals: Whether there are cereals.
        toppings: Kinds of toppings that there are, of ``"almonds"`` and ``"bananas"``.
        ratio: Height of the cereals as a share of the compartment's height.
        filling: Share of the compartment that is filled; above 1 it overflows.
        almonds: Share of almonds among the toppings' pieces.
    """

    box: Pose
    mirrored: bool
    fruits: tuple[Fruit, ...]
    cereals: bool
    toppings: frozenset[str]
    ratio: float
    filling: float
    almonds: float


# The places of up to four fruits in their compartment, before variation.
_PLACES = {
    1: ((0.0, 0.0),),
    2: ((-70.0, -250.0), (70.0, 200.0)),
    3: ((-110.0, -330.0), (105.0, -20.0), (-95.0, 310.0)),
    4: ((-125.0, -355.0), (122.0, -150.0), (-120.0, 130.0), (110.0, 350.0)),
}


def place_fruits(kinds: list[str], rng: Rng, difficulty: float) -> tuple[Fruit, ...]:
    """Lay fruits into their compartment so that they touch at most a little."""
    if not kinds:
        return ()
    flip_u, flip_v = (pick(rng, (-1, 1)), pick(rng, (-1, 1))) if difficulty > 0 else (1, 1)
    order = [kinds[index] for index in rng.permutation(len(kinds))] if difficulty > 0 else kinds
    spots = np.array(_PLACES[len(kinds)]) * (flip_u, flip_v)
    spots = spots + difficulty * rng.uniform(-1, 1, spots.shape) * (36, 34)
    base = {"tangerine": TANGERINE, "nectarine": NECTARINE}
    radii = np.array([base[kind] * (1 + 0.05 * difficulty * rng.uniform(-1, 1)) for kind in order])
    for _ in range(40):
        for one in range(len(spots)):
            for other in range(one):
                apart = spots[one] - spots[other]
                distance = max(float(np.hypot(*apart)), 1e-6)
                push = max(0.0, 0.97 * (radii[one] + radii[other]) - distance) / 2
                spots[one] += push * apart / distance
                spots[other] -= push * apart / distance
        room = np.stack([FRUIT_HALF - 0.94 * radii, IN_V - 0.94 * radii], axis=-1)
        spots = np.clip(spots, -room, room)
    return tuple(
        Fruit(kind, Pose(float(x), float(y), float(rng.uniform(-np.pi, np.pi))), float(radius), draw_seed(rng))
        for kind, (x, y), radius in zip(order, spots, radii, strict=True)
    )


def sample(rng: Rng, difficulty: float) -> BreakfastBoxScene:
    """Draw a normal scene."""
    look = Look.sample(rng, difficulty)
    place = Pose(
        float(SIZE[0] / 2 + difficulty * rng.uniform(-7, 7)),
        float(SIZE[1] / 2 + difficulty * rng.uniform(-6, 6)),
        float(difficulty * rng.uniform(-0.006, 0.006)),
    )

    def within(band: tuple[float, float]) -> float:
        return (band[0] + band[1]) / 2 + min(difficulty, 1.0) * 0.48 * (band[1] - band[0]) * float(rng.uniform(-1, 1))

    return BreakfastBoxScene(
        look,
        draw_seed(rng),
        None,
        place,
        False,
        place_fruits(["tangerine", "tangerine", "nectarine"], rng, difficulty),
        True,
        frozenset({"almonds", "bananas"}),
        within(RATIO),
        within(FILLING),
        within(ALMONDS),
    )
