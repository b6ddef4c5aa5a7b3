# SPDX-License-Identifier: Apache-2.0
"""Where the compartments and their contents are."""

from anomalib_scdae.data.synthetic.breakfast_box.scene import CEREAL_HALF, FRUIT_HALF, IN_U, IN_V, BreakfastBoxScene
from anomalib_scdae.data.synthetic.scene import Area, Pose


def pose_in_box(scene: BreakfastBoxScene, u: float, v: float, angle: float = 0.0) -> Pose:
    """Turn a place in the box into a pose in the scene."""
    return scene.box.at(-u if scene.mirrored else u, v, angle)


def fruit_middle() -> float:
    """Return where the middle of the fruits' compartment lies, from the box's middle."""
    return -IN_U + FRUIT_HALF


def cereal_middle() -> float:
    """Return where the middle of the cereals' compartment lies, from the box's middle."""
    return IN_U - CEREAL_HALF


def fruit_room(scene: BreakfastBoxScene) -> Area:
    """Return the fruits' compartment."""
    return Area.turned_box(pose_in_box(scene, fruit_middle(), 0), FRUIT_HALF, IN_V)


def cereal_room(scene: BreakfastBoxScene, top: float = 0.0, bottom: float = 1.0) -> Area:
    """The cereals' compartment, between two shares of its height."""
    middle = IN_V * (top + bottom - 1)
    return Area.turned_box(pose_in_box(scene, cereal_middle(), middle), CEREAL_HALF, IN_V * (bottom - top))


def boundary(scene: BreakfastBoxScene) -> float:
    """Height, in the box, at which the cereals end and the toppings begin."""
    return IN_V * (2 * scene.ratio - 1)
