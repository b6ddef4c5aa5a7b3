# SPDX-License-Identifier: Apache-2.0
"""Raw scores and maps on disk, and the figures from them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from anomalib.cli.cli import AnomalibCLI
from anomalib.data import Folder, MVTecLOCO
from anomalib.engine import Engine
from anomalib.pre_processing import PreProcessor
from PIL import Image
from sklearn.metrics import roc_auc_score
from torchvision.transforms.v2 import CenterCrop, Compose, Resize

from anomalib_scdae.errors import UserError
from anomalib_scdae.metrics import FPR_LIMITS, loco_evaluator
from anomalib_scdae.metrics.anomaly_types import auroc_per_type, with_mean
from anomalib_scdae.metrics.evaluate import evaluate
from anomalib_scdae.metrics.prediction_writer import PredictionWriter
from anomalib_scdae.metrics.score_files import Prediction, read_predictions
from tests.dummy_model import BrightnessModel, raw_outputs
from tests.loco_data import make_category

SHAPE = (26, 34)


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("loco") / "breakfast_box", shape=SHAPE)


def run_test(category, folder, *callbacks, model=None):
    engine = Engine(
        default_root_dir=folder / "results",
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        callbacks=list(callbacks),
    )
    data = MVTecLOCO(root=category.parent, category=category.name, eval_batch_size=5, num_workers=0)
    model = model or BrightnessModel(evaluator=loco_evaluator())
    engine.validate(model, datamodule=data, verbose=False)  # the post-processor finds its threshold
    return engine.test(model, datamodule=data, verbose=False)[0]


def test_scores_and_maps_are_raw_and_in_the_official_layout(category, tmp_path):
    model = BrightnessModel()
    run_test(category, tmp_path, PredictionWriter(dir=tmp_path / "maps"), model=model)
    raw = raw_outputs(model, category)
    rows = {Path(row.path): row for row in read_predictions(tmp_path / "maps" / "breakfast_box" / "scores.csv")}
    assert rows.keys() == raw.keys()
    threshold = float(model.post_processor.image_threshold)
    for path, (score, anomaly_map) in raw.items():
        row = rows[path]
        assert row.score == pytest.approx(score, rel=1e-6)
        assert row.score > 100  # Anomalib's would be clamped to 1
        assert (row.type, row.label) == (path.parent.name, int(path.parent.name != "good"))
        assert row.prediction == int(score > threshold), "the prediction is the post-processor's"
        written = tifffile.imread(tmp_path / "maps/breakfast_box/test" / row.type / f"{path.stem}.tiff")
        assert written.dtype == np.float32
        assert written.shape == SHAPE
        assert written.max() == pytest.approx(float(anomaly_map.max()), rel=0.1)
    assert not list(tmp_path.glob("maps/**/*part*"))


def test_maps_of_parts_of_images_are_not_taken_for_those_of_whole_ones(category, tmp_path):
    model = BrightnessModel(evaluator=loco_evaluator())
    model.pre_processor = PreProcessor(transform=Compose([Resize((32, 40), antialias=True), CenterCrop(24)]))
    with pytest.raises(UserError, match="crops them: give the callback maps=False"):
        run_test(category, tmp_path, PredictionWriter(dir=tmp_path / "maps"), model=model)
    with pytest.warns(UserWarning, match="AU-sPRO is left out"):
        figures = run_test(category, tmp_path, PredictionWriter(dir=tmp_path / "maps", maps=False), model=model)
    assert not any("AUsPRO" in name for name in figures)
    assert {"image_AUROC_logical", "pixel_AUROC"} <= figures.keys()


def test_images_that_differ_in_their_suffix_keep_a_map_each(tmp_path, caplog):
    random = np.random.default_rng(0)
    images = {}
    for name in ("good/0.png", "a/crack/000.png", "a/crack/000.bmp", "a/crack/000.1.png", "b/crack/000.1.png"):
        images[name] = random.integers(0, 255, (20, 30, 3), np.uint8)
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[name]).save(tmp_path / "data" / name)
    data = Folder(
        name="part",
        root=tmp_path / "data",
        normal_dir="good",
        abnormal_dir=["a/crack", "b/crack"],
        num_workers=0,
        val_split_mode="same_as_test",
    )
    engine = Engine(
        logger=False,
        default_root_dir=tmp_path,
        callbacks=[PredictionWriter(dir=tmp_path / "maps", category="part")],
        enable_progress_bar=False,
    )
    engine.test(BrightnessModel(), datamodule=data, verbose=False)
    written = {file.name: tifffile.imread(file) for file in tmp_path.glob("maps/part/test/crack/*")}
    assert written.keys() == {"000.png.tiff", "000.bmp.tiff", "000.1.tiff", "000.1.2.tiff"}
    assert len({array.tobytes() for array in written.values()}) == 4
    assert "b/crack/000.1.png" in caplog.text


def test_evaluating_what_was_written_gives_the_logged_figures(category, tmp_path):
    figures = run_test(category, tmp_path, PredictionWriter(dir=tmp_path / "maps"))
    output = tmp_path / "out" / "metrics.json"
    evaluate(dataset=category.parent, category=category.name, maps=tmp_path / "maps", output=output)
    metrics = json.loads(output.read_text())
    for official, logged in (
        ("logical_anomalies", "logical"),
        ("structural_anomalies", "structural"),
        ("mean", "mean"),
    ):
        for limit in FPR_LIMITS:
            value = metrics["localization"]["auc_spro"][official][str(limit)]
            assert value == pytest.approx(figures[f"pixel_AUsPRO_{logged}_{limit}"], abs=1e-6)
    rows = read_predictions(tmp_path / "maps" / "breakfast_box" / "scores.csv")
    scores, types = np.array([row.score for row in rows]), np.array([row.type for row in rows])
    assert metrics["classification"]["auc_roc"] == pytest.approx(with_mean(auroc_per_type(scores, types)))


def test_writer_can_leave_out_maps_or_scores_and_take_another_name(category, tmp_path):
    run_test(
        category,
        tmp_path,
        PredictionWriter(dir=tmp_path / "scores", maps=False, category="mine"),
        PredictionWriter(dir=str(tmp_path / "maps"), scores=False),
    )
    assert [path.name for path in tmp_path.glob("scores/**/*") if path.is_file()] == ["scores.csv"]
    assert (tmp_path / "scores" / "mine" / "scores.csv").is_file()
    assert {path.suffix for path in tmp_path.glob("maps/**/*") if path.is_file()} == {".tiff"}


def test_a_second_test_replaces_the_first(category, tmp_path):
    writer = PredictionWriter(dir=tmp_path / "maps")
    for _ in range(2):
        run_test(category, tmp_path, writer)
    scores = tmp_path / "maps" / "breakfast_box" / "scores.csv"
    assert len(read_predictions(scores)) == 12
    run_test(category, tmp_path, PredictionWriter(dir=tmp_path / "maps", scores=False))
    assert not scores.exists()  # not beside maps of another test


class Interrupted(BrightnessModel):
    def test_step(self, batch, batch_idx, *args, **kwargs):
        if batch_idx == 2:
            raise KeyboardInterrupt
        return super().test_step(batch, batch_idx)


def test_links_keep_their_place(category, tmp_path):
    """As of a data set whose files are in a store elsewhere."""
    linked = tmp_path / "data" / "linked"
    for file in filter(Path.is_file, category.rglob("*")):
        link = linked / file.relative_to(category)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    run_test(linked, tmp_path, PredictionWriter(dir=tmp_path / "maps"))
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["linked"]
    assert len(read_predictions(tmp_path / "maps" / "linked" / "scores.csv")) == 12


def test_an_interrupted_test_leaves_what_it_has(category, tmp_path):
    folder = tmp_path / "maps" / "breakfast_box"
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run_test(category, tmp_path, PredictionWriter(dir=tmp_path / "maps"), model=Interrupted())
    with (folder / "scores.csv.part0").open() as file:
        assert len(list(csv.reader(file))) == 10
    assert not (folder / "scores.csv").exists()
    assert len(list(folder.glob("test/*/*.tiff"))) == 10


@pytest.mark.slow
@pytest.mark.shared_data
def test_figures_on_photographs_agree_with_the_files_written(shared_data, tmp_path):
    category = shared_data / "mvtec_loco_layout" / "magnetic_tile"
    model = BrightnessModel(evaluator=loco_evaluator())
    figures = run_test(category, tmp_path, PredictionWriter(dir=tmp_path / "maps"), model=model)
    assert set(figures) >= {"image_AUROC_structural", "pixel_AUsPRO_structural_0.05"}
    assert not any("logical" in name or "mean" in name for name in figures)
    metrics = evaluate(dataset=category.parent, category=category.name, maps=tmp_path / "maps", exact=True)
    rows = read_predictions(tmp_path / "maps" / "magnetic_tile" / "scores.csv")
    raw = roc_auc_score([row.label for row in rows], [row.score for row in rows])
    assert figures["image_AUROC"] == pytest.approx(raw, abs=1e-6)
    for limit, value in metrics["localization"]["auc_spro"]["structural_anomalies"].items():
        assert figures[f"pixel_AUsPRO_structural_{limit}"] == pytest.approx(value, abs=1e-3)


METRICS = [
    {"class_path": "anomalib.metrics.AUROC", "init_args": {"fields": ["pred_score", "gt_label"], "prefix": "image_"}},
    {"class_path": "anomalib_scdae.metrics.AUROCPerType"},
    {"class_path": "anomalib_scdae.metrics.AUsPRO", "init_args": {"limits": [0.05, 0.3]}},
]
EVALUATORS = {
    "ready made": "anomalib_scdae.metrics.loco_evaluator",
    "in detail": {"class_path": "anomalib_scdae.metrics.RawScoreEvaluator", "init_args": {"test_metrics": METRICS}},
}


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_from_yaml_with_one_of_anomalibs_models(category, tmp_path, monkeypatch, evaluator):
    monkeypatch.chdir(tmp_path)
    padim = {"backbone": "resnet18", "layers": ["layer1"], "pre_trained": False, "n_features": 8, "visualizer": False}
    sizes = {"eval_batch_size": 4, "train_batch_size": 4, "num_workers": 0}
    writer = {
        "class_path": "anomalib_scdae.metrics.prediction_writer.PredictionWriter",
        "init_args": {"dir": str(tmp_path / "maps")},
    }
    config = {
        "default_root_dir": str(tmp_path / "results"),
        "model": {"class_path": "anomalib.models.Padim", "init_args": {**padim, "evaluator": EVALUATORS[evaluator]}},
        "data": {
            "class_path": "anomalib.data.MVTecLOCO",
            "init_args": {"root": str(category.parent), "category": category.name, **sizes},
        },
        "trainer": {
            "accelerator": "cpu",
            "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(tmp_path)}},
            "enable_progress_bar": False,
            "callbacks": [writer],
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    AnomalibCLI(args=["train", "--config", str(tmp_path / "config.yaml")])
    assert len(read_predictions(tmp_path / "maps" / "breakfast_box" / "scores.csv")) == 12
    logged = "".join(path.read_text() for path in tmp_path.glob("**/metrics.csv"))
    for name in ("image_AUROC", "image_AUROC_logical", "image_AUROC_mean", "pixel_AUsPRO_structural_0.05"):
        assert name in logged.replace("\n", ",").split(",")


def test_another_file_is_named(tmp_path):
    with pytest.raises(UserError, match="PredictionWriter"):
        read_predictions(tmp_path / "scores.csv")
    (tmp_path / "scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="columns"):
        read_predictions(tmp_path / "scores.csv")
    (tmp_path / "scores.csv").write_text("path,type,score,label,prediction\nx.png,good,1.5,0,\n")
    assert read_predictions(tmp_path / "scores.csv") == [Prediction("x.png", "good", 1.5, 0, None)]


def test_more_columns_are_passed_over(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text("path,type,score,label,prediction,score_local\na.png,good,0.5,0,,0.1\n")
    assert read_predictions(file) == [Prediction("a.png", "good", 0.5, 0, None)]
