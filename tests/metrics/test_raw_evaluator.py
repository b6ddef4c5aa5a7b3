# SPDX-License-Identifier: Apache-2.0
"""Figures from raw scores, through Anomalib's engine."""

import math
import warnings

import numpy as np
import pytest
import torch
from anomalib.data import ImageBatch, MVTecLOCO
from anomalib.engine import Engine
from anomalib.metrics import AUPRO, AUROC, PRO, Evaluator, F1Score
from anomalib.models import Padim
from anomalib.pre_processing import PreProcessor
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import Resize

from anomalib_scdae.errors import UserError
from anomalib_scdae.metrics import FPR_LIMITS, AUROCPerType, AUsPRO, RawScoreEvaluator, loco_evaluator
from anomalib_scdae.metrics.anomaly_types import MANY_TYPES
from anomalib_scdae.metrics.fpr import FPR
from anomalib_scdae.metrics.ranking import to_unit_interval
from tests.dummy_model import BrightnessModel, raw_outputs
from tests.loco_data import CONFIG, TYPES, make_category
from tests.spro_reference import Channel, brute_force_au_spro


@pytest.fixture(scope="module")
def category(tmp_path_factory):
    return make_category(tmp_path_factory.mktemp("loco") / "breakfast_box", shape=(26, 34))


def loco(category, batch_size=5):
    return MVTecLOCO(
        root=category.parent, category=category.name, eval_batch_size=batch_size, train_batch_size=2, num_workers=0
    )


def run_test(model, data, folder):
    engine = Engine(default_root_dir=folder, logger=False, accelerator="cpu", enable_progress_bar=False)
    engine.validate(model, datamodule=data, verbose=False)  # the post-processor finds its threshold and range
    return engine.test(model, datamodule=data, verbose=False)[0]


def image_auroc(raw, kinds):
    chosen = [path for path in raw if path.parent.name in {"good", *kinds}]
    return roc_auc_score([path.parent.name != "good" for path in chosen], [raw[path][0] for path in chosen])


def channels_of(path, first_only=False):
    if path.parent.name == "good":
        return []
    folder = path.parents[2] / "ground_truth" / path.parent.name / path.stem
    configs = {entry["pixel_value"]: entry for entry in CONFIG}
    found = []
    for file in sorted(folder.iterdir())[: 1 if first_only else None]:
        mask = np.asarray(Image.open(file))
        entry = configs[int(mask.max())]
        found.append(Channel(mask > 0, entry["saturation_threshold"], entry["relative_saturation"]))
    return found


def expected_au_spro(raw, kind, shape, first_only=False):
    """The definition, from the files on disk: masks resized to ``shape``, as the maps are."""
    maps, channels = [], []
    for path in [path for path in raw if path.parent.name in {"good", kind}]:
        maps.append(interpolate(raw[path][1][None, None], size=shape, mode="bilinear")[0, 0].numpy())
        channels.append(channels_of(path, first_only))
        for channel in channels[-1]:
            image = Image.fromarray(channel.mask).resize(shape[::-1], Image.Resampling.NEAREST)
            channel.mask = np.asarray(image)
    return brute_force_au_spro(maps, channels)


def test_default_figures_are_those_of_the_raw_scores(category, tmp_path):
    model = BrightnessModel(evaluator=loco_evaluator())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(AUROC|sPRO|samples|NaN|nan).*")
        figures = run_test(model, loco(category), tmp_path)
    raw = raw_outputs(model, category)
    assert figures["image_AUROC"] == pytest.approx(image_auroc(raw, TYPES))
    assert figures["image_AUROC_logical"] == pytest.approx(image_auroc(raw, [TYPES[0]]))
    assert figures["image_AUROC_structural"] == pytest.approx(image_auroc(raw, [TYPES[1]]))
    halves = figures["image_AUROC_logical"] + figures["image_AUROC_structural"]
    assert figures["image_AUROC_mean"] == pytest.approx(halves / 2)
    assert {"image_F1Score", "pixel_AUROC", "pixel_F1Score"} <= figures.keys()
    assert not any(math.isnan(value) for value in figures.values())


def test_au_spro_reads_every_channel_at_the_images_resolution(category, tmp_path):
    model = BrightnessModel(evaluator=RawScoreEvaluator(test_metrics=[AUsPRO()]))
    figures = run_test(model, loco(category), tmp_path)
    raw = raw_outputs(model, category)
    expected = [expected_au_spro(raw, kind, shape=(26, 34)) for kind in TYPES]
    for limit in FPR_LIMITS:
        logged = [figures[f"pixel_AUsPRO_{name}_{limit}"] for name in ("logical", "structural", "mean")]
        halves = [values[limit] for values in expected]
        assert logged == pytest.approx([*halves, sum(halves) / 2], abs=1e-6)
    # The test could not tell, if these gave the same.
    for wrong in ({"shape": (26, 34), "first_only": True}, {"shape": (16, 16)}):
        assert abs(expected_au_spro(raw, TYPES[0], **wrong)[0.3] - figures["pixel_AUsPRO_logical_0.3"]) > 0.005


def test_anomalibs_evaluator_sees_clamped_scores(category, tmp_path):
    """The reason for ours: if this fails, Anomalib has changed."""
    model = BrightnessModel(evaluator=Evaluator(test_metrics=[AUROC(fields=["pred_score", "gt_label"])]))
    clamped = run_test(model, loco(category), tmp_path)["AUROC"]
    assert model.post_processor.image_max > model.post_processor.image_min
    assert abs(clamped - image_auroc(raw_outputs(model, category), TYPES)) > 0.01


@pytest.mark.parametrize("batch_size", [1, 4])
def test_figures_do_not_depend_on_the_batch_size(category, tmp_path, batch_size):
    figures = [
        run_test(BrightnessModel(evaluator=loco_evaluator()), loco(category, size), tmp_path / str(size))
        for size in (batch_size, 12)
    ]
    assert figures[0] == pytest.approx(figures[1], abs=1e-6)


def test_a_second_test_starts_anew_and_the_trainer_is_left_as_it_was(category, tmp_path):
    engine = Engine(default_root_dir=tmp_path, logger=False, accelerator="cpu", enable_progress_bar=False)
    model = BrightnessModel(evaluator=loco_evaluator())
    first = engine.test(model, datamodule=loco(category), verbose=False)[0]
    assert not any(type(callback).__name__ == "RawOutputs" for callback in engine.trainer.callbacks)
    assert engine.test(model, datamodule=loco(category), verbose=False)[0] == pytest.approx(first)


def test_with_one_of_anomalibs_models(category, tmp_path):
    model = Padim(
        backbone="resnet18",
        layers=["layer1"],
        pre_trained=False,
        n_features=8,
        pre_processor=PreProcessor(transform=Resize((64, 64), antialias=True)),
        evaluator=RawScoreEvaluator(
            test_metrics=[
                AUROC(fields=["pred_score", "gt_label"], prefix="image_"),
                AUPRO(fields=["anomaly_map", "gt_mask"]),
                AUROCPerType(),
                AUsPRO(limits=[0.3]),
            ]
        ),
        visualizer=False,
    )
    engine = Engine(default_root_dir=tmp_path, logger=False, accelerator="cpu", enable_progress_bar=False)
    engine.fit(model, datamodule=loco(category))
    figures = engine.test(model, datamodule=loco(category), verbose=False)[0]
    raw = raw_outputs(model.eval(), category)
    assert figures["image_AUROC"] == pytest.approx(image_auroc(raw, TYPES))
    expected = expected_au_spro(raw, TYPES[0], shape=(26, 34))
    assert figures["pixel_AUsPRO_logical_0.3"] == pytest.approx(expected[0.3], abs=1e-5)
    assert 0 <= figures["AUPRO"] <= 1


@pytest.mark.parametrize("present", [[], ["structural_anomalies"]])
def test_absent_types_are_left_out_without_a_word(tmp_path, present, recwarn):
    category = make_category(tmp_path / "tile", types=["structural_anomalies"], shape=(26, 34))
    data = loco(category)
    data.setup("test")
    if not present:
        samples = data.test_data.samples
        data.test_data.samples = samples[samples.label == "good"].reset_index(drop=True)
    evaluator = RawScoreEvaluator(test_metrics=[AUROCPerType(), AUsPRO()])
    model = BrightnessModel(evaluator=evaluator)
    data.setup = lambda *_, **__: None
    figures = run_test(model, data, tmp_path)
    names = {"image_AUROC_structural", *(f"pixel_AUsPRO_structural_{limit}" for limit in FPR_LIMITS)}
    assert set(figures) == (names if present else set())
    assert not [str(warning.message) for warning in recwarn if "AUROC" in str(warning.message)]


def test_data_without_masks_has_no_au_spro(tmp_path, caplog):
    image = tmp_path / "anywhere" / "broken" / "1.png"
    image.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(image)
    metric = AUsPRO()
    metric.update(batch_of([image], labels=[1]))
    assert metric.compute() == {}


def test_type_with_a_missing_mask_is_left_out_and_named(category, tmp_path, caplog):
    image = sorted((category / "test" / TYPES[0]).iterdir())[0]
    orphan = category / "test" / TYPES[0] / "orphan.png"
    metric = AUsPRO()
    try:
        orphan.write_bytes(image.read_bytes())
        metric.update(batch_of([image, orphan], labels=[1, 1]))
    finally:
        orphan.unlink()
    assert metric.compute() == {}
    assert "logical_anomalies" in caplog.text


@pytest.mark.parametrize("channels", [1, 3])
def test_a_type_with_a_blank_mask_is_left_out_and_the_file_named(tmp_path, caplog, channels):
    category = make_category(tmp_path / "tile", shape=(26, 34), channels=channels)
    blank = category / "ground_truth" / TYPES[0] / "001" / f"{channels - 1:03}.png"
    Image.new("L", (34, 26)).save(blank)
    figures = run_test(BrightnessModel(evaluator=loco_evaluator()), loco(category), tmp_path)
    assert f"{blank} marks no pixel" in caplog.text
    assert {"image_AUROC_logical", "image_AUROC_mean", "pixel_AUROC", "pixel_AUsPRO_structural_0.3"} <= figures.keys()
    assert not {"pixel_AUsPRO_logical_0.3", "pixel_AUsPRO_mean_0.3"} & figures.keys()


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["good"], {"image_FPR"}),
        ([TYPES[0]], {"image_F1Score", "pixel_AUROC", "pixel_F1Score"}),
    ],
)
def test_figures_that_need_the_other_class_are_left_out(category, tmp_path, kinds, expected):
    model, data = BrightnessModel(evaluator=loco_evaluator()), loco(category)
    data.setup("test")
    samples = data.test_data.samples
    data.test_data.samples = samples[samples.label.isin(kinds)].reset_index(drop=True)
    data.setup = lambda *_, **__: None
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(AUROC|sPRO|samples|NaN|nan).*")
        figures = run_test(model, data, tmp_path)
    assert {name for name in figures if "AUsPRO" not in name} == expected
    if kinds == ["good"]:
        raw = [score for path, (score, _) in raw_outputs(model, category).items() if path.parent.name == "good"]
        refused = np.mean(np.array(raw) > float(model.post_processor.image_threshold))
        assert figures["image_FPR"] == pytest.approx(refused)


def test_share_of_good_images_that_are_refused():
    metric = FPR(fields=["pred_label", "gt_label"])
    batch = batch_of(["a", "b", "c", "d", "e"], [0, 0, 0, 0, 1])
    batch.pred_label = torch.tensor([True, False, False, False, True])
    metric.update(batch)
    assert float(metric.compute()) == 0.25


def batch_of(paths, labels, size=(26, 34)):
    random = torch.Generator().manual_seed(0)
    return ImageBatch(
        image=torch.zeros(len(paths), 3, *size),
        image_path=[str(path) for path in paths],
        gt_label=torch.tensor(labels),
        pred_score=torch.rand(len(paths), generator=random),
        anomaly_map=torch.rand(len(paths), *size, generator=random),
    )


def test_forward_gives_the_batch_alone_and_accumulates(category):
    paths = sorted(category.glob("test/*/*"))
    labels = [int(path.parent.name != "good") for path in paths]
    whole, stepwise = AUsPRO(), AUsPRO()
    whole.update(batch_of(paths, labels))
    assert stepwise(batch_of(paths, labels)) == whole.compute()
    assert stepwise.compute() == whole.compute()
    whole.reset()
    assert whole._accumulator.types == []


def test_mvtec_ad_layout_takes_connected_components(tmp_path):
    category = tmp_path / "bottle"
    mask = np.zeros((20, 20), np.uint8)
    mask[2:5, 2:5] = mask[10:18, 10:18] = 255
    for folder, name, array in [
        ("test/good", "000", np.zeros((20, 20, 3), np.uint8)),
        ("test/broken", "000", np.zeros((20, 20, 3), np.uint8)),
        ("ground_truth/broken", "000_mask", mask),
    ]:
        (category / folder).mkdir(parents=True)
        Image.fromarray(array).save(category / folder / f"{name}.png")
    paths = [category / "test" / kind / "000.png" for kind in ("good", "broken")]
    metric = AUsPRO(exact=True)
    batch = batch_of(paths, [0, 1], size=(20, 20))
    metric.update(batch)
    channels = []
    for area in (np.s_[2:5, 2:5], np.s_[10:18, 10:18]):
        region = np.zeros((20, 20), dtype=bool)
        region[area] = True
        channels.append(Channel(region, 1.0, relative=True))
    expected = brute_force_au_spro(list(batch.anomaly_map.numpy()), [[], channels])[0.3]
    figures = metric.compute()
    assert float(figures["pixel_AUsPRO_broken_0.3"]) == pytest.approx(expected, abs=1e-6)
    assert not any("mean" in name for name in figures)


def test_mvtec_ad_style_types_have_a_figure_each_and_a_mean(tmp_path):
    metric = AUROCPerType()
    kinds = ["good", "good", "crack", "hole", "hole"]
    batch = batch_of([tmp_path / kind / f"{i}.png" for i, kind in enumerate(kinds)], [0, 0, 1, 1, 1])
    batch.pred_score = torch.tensor([30.0, 50.0, 40.0, 60.0, 20.0])
    metric.update(batch)
    figures = {name: float(value) for name, value in metric.compute().items()}
    assert figures == pytest.approx({"image_AUROC_crack": 0.5, "image_AUROC_hole": 0.5, "image_AUROC_mean": 0.5})


def test_folders_that_number_parts_have_one_figure_together(tmp_path):
    """As Real-IAD's and Kolektor's do."""
    metric, masks = AUROCPerType(), AUsPRO(limits=(0.3,))
    for part in range(MANY_TYPES + 1):
        batch = batch_of([tmp_path / f"part{part}/0.png", tmp_path / f"good/{part}.png"], [1, 0])
        batch.pred_score = torch.tensor([float(part), 10.5])
        metric.update(batch)
        masks._accumulator.add_good(np.eye(4, dtype=np.float32))
        masks._left_out[f"part{part}"] = "it has no mask."
    assert {name: float(value) for name, value in metric.compute().items()} == pytest.approx(
        {"image_AUROC_anomalous": (MANY_TYPES + 1 - 11) / (MANY_TYPES + 1)}
    )
    assert masks.compute() == {}


def test_images_without_paths_and_models_without_decisions_have_the_other_figures():
    evaluator = loco_evaluator()
    batch = ImageBatch(
        image=torch.zeros(2, 3, 8, 8), gt_label=torch.tensor([0, 1]), pred_score=torch.tensor([0.2, 0.7])
    )
    for metric in evaluator.test_metrics:
        metric.update(batch)
    assert {metric.name for metric in evaluator.test_metrics if metric.update_called} == {"image_AUROC"}


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_told_with_its_image(tmp_path, score):
    batch = batch_of([tmp_path / "good/0.png", tmp_path / "crack/1.png"], [0, 1])
    batch.pred_score = torch.tensor([0.5, score])
    metric = AUROCPerType()
    metric.update(batch)
    with pytest.raises(UserError, match=rf"crack/1.png is {score}: .*--trainer.precision 32"):
        metric.compute()


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2))
@settings(deadline=None)
def test_unit_interval_keeps_order_and_ties(values):
    raw = torch.tensor(values, dtype=torch.float32)
    mapped = to_unit_interval(raw)
    assert bool(((mapped >= 0) & (mapped <= 1)).all())
    assert torch.equal(raw[:, None] < raw, mapped[:, None] < mapped)
    assert torch.equal(raw[:, None] == raw, mapped[:, None] == mapped)


@pytest.mark.parametrize(("metric", "field"), [(F1Score, "pred_score"), (PRO, "anomaly_map")])
def test_raw_scores_are_not_cut_at_one_half(metric, field):
    decided = {"pred_score": "pred_label", "anomaly_map": "pred_mask"}[field]
    with pytest.raises(UserError, match=f"{metric.__name__} cuts at 0.5, and {field} is raw.*give it {decided}"):
        RawScoreEvaluator(test_metrics=[metric(fields=[field, "gt_mask"])])
    RawScoreEvaluator(test_metrics=[metric(fields=[decided, "gt_mask"])])


def test_maps_are_ranked_too():
    evaluator = RawScoreEvaluator(test_metrics=[AUROC(fields=["anomaly_map", "gt_mask"])])
    maps = torch.tensor([[[20.0, 30.0], [40.0, 50.0]]])  # all 1 after a float32 sigmoid
    batch = ImageBatch(image=torch.zeros(1, 3, 2, 2), anomaly_map=maps, gt_mask=maps > 25, gt_label=torch.tensor([1]))
    evaluator._update(evaluator.test_metrics, batch)
    assert evaluator.test_metrics[0].compute() == 1
