# SPDX-License-Identifier: Apache-2.0
"""Fixtures for the whole suite: small networks' files and small datasets, all made on the spot."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from safetensors.torch import save_file

# How long an example takes says more about the machine than about the code.
settings.register_profile("anomalib-scdae", deadline=None)
settings.load_profile("anomalib-scdae")

# Processes that test side by side share the cores, and so do the programs that they start.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    threads = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    torch.set_num_threads(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))

ROOT = Path(__file__).resolve().parents[1]

#: Files that take minutes for a few tests. They come first, so that no process is left alone with one at the end.
LONGEST = ("test_tools.py", "test_plugin.py", "test_examples.py", "test_end_to_end.py")

#: Comes last: in a process that has exported and quantised what this file does, OpenVINO's libraries may crash as soon
#: as another process is started.
LAST = "test_compact_training.py"

#: Feature channels of the networks in the tests; the paper's 384 would only take time.
CHANNELS = 16


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests by file: the longest first, and last the one after which a process should end."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)} | {LAST: len(LONGEST) + 1}
    items.sort(key=lambda item: ranks.get(item.path.name, len(LONGEST)))


def ablation_files() -> dict[str, Path]:
    """The paper's ablations, {number of the experiment, or ``series`` for Fig. 8: file in ``configs/ablation``}."""
    files = sorted((ROOT / "configs/ablation").glob("*.yaml"))
    return {"series" if file.stem == "fig8_series" else str(int(file.stem[3:5])): file for file in files}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the development photographs; a test that uses it is skipped where it is absent."""
    folder = Path(os.environ.get("SCDAE_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the development photographs in {folder}")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _offline() -> None:
    """No test reaches for the network."""
    os.environ["ANOMALIB_SCDAE_OFFLINE"] = "1"


@pytest.fixture(scope="module")
def narrow_networks() -> Iterator[None]:
    """Make a module's PDNs an eighth as wide, for tests of what happens around the networks, not in them."""
    from tests.narrow import make_narrow

    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch.setattr)
        yield


@pytest.fixture(scope="module")
def traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let a module's exports share ONNX graphs that are the same: to trace one takes longer than all the rest."""
    from anomalib_scdae.benchmark.measure.export import _fingerprint
    from anomalib_scdae.model.deploy.export import FoldedExport
    from anomalib_scdae.model.training.checks import check_exportable

    trace, traced = FoldedExport.to_onnx, {}

    def to_onnx(
        model: FoldedExport,
        export_root: Path | str,
        model_file_name: str = "model",
        input_size: tuple[int, int] | None = None,
        **options: Any,
    ) -> Path:
        check_exportable(model.model)
        model._check_input_size(input_size)
        key = (_fingerprint(model), model_file_name, input_size, repr(options))
        if key not in traced:
            folder = tmp_path_factory.mktemp("traced")
            path = trace(model, folder, model_file_name, input_size, **options)
            traced[key] = folder, path.relative_to(folder)
        folder, path = traced[key]
        shutil.copytree(folder, export_root, dirs_exist_ok=True)
        return Path(export_root) / path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FoldedExport, "to_onnx", to_onnx)
        yield


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small PDN with random weights, as a file; a narrow one for modules with ``narrow_networks``."""
    from anomalib.models.image.efficient_ad.torch_model import SmallPatchDescriptionNetwork

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file(SmallPatchDescriptionNetwork(CHANNELS).state_dict(), path)
    return path


def draw_image(path: Path, seed: int, size: tuple[int, int] = (280, 300), spot: bool = False) -> None:
    """Write a smooth random picture of ``size`` (height, width), with a bright square if ``spot``."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 200, (6, 6, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC)).copy()
    if spot:
        pixels[100:140, 120:170] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def draw_folder(folder: Path, normal: int, abnormal: int) -> Path:
    """Draw a user's own folder: ``normal`` pictures in ``good``, ``abnormal`` ones in ``bad``; return it."""
    for seed in range(normal):
        draw_image(folder / "good" / f"{seed}.png", seed)
    for seed in range(abnormal):
        draw_image(folder / "bad" / f"{seed}.png", 50 + seed, spot=True)
    return folder


def draw_mask(path: Path, size: tuple[int, int] = (280, 300)) -> None:
    """Write the mask of the square that :func:`draw_image` puts there."""
    mask = np.zeros(size, dtype=np.uint8)
    mask[100:140, 120:170] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


@pytest.fixture(scope="session")
def penalty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pictures that stand for natural photographs."""
    folder = tmp_path_factory.mktemp("penalty")
    for seed in range(3):
        draw_image(folder / f"{seed}.png", 1000 + seed)
    return folder


@pytest.fixture(scope="session")
def loco_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one category, ``part``, in MVTec LOCO's layout."""
    root = tmp_path_factory.mktemp("loco")
    part = root / "part"
    for seed in range(4):
        draw_image(part / "train/good" / f"{seed:03}.png", seed)
    for seed in range(3):
        draw_image(part / "validation/good" / f"{seed:03}.png", 10 + seed)
    for seed in range(2):
        draw_image(part / "test/good" / f"{seed:03}.png", 20 + seed)
        for number, kind in enumerate(("logical_anomalies", "structural_anomalies")):
            draw_image(part / "test" / kind / f"{seed:03}.png", 30 + 10 * number + seed, spot=True)
            draw_mask(part / "ground_truth" / kind / f"{seed:03}" / "000.png")
    return root


@pytest.fixture
def model_arguments(teacher_file: Path, penalty_folder: Path) -> dict[str, object]:
    """Arguments of SCDAE that need neither network nor time."""
    return {"teacher": str(teacher_file), "penalty_images": str(penalty_folder), "teacher_out_channels": CHANNELS}
