# SPDX-License-Identifier: Apache-2.0
"""The context score is fitted in training, travels with the checkpoint, and works without validation images."""

from pathlib import Path

import pytest
import torch
from anomalib.data import Folder
from anomalib.data.utils import read_image
from anomalib.engine import Engine

from anomalib_scdae import SCDAE
from anomalib_scdae.model.context_score import cell_means
from tests.conftest import draw_image

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("narrow_networks")]


@pytest.fixture(scope="module")
def good_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven normal images."""
    folder = tmp_path_factory.mktemp("mine") / "good"
    for seed in range(7):
        draw_image(folder / f"{seed}.png", seed)
    return folder


def _train(folder: Path, good_images: Path, arguments: dict, steps: int = 1, **options: object) -> tuple[SCDAE, Path]:
    data = Folder(
        name="mine", root=good_images.parent, normal_dir="good", val_split_mode="none", test_split_mode="none",
        train_batch_size=1, num_workers=0,
    )  # fmt: skip
    engine = Engine(max_steps=steps, default_root_dir=folder, accelerator="cpu", enable_progress_bar=False)
    model = SCDAE(**arguments)
    engine.fit(model, datamodule=data, **options)
    return model, Path(engine.best_model_path)


@torch.no_grad()
def _distances(model: SCDAE, good_images: Path) -> torch.Tensor:
    images = [model.transformed(read_image(file, as_tensor=True)[None]) for file in sorted(good_images.iterdir())]
    return torch.cat([model.model.context_score(cell_means(model.model.teacher_features(image))) for image in images])


def test_it_is_fitted_to_the_training_images_and_travels_with_the_checkpoint(
    good_images: Path, model_arguments: dict, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="training images stand in"):
        model, checkpoint = _train(tmp_path / "first", good_images, model_arguments)
    model.eval()
    score = model.model.context_score
    distances = _distances(model, good_images)
    assert distances.mean() < score.unseen[0], "it has seen these images"
    assert score.scale > 0

    loaded = SCDAE.load_from_checkpoint(checkpoint).eval()
    torch.testing.assert_close(_distances(loaded, good_images), distances)
    image = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        torch.testing.assert_close(loaded(image).pred_score, model(image).pred_score)

    resumed, _ = _train(tmp_path / "second", good_images, model_arguments, steps=2, ckpt_path=checkpoint)
    for name in ("mean", "std", "directions", "gains", "other_gain", "unseen"):
        assert torch.equal(getattr(resumed.model.context_score, name), getattr(score, name)), name


def test_thresholds_from_training_images_expect_unseen_ones(
    good_images: Path, model_arguments: dict, tmp_path: Path
) -> None:
    """The covariance finds an image that it has seen too near; a threshold from that would refuse good images."""
    with pytest.warns(UserWarning, match="training images stand in"):
        model, _ = _train(tmp_path, good_images, model_arguments)
    model.eval().cpu()
    score, networks = model.model.context_score, model.model
    maxima, seen = [], []
    with torch.no_grad():
        for file in sorted(good_images.iterdir()):
            image = model.transformed(read_image(file, as_tensor=True)[None])
            distances = networks.distances(image)
            maxima.append(networks.anomaly_map(distances.maps, image.shape[-2:]).amax())
            seen.append(distances.context)
    scores = score.join(torch.stack(maxima), score.as_if_unseen(torch.cat(seen)))
    torch.testing.assert_close(model.post_processor.image_threshold, scores.max(), rtol=1e-3, atol=1e-4)


def test_a_handful_of_images_train_without_it(good_images: Path, model_arguments: dict, tmp_path: Path) -> None:
    few = tmp_path / "few" / "good"
    few.mkdir(parents=True)
    for file in sorted(good_images.iterdir())[:3]:
        (few / file.name).write_bytes(file.read_bytes())
    with pytest.warns(UserWarning, match="context score is left out"):
        model, _ = _train(tmp_path, few, model_arguments)
    assert not model.model.context_score.is_fitted
    assert torch.isfinite(model.post_processor.image_threshold)
