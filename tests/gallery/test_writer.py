# SPDX-License-Identifier: Apache-2.0
"""The picture that a test leaves."""

from pathlib import Path

import pytest
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine
from anomalib.models import Padim
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anomalib_scdae import SCDAE
from anomalib_scdae.errors import UserError
from anomalib_scdae.gallery import GalleryWriter
from anomalib_scdae.gallery.writer import WRONG, choose
from anomalib_scdae.metrics.anomaly_types import MANY_TYPES
from anomalib_scdae.metrics.score_files import Prediction

pytestmark = pytest.mark.usefixtures("narrow_networks")


def predictions() -> st.SearchStrategy[list[Prediction]]:
    one = st.builds(
        lambda name, score, decision: (name, score, int(name != "good"), decision),
        st.sampled_from(["good", "logical_anomalies", "structural_anomalies"]),
        st.floats(0, 1),
        st.integers(0, 1),
    )
    numbered = st.lists(one, max_size=30)
    return numbered.map(lambda rows: [Prediction(f"{index}.png", *row) for index, row in enumerate(rows)])


@given(predictions())
def test_one_right_image_of_each_type_and_the_worst_of_the_wrong_ones(given: list[Prediction]) -> None:
    chosen = choose(given)
    right = [one for one in chosen if one.label == one.prediction]
    wrong = [one for one in chosen if one.label != one.prediction]
    assert chosen == [*right, *wrong]
    assert len(set(chosen)) == len(chosen)
    assert {one.type for one in right} == {one.type for one in given if one.label == one.prediction}
    assert len({one.type for one in right}) == len(right)
    assert len(wrong) == min(WRONG, sum(one.label != one.prediction for one in given))


def test_a_right_image_is_a_usual_one() -> None:
    given = [Prediction(f"{score}.png", "good", score, 0, 0) for score in (0.4, 0.0, 0.2, 0.3, 0.1)]
    assert [one.score for one in choose(given)] == [0.2]


def test_folders_that_number_parts_are_no_types() -> None:
    parts = range(MANY_TYPES + 1)
    bad = [Prediction(f"bad{part}.png", f"part{part:03}", 0.5 + part / 100, 1, 1) for part in parts]
    good = [Prediction(f"good{part}.png", f"part{part:03}", part / 100, 0, 0) for part in parts]
    assert [one.path for one in choose([*bad, *good])] == ["bad10.png", "good10.png"]
    missed = [one._replace(prediction=0) for one in bad[:5]]  # fewer folders with an image that was judged rightly
    assert [one.path for one in choose([*missed, *bad[5:], *good])][:2] == ["bad12.png", "good10.png"]


def test_wrong_images_begin_with_the_one_that_most_others_contradict() -> None:
    good = [Prediction(f"good{score}.png", "good", score, 0, int(score >= 0.5)) for score in (0.1, 0.2, 0.3, 0.7)]
    bad = [
        Prediction(f"bad{score}.png", "logical_anomalies", score, 1, int(score >= 0.5)) for score in (0.05, 0.4, 0.9)
    ]
    wrong = [one.path for one in choose([*good, *bad]) if one.label != one.prediction]
    assert wrong[0] == "bad0.05.png"
    assert set(wrong[1:]) == {"good0.7.png", "bad0.4.png"}


@pytest.mark.slow
def test_a_test_leaves_a_picture_with_scores_of_the_post_processor(
    loco_root: Path, model_arguments: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Prediction] = []
    monkeypatch.setattr("anomalib_scdae.gallery.writer.choose", lambda found: kept.extend(found) or choose(found))
    data = MVTecLOCO(root=loco_root, category="part", train_batch_size=1, eval_batch_size=3, num_workers=0)
    engine = Engine(
        callbacks=[GalleryWriter("seen.png")], max_steps=2, default_root_dir=tmp_path, accelerator="cpu", logger=False
    )
    engine.train(SCDAE(**model_arguments), datamodule=data)
    (file,) = tmp_path.rglob("seen.png")
    with Image.open(file) as picture:
        assert picture.width > 7 * 150  # input, ground truth, and five maps
    assert len(kept) == 6
    assert all(0 <= one.score <= 1 and one.prediction == (one.score >= 0.5) for one in kept)


@pytest.mark.parametrize("name", ["gallery", "gallery.txt", "gallery.mp4"])
def test_a_name_that_no_picture_can_have_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(UserError, match=f"cannot write {name}: end its name in"):
        GalleryWriter(name)


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.webp", "a.tif"])
def test_any_kind_of_picture_that_pillow_writes_will_do(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "picture", format=GalleryWriter(name)._format)


def test_another_model_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="draws the maps of SCDAE, not of Padim: leave the callback out"):
        GalleryWriter().setup(None, Padim(backbone="resnet18", pre_trained=False), "test")  # type: ignore[arg-type]
