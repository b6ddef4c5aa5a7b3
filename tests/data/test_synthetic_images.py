# SPDX-License-Identifier: Apache-2.0
"""The rendered images and their ground truth."""

from dataclasses import replace

import numpy as np
import pytest

from anomalib_scdae.data.synthetic import CATEGORIES, load_category
from anomalib_scdae.data.synthetic.breakfast_box.scene import NECTARINE_AREA, TANGERINE_AREA
from anomalib_scdae.data.synthetic.generate import Job, Sample, defects_config, describe, image_size, render
from anomalib_scdae.data.synthetic.juice_bottle.scene import FRUIT_LABEL_AREA, ICON_AREA, TEXT_LABEL_AREA
from anomalib_scdae.data.synthetic.pushpins.scene import PIN_AREA, PITCH_U, PITCH_V
from anomalib_scdae.data.synthetic.recipe import Recipe
from anomalib_scdae.data.synthetic.render import Canvas, shine
from anomalib_scdae.data.synthetic.scene import Area, Look, Pose
from anomalib_scdae.data.synthetic.screw_bag.scene import LONG_AREA, NUT_AREA, SHORT_AREA, WASHER_AREA
from anomalib_scdae.data.synthetic.splicing_connectors.scene import CABLE_AREA, CLIP_AREA

LONG_SIDE = 192


def _recipe(name: str) -> Recipe:
    return Recipe(name, long_side=LONG_SIDE)


@pytest.fixture(scope="module", params=CATEGORIES)
def anomalies(request: pytest.FixtureRequest) -> tuple[str, list[Sample]]:
    """One image of each defect of a category."""
    category = load_category(request.param)
    folders = {"test/logical_anomalies": category.logical, "test/structural_anomalies": category.structural}
    samples = [
        render(_recipe(request.param), Job(folder, index))
        for folder, defects in folders.items()
        for index in range(len(defects))
    ]
    return request.param, samples


def test_each_anomaly_has_a_mask_inside_its_image(anomalies: tuple[str, list[Sample]]) -> None:
    name, samples = anomalies
    category = load_category(name)
    width, height = image_size(category, LONG_SIDE)
    names = [defect.name for defect in (*category.logical, *category.structural)]
    for expected, sample in zip(names, samples, strict=True):
        assert sample.image.shape == (height, width, 3)
        assert sample.image.dtype == np.uint8
        [(defect, mask)] = sample.masks
        assert defect == expected
        assert mask.shape == (height, width)
        assert 0 < mask.sum() < 0.95 * mask.size, defect


def test_saturation_thresholds_can_be_reached(anomalies: tuple[str, list[Sample]]) -> None:
    """An absolute threshold is the nominal area of parts that lie in the mask; distance and turn make them smaller."""
    name, samples = anomalies
    config = {entry["defect_name"]: entry for entry in defects_config(load_category(name), LONG_SIDE)}
    for sample in samples:
        for defect, mask in sample.masks:
            entry = config[defect]
            if entry["relative_saturation"]:
                assert entry["saturation_threshold"] == 1.0
            else:
                assert 0 < entry["saturation_threshold"] <= 1.3 * mask.sum(), defect


def test_a_damaged_image_differs_from_the_whole_one_in_its_mask(anomalies: tuple[str, list[Sample]]) -> None:
    """Away from the mask (and the shadow beside it) only the sensor's noise differs."""
    name, samples = anomalies
    category = load_category(name)
    for sample in samples:
        if sample.scene.damage is None:
            continue
        [(defect, mask)] = sample.masks
        size = image_size(category, LONG_SIDE)
        damaged, whole = (
            shine(category.render(scene, size)) for scene in (sample.scene, replace(sample.scene, damage=None))
        )
        change = np.abs(damaged - whole).max(axis=-1)
        assert change[mask].max() > 0.05, defect
        assert change[~mask].mean() < 0.01, defect


def test_a_missing_separator_leaves_no_shade_behind() -> None:
    category = load_category("pushpins")
    scene = category.sample(np.random.default_rng(0), 0.0)
    bare = replace(scene, compartments=((),) * 15, separators=((False,) * 4, (True,) * 4, (True,) * 4))
    image = shine(category.render(bare, (1700, 1000)))[:, :, 1]
    poses = [bare.box.at(u, -PITCH_V) for u in (-PITCH_U / 2, 0)]
    strip, floor = (image[int(pose.y) - 60 : int(pose.y) + 60, int(pose.x) - 4 : int(pose.x) + 5] for pose in poses)
    assert strip.mean() == pytest.approx(floor.mean(), rel=0.05)


@pytest.mark.parametrize("name", CATEGORIES)
def test_the_same_seed_gives_the_same_image_and_another_seed_another(name: str) -> None:
    job = Job("test/structural_anomalies", 1)
    first, again = render(_recipe(name), job), render(_recipe(name), job)
    other = render(Recipe(name, long_side=LONG_SIDE, seed=1), job)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.masks[0][1], again.masks[0][1])
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("name", CATEGORIES)
def test_splits_share_no_image(name: str) -> None:
    scenes = [describe(_recipe(name), Job(folder, 0))[0] for folder in ("train/good", "validation/good", "test/good")]
    assert len({scene.seed for scene in scenes}) == 3


def _areas(name: str, part_of: "dict[str, float]") -> None:
    """Compare the silhouettes of parts with the areas that the saturation thresholds are made of."""
    category = load_category(name)
    scene = category.sample(np.random.default_rng(7), 0.0)
    canvas = category.render(scene, image_size(category, 768))
    for part, area in part_of.items():
        assert canvas.silhouette(part).sum() * canvas.unit**2 == pytest.approx(area, rel=0.12), part


def test_nominal_areas_are_those_of_the_silhouettes() -> None:
    _areas("pushpins", {f"pin {index} 0": PIN_AREA for index in range(15)})
    bag = load_category("screw_bag").sample(np.random.default_rng(7), 0.0)
    kinds = {"washer": WASHER_AREA, "nut": NUT_AREA}
    _areas(
        "screw_bag",
        {
            f"part {index}": kinds.get(part.kind, LONG_AREA if part.long else SHORT_AREA)
            for index, part in enumerate(bag.parts)
        },
    )
    joint = load_category("splicing_connectors").sample(np.random.default_rng(7), 0.0)
    clips = joint.left.clips
    _areas("splicing_connectors", {"cable 0": CABLE_AREA, "left": clips * CLIP_AREA, "right": clips * CLIP_AREA})
    fruits = load_category("breakfast_box").sample(np.random.default_rng(7), 0.0).fruits
    areas = {"tangerine": TANGERINE_AREA, "nectarine": NECTARINE_AREA}
    _areas("breakfast_box", {f"fruit {index}": areas[fruit.kind] for index, fruit in enumerate(fruits)})


def test_nominal_areas_of_labels_and_printed_fruits() -> None:
    category = load_category("juice_bottle")
    icons = {}
    for seed in range(12):
        scene = category.sample(np.random.default_rng(seed), 0.0)
        if scene.juice in icons:
            continue
        canvas = category.render(scene, image_size(category, 768))
        area = {part: canvas.silhouette(part).sum() * canvas.unit**2 for part in ("label fruit", "label text", "icon")}
        icons[scene.juice] = area["icon"]
        assert area["label fruit"] + area["icon"] == pytest.approx(FRUIT_LABEL_AREA, rel=0.05)
        assert area["label text"] == pytest.approx(TEXT_LABEL_AREA, rel=0.05)
    assert len(icons) == 3
    assert np.mean(list(icons.values())) == pytest.approx(ICON_AREA, rel=0.15)


def test_canvas_maps_points_and_back() -> None:
    look = Look.sample(np.random.default_rng(3), 1.0)
    canvas = Canvas((320, 200), (1600, 1000), look)
    points = np.array([[0.0, 0.0], [800.0, 500.0], [1600.0, 17.0]])
    assert np.allclose(canvas.unproject(canvas.project(points)), points)


def test_a_patch_has_its_origin_where_its_pose_is_projected() -> None:
    canvas = Canvas((320, 200), (1600, 1000), Look.sample(np.random.default_rng(3), 1.0))
    pose = Pose(700.0, 400.0, 0.6)
    patch = canvas.patch(pose, 100, 60)
    row, column = np.unravel_index(np.argmin(np.hypot(patch.u, patch.v)), patch.u.shape)
    x, y = canvas.project(np.array([[pose.x, pose.y]]))[0]
    assert abs(patch.window[1].start + column + 0.5 - x) < 1
    assert abs(patch.window[0].start + row + 0.5 - y) < 1


def test_an_area_covers_as_many_pixels_as_its_size_says() -> None:
    canvas = Canvas((640, 400), (1600, 1000), Look.sample(np.random.default_rng(3), 1.0))
    area = Area.turned_box(Pose(800.0, 500.0, 0.4), 200, 100)
    assert canvas.mask((area,)).sum() * canvas.unit**2 == pytest.approx(400 * 200, rel=0.03)
