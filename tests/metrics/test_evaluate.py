# SPDX-License-Identifier: Apache-2.0
"""``anomalib-scdae evaluate`` on maps made by anyone."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torchvision.transforms.v2.functional import resize

from anomalib_scdae.cli import main
from anomalib_scdae.errors import UserError
from anomalib_scdae.metrics.anomaly_types import MANY_TYPES
from anomalib_scdae.metrics.evaluate import _metrics, evaluate
from anomalib_scdae.metrics.exported import load_exported
from anomalib_scdae.metrics.ground_truth import GroundTruth, Region
from anomalib_scdae.metrics.map_files import map_file
from anomalib_scdae.metrics.score_files import Prediction, write_predictions
from anomalib_scdae.metrics.spro import SPROAccumulator
from tests.loco_data import CONFIG, TYPES, make_category, write_image
from tests.spro_reference import Channel, brute_force_au_spro

SHAPE = (26, 34)


@pytest.fixture
def category(tmp_path):
    return make_category(tmp_path / "data" / "pushpins", shape=SHAPE)


@pytest.fixture
def maps(category, tmp_path):
    random = np.random.default_rng(3)
    for image in sorted(category.glob("test/*/*")):
        values = random.normal(size=SHAPE).astype(np.float32)
        for mask in category.glob(f"ground_truth/{image.parent.name}/{image.stem}/000.png"):
            values[np.asarray(Image.open(mask)) > 0] += 2
        file = tmp_path / "maps" / "pushpins" / "test" / image.parent.name / f"{image.stem}.tiff"
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, values)
    return tmp_path / "maps"


def read(maps, category, kind):
    configs = {entry["pixel_value"]: entry for entry in CONFIG}
    found, channels = [], []
    for file in sorted(maps.glob(f"pushpins/test/{kind}/*.tiff")):
        found.append(tifffile.imread(file))
        channels.append([])
        for mask in sorted(category.glob(f"ground_truth/{kind}/{file.stem}/*.png")):
            array = np.asarray(Image.open(mask))
            config = configs[int(array.max())]
            channels[-1].append(Channel(array > 0, config["saturation_threshold"], config["relative_saturation"]))
    return found, channels


def test_figures_equal_the_definition(category, maps, tmp_path):
    output = tmp_path / "metrics.json"
    arguments = ["--dataset", category.parent, "--category", "pushpins", "--maps", maps, "--output", output]
    assert main(["evaluate", *map(str, arguments)]) == 0
    metrics = json.loads(output.read_text())
    good, none = read(maps, category, "good")
    auroc, spro = {}, {}
    for kind in TYPES:
        anomalous, channels = read(maps, category, kind)
        labels = [0] * len(good) + [1] * len(anomalous)
        auroc[kind] = roc_auc_score(labels, [m.max() for m in good + anomalous])
        values = brute_force_au_spro(good + anomalous, none + channels)
        spro[kind] = {str(limit): value for limit, value in values.items()}
    for figures in (auroc, spro):
        halves = [figures[kind] for kind in TYPES]
        figures["mean"] = (
            {limit: sum(half[limit] for half in halves) / 2 for limit in halves[0]}
            if isinstance(halves[0], dict)
            else sum(halves) / 2
        )
    assert metrics["classification"] == {"auc_roc": pytest.approx(auroc)}
    assert metrics["localization"]["auc_spro"].keys() == spro.keys()
    for kind, values in spro.items():
        assert metrics["localization"]["auc_spro"][kind] == pytest.approx(values, abs=1e-6)


def test_absent_type_is_left_out(tmp_path, category, maps):
    for folder in (category / "test" / TYPES[0], category / "ground_truth" / TYPES[0]):
        folder.rename(tmp_path / folder.parent.name)
    metrics = evaluate(dataset=category.parent, category="pushpins", maps=maps)
    assert metrics["classification"]["auc_roc"].keys() == {TYPES[1]}
    assert metrics["localization"]["auc_spro"].keys() == {TYPES[1]}


def test_whole_numbers_and_double_precision_are_maps_too(category, maps):
    expected = evaluate(dataset=category.parent, category="pushpins", maps=maps)
    ranks = np.unique(np.concatenate([tifffile.imread(file).ravel() for file in maps.glob("**/*.tiff")]))
    for index, file in enumerate(sorted(maps.glob("**/*.tiff"))):
        ranked = np.searchsorted(ranks, tifffile.imread(file))
        tifffile.imwrite(file, ranked.astype(np.uint16 if index % 2 else np.float64))
    metrics = evaluate(dataset=category.parent, category="pushpins", maps=maps)
    assert metrics["classification"]["auc_roc"] == pytest.approx(expected["classification"]["auc_roc"])
    for kind, values in expected["localization"]["auc_spro"].items():
        assert metrics["localization"]["auc_spro"][kind] == pytest.approx(values)


def remove(files):
    for file in list(files):
        file.unlink()


def cut(file, size):
    assert len(file.read_bytes()) > size
    file.write_bytes(file.read_bytes()[:size])


def write_map(values):
    return lambda _, maps: tifffile.imwrite(maps / FIRST_MAP, values, photometric="minisblack")


def write_mask(size, value):
    return lambda category, _: Image.new("L", size, value).save(category / SECOND_MASK)


FIRST_MAP = f"pushpins/test/{TYPES[0]}/000.tiff"
SECOND_MASK = f"ground_truth/{TYPES[0]}/000/001.png"
SPOILT = {
    r"lacks 1 of 12 maps.*logical_anomalies/000.tiff": lambda _, maps: (maps / FIRST_MAP).unlink(),
    r"6x5 but its image 34x26": write_map(np.zeros((5, 6), np.float32)),
    r"3x34x26 but its image 34x26": write_map(np.zeros((26, 34, 3), np.float32)),
    r"scores\.csv\.part0 is of a test that": lambda _, maps: (maps / "pushpins/scores.csv.part0").touch(),
    r"not a readable TIFF": lambda _, maps: (maps / FIRST_MAP).write_bytes(b"nothing"),
    r"000\.tiff is not a readable TIFF": lambda _, maps: cut(maps / FIRST_MAP, 1000),
    r"holds NaN": write_map(np.full(SHAPE, np.nan, np.float32)),
    r"infinite values": write_map(np.where(np.arange(SHAPE[1]) == 3, -np.inf, np.ones(SHAPE)).astype(np.float32)),
    r"test/good/000\.png cannot be read": lambda category, _: (category / "test/good/000.png").write_text("an image"),
    r"good/001\.png cannot be read": lambda category, _: (category / "test/good/001.png").write_bytes(b""),
    r"000/001\.png cannot be read": lambda category, _: cut(category / SECOND_MASK, 60),
    r"has no mask": lambda category, _: remove((category / SECOND_MASK).parent.iterdir()),
    r"001\.png is 4x4 pixels, its image": write_mask((4, 4), 200),
    r"marks no pixel": write_mask(SHAPE[::-1], 0),
    r"pixel values \[7\]": write_mask(SHAPE[::-1], 7),
    r"defects_config.json is not": lambda category, _: (category / "defects_config.json").write_text("[{}]"),
    r"good holds no images": lambda category, _: remove((category / "test" / "good").iterdir()),
}


@pytest.mark.parametrize("named", SPOILT)
def test_bad_input_is_named_in_one_sentence(category, maps, capsys, named):
    SPOILT[named](category, maps)
    output = maps / "out.json"
    with pytest.raises(UserError, match=named):
        evaluate(dataset=category.parent, category="pushpins", maps=maps, output=output)
    assert not output.exists()
    arguments = ["--dataset", category.parent, "--category", "pushpins", "--maps", maps]
    assert main(["evaluate", *map(str, arguments)]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_wrong_folder_and_limits_are_named(category, maps):
    with pytest.raises(UserError, match="holds no images"):
        evaluate(dataset=category, category="pushpins", maps=maps)
    with pytest.raises(UserError, match="limits"):
        evaluate(dataset=category.parent, category="pushpins", maps=maps, limits=[0.0])


@pytest.mark.parametrize("output", ["", "defects_config.json/metrics.json"])
def test_an_output_that_cannot_be_written_is_told_before_anything_is_read(category, maps, output):
    remove(maps.glob("**/*.tiff"))
    with pytest.raises(UserError, match="--output"):
        evaluate(dataset=category.parent, category="pushpins", maps=maps, output=category / output)


def test_a_fault_in_the_last_image_is_told_before_any_is_evaluated(category, maps, monkeypatch):
    last = f"ground_truth/{TYPES[1]}/003/002.png"
    Image.new("L", SHAPE[::-1]).save(category / last)
    monkeypatch.setattr("anomalib_scdae.metrics.evaluate.SPROAccumulator", None)
    with pytest.raises(UserError, match=r"003/002\.png marks no pixel"):
        evaluate(dataset=category.parent, category="pushpins", maps=maps)


def test_images_and_masks_of_every_suffix(category, maps):
    expected = evaluate(dataset=category.parent, category="pushpins", maps=maps)
    for file in category.glob("test/*/*.png"):
        Image.open(file).save(file.with_suffix(".webp"), lossless=True)
        file.unlink()
    for number, file in enumerate(sorted(category.glob("ground_truth/*/*/*.png"))):
        Image.open(file).save(file.with_suffix((".BMP", ".tif", ".PNG")[number // 3 % 3]))
        file.unlink()
    assert evaluate(dataset=category.parent, category="pushpins", maps=maps) == expected


def test_images_that_differ_in_their_suffix_have_maps_and_masks_of_their_own(tmp_path):
    root, random = tmp_path / "data" / "part", np.random.default_rng(0)
    names = ("good/000.png", "crack/000.png", "crack/000.bmp", "crack/000.1.png")
    for name in names:
        write_image(root / "test" / name, random.integers(0, 255, (*SHAPE, 3), np.uint8))
    for number, image in enumerate(root / "test" / name for name in names):
        mask = np.zeros(SHAPE, np.uint8)
        mask[2 * number : 2 * number + 3, 5:9] = 255
        if image.parent.name != "good":
            write_image(root / "ground_truth" / "crack" / f"{image.stem}_mask{image.suffix}", mask)
        written = map_file(tmp_path / "maps" / "part", image)
        written.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(written, mask.astype(np.float32) * (image.parent.name != "good"))
    metrics = evaluate(dataset=root.parent, category="part", maps=tmp_path / "maps")
    assert metrics["localization"]["auc_spro"]["crack"]["0.01"] == pytest.approx(1, abs=1e-3)


def test_scores_beside_the_maps_must_be_of_all_images(category, maps, capsys):
    """Those of some would be compared with maxima of others."""
    images = sorted(category.glob("test/*/*.png"))
    file = maps / "pushpins" / "scores.csv"
    rows = [Prediction(str(path), path.parent.name, float(path.parent.name != "good"), None, None) for path in images]
    write_predictions(file, rows)
    metrics = evaluate(dataset=category.parent, category="pushpins", maps=maps)
    assert "100% of the scores are exactly 0 or 1" in capsys.readouterr().out
    assert set(metrics["classification"]["auc_roc"].values()) == {1.0}
    write_predictions(file, rows[1:])
    first = f"{images[0].parent.name}/{images[0].name}"
    with pytest.raises(UserError, match=f"scores.csv has no score for 1 of {len(images)} images.*{first}: test"):
        evaluate(dataset=category.parent, category="pushpins", maps=maps)


def test_command_needs_neither_torch_nor_anomalib():
    code = "import sys, anomalib_scdae.metrics.evaluate; sys.exit('torch' in sys.modules or 'anomalib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def brightness_model(file, shape, scores=False):
    """Save a model whose map is the brightness, and whose score, if it has one, the darkness of the whole image."""
    import openvino
    from openvino import opset8 as ops

    images = ops.parameter(shape, np.float32, name="input")
    outputs = {"anomaly_map": ops.reduce_mean(images, [1], keep_dims=True)}
    if scores:
        outputs["pred_score"] = ops.negative(ops.reduce_mean(images, [1, 2, 3], keep_dims=False))
    for name, node in outputs.items():
        node.output(0).get_tensor().set_names({name})
    openvino.save_model(openvino.Model(list(outputs.values()), [images]), file, compress_to_fp16=False)
    return file


class TestExported:
    """Maps of a model that OpenVINO runs: brightness, which an evaluation by hand knows too."""

    @pytest.fixture(params=[False, True], ids=["any size", "fixed size"])
    def exported(self, request, tmp_path):
        return brightness_model(tmp_path / "model.xml", [1, 3, *SHAPE] if request.param else [-1, 3, -1, -1])

    def test_its_maps_are_written_and_evaluated(self, category, exported, tmp_path):
        arguments = {"dataset": category.parent, "category": "pushpins", "maps": tmp_path / "new"}
        metrics = evaluate(exported=exported, **arguments)
        images = sorted(category.glob("test/*/*.png"))
        for image in images:
            written = tifffile.imread(tmp_path / "new/pushpins/test" / image.parent.name / f"{image.stem}.tiff")
            pixels = np.asarray(Image.open(image).convert("RGB"), np.float32) / 255
            np.testing.assert_allclose(written, pixels.mean(axis=2), rtol=1e-5, atol=1e-6)
        assert metrics == evaluate(**arguments)

    def test_its_own_scores_are_taken(self, category, tmp_path, capsys):
        arguments = {"dataset": category.parent, "category": "pushpins", "maps": tmp_path / "new"}
        model = brightness_model(tmp_path / "model.xml", [-1, 3, -1, -1], scores=True)
        metrics = evaluate(exported=model, **arguments)
        assert f"scores in {tmp_path / 'new/pushpins/scores.csv'}." in capsys.readouterr().out
        images = sorted(category.glob("test/*/*.png"))
        darkness = {path: -np.asarray(Image.open(path).convert("RGB"), np.float64).mean() for path in images}
        for kind in TYPES:
            chosen = [path for path in images if path.parent.name in ("good", kind)]
            expected = roc_auc_score([path.parent.name == kind for path in chosen], [darkness[path] for path in chosen])
            assert metrics["classification"]["auc_roc"][kind] == pytest.approx(expected)
        assert metrics == evaluate(**arguments)
        brightness_model(model, [-1, 3, -1, -1])
        by_maximum = evaluate(exported=model, **arguments)
        assert "each map's maximum." in capsys.readouterr().out
        assert by_maximum["classification"] != metrics["classification"]
        assert by_maximum["localization"] == metrics["localization"]

    def test_what_cannot_be_run_is_one_sentence(self, category, tmp_path):
        arguments = {"dataset": category.parent, "category": "pushpins", "maps": tmp_path / "new"}
        with pytest.raises(UserError, match=r"model\.xml is not there"):
            evaluate(exported=tmp_path / "model.xml", **arguments)
        (tmp_path / "model.xml").write_text("<net/>")
        with pytest.raises(UserError, match="OpenVINO cannot load"):
            evaluate(exported=tmp_path / "model.xml", **arguments)
        assert not (tmp_path / "new").exists()


def test_a_model_without_maps_is_refused(category, tmp_path):
    import openvino
    from openvino import opset8 as ops

    images = ops.parameter([1, 3, *SHAPE], np.float32)
    score = ops.reduce_max(images, [1, 2, 3])
    openvino.save_model(openvino.Model([score], [images]), tmp_path / "model.xml")
    with pytest.raises(UserError, match="no output anomaly_map"):
        evaluate(dataset=category.parent, category="pushpins", maps=tmp_path, exported=tmp_path / "model.xml")


def test_an_image_is_resized_to_a_fixed_size(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (52, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    infer = load_exported(brightness_model(tmp_path / "model.xml", [1, 3, 26, 34]))
    expected = resize(torch.from_numpy(pixels).permute(2, 0, 1) / 255, [26, 34], antialias=True).mean(0)
    np.testing.assert_allclose(infer(tmp_path / "a.png").anomaly_map, expected, atol=1e-4)


def test_folders_that_number_parts_are_one_type_in_both_figures():
    accumulator, truth = SPROAccumulator(exact=True), GroundTruth((4, 4), (Region(np.array([0, 1]), 2),))
    names = [f"part{part}" for part in range(MANY_TYPES + 1)]
    for name in names:
        accumulator.add_anomalous(name, np.eye(4, dtype=np.float32), truth)
    scores = np.arange(len(names) + 1, dtype=float)
    found = _metrics(accumulator, scores, np.array(["good", *names]), [0.3])
    assert found["classification"]["auc_roc"] == {"anomalous": 1}
    assert list(found["localization"]["auc_spro"]) == ["anomalous"]
