# SPDX-License-Identifier: Apache-2.0
"""Galleries: what is where, and in which colour."""

import numpy as np
import pytest
import tifffile
import torch
from anomalib.data.utils import read_image
from PIL import Image

from anomalib_scdae import SCDAE
from anomalib_scdae.errors import UserError
from anomalib_scdae.gallery import (
    GalleryRow,
    branch_maps_of,
    compose_gallery,
    gallery_rows,
    maps_in_folder,
    worst_misses,
)
from anomalib_scdae.metrics.score_files import Prediction
from tests.conftest import draw_image
from tests.loco_data import TYPES, make_category

CELL = 96


def row(level, name="good/000", **options):
    image = Image.new("RGB", (60, 40), (10, 200, 30))
    maps = {"local": np.full((56, 56), level, np.float32), "combined": torch.full((1, 40, 60), float(level))}
    return GalleryRow(image=image, maps=maps, name=name, score=float(level), **options)


def centre(picture, row_index, column):
    """Colour in the middle of a cell: below the columns' titles, each row is a title and a cell (here 3:2) high."""
    strip, margin = max(10, CELL // 13) + 8, 2
    height = round((CELL - 2 * margin) * 2 / 3) + 2 * margin
    return picture.getpixel(((2 * column + 1) * CELL // 2, strip + (row_index + 1) * (strip + height) - height // 2))


def test_cells_are_in_their_places_and_share_one_colour_scale():
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:30, 20:40] = True
    rows = [row(0), row(5), row(10, ground_truth=mask, label=1, prediction=0)]
    picture = compose_gallery(rows, value_range=(0, 10), cell_size=CELL)
    assert picture.width == 4 * CELL
    colours = [[centre(picture, index, column) for column in range(4)] for index in range(3)]
    assert {tuple(colour) for colour, *_ in colours} == {(10, 200, 30)}
    assert [colour[1] for colour in colours] == [(0, 0, 0), (0, 0, 0), (255, 255, 255)]
    for _, _, local, combined in colours:
        assert local == combined
    lowest, middle, highest = (colour[2] for colour in colours)
    assert lowest[2] > lowest[0], "the lowest value is blue"
    assert middle[1] > max(middle[0], middle[2]) - 1, "the middle is green"
    assert highest[0] > highest[2], "the highest is red"


def test_scale_is_that_of_all_maps():
    together = compose_gallery([row(0), row(10)], cell_size=CELL)
    assert centre(together, 0, 2) != centre(together, 1, 2)
    constant = compose_gallery([row(3), row(3)], cell_size=CELL)
    assert centre(constant, 0, 2) == centre(constant, 1, 2)


def test_columns_can_be_chosen_and_a_missing_map_leaves_its_cell_empty():
    picture = compose_gallery([row(1), GalleryRow(image=np.zeros((20, 30, 3), np.uint8))], ["combined"], cell_size=CELL)
    assert picture.width == 3 * CELL
    assert centre(picture, 1, 2) == (255, 255, 255)


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ({"label": 1, "prediction": 0}, "normal (wrong)"),
        ({"label": 1, "prediction": 1}, "anomalous (right)"),
        ({"prediction": 1}, "anomalous"),
        ({"label": 0}, "normal"),
    ],
)
def test_title_has_score_and_verdict(options, verdict):
    assert row(0.12345, **options).title == f"good/000   score 0.1235   {verdict}"


def test_no_rows_are_refused():
    with pytest.raises(UserError, match="at least one"):
        compose_gallery([])


def prediction(score, label, name="x"):
    return Prediction(f"{name}.png", "good" if label == 0 else "crack", score, label, None)


def test_worst_misses_are_those_that_cost_auroc():
    good = [prediction(score, 0, f"g{score}") for score in (1, 2, 3, 9)]
    bad = [prediction(score, 1, f"b{score}") for score in (0.5, 2.5, 10, 11)]
    chosen = worst_misses([*good, *bad], count=3)
    assert [p.score for p in chosen] == [0.5, 9, 3]
    assert worst_misses(bad) == worst_misses([]) == []
    assert worst_misses([prediction(0, 0), prediction(1, 1)]) == []


def test_gallery_of_what_was_written(tmp_path):
    category = make_category(tmp_path / "pushpins", shape=(26, 34), images=1)
    predictions = []
    for image in sorted(category.glob("test/*/*")):
        label = int(image.parent.name != "good")
        predictions.append(Prediction(str(image), image.parent.name, 1.0, label, 1))
        file = tmp_path / "maps" / "test" / image.parent.name / "000.tiff"
        file.parent.mkdir(parents=True)
        tifffile.imwrite(file, np.random.default_rng(0).random((26, 34), dtype=np.float32))
    rows = gallery_rows(predictions, maps_in_folder(tmp_path / "maps"))
    assert [row.ground_truth is not None for row in rows] == [False, True, True]
    masks = [np.asarray(Image.open(file)) > 0 for file in (category / "ground_truth" / TYPES[0] / "000").iterdir()]
    assert np.array_equal(rows[1].ground_truth, np.logical_or.reduce(masks)), "all channels"
    assert compose_gallery(rows, cell_size=CELL).width == 3 * CELL
    with pytest.raises(UserError, match="PredictionWriter"):
        gallery_rows(predictions, maps_in_folder(tmp_path / "elsewhere"))


def test_branch_maps_of_a_model_add_up_to_its_anomaly_map(tmp_path):
    model = SCDAE(teacher_out_channels=16).eval()
    model.model.anomaly_map.lower.uniform_(0, 0.1)
    model.model.anomaly_map.upper.uniform_(0.2, 0.4)
    path = tmp_path / "good/000.png"
    draw_image(path, 0)
    maps = branch_maps_of(model)(path)
    assert list(maps) == ["local", "srm", "crm", "combined"]
    with torch.no_grad():
        expected = model.model(model.pre_processor.transform(read_image(path, as_tensor=True)[None])).anomaly_map
    torch.testing.assert_close(maps["combined"][None, None], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps["combined"], 0.5 * maps["local"] + 0.25 * maps["srm"] + 0.25 * maps["crm"])
    assert compose_gallery([GalleryRow(path, maps)], cell_size=CELL).width == 6 * CELL
