# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from anomalib.pipelines.tiled_ensemble.components.utils.helper_functions import drop_resize_transform
from anomalib.pre_processing import PreProcessor
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import Compose, InterpolationMode, Resize

from anomalib_scdae import SCDAE
from anomalib_scdae.errors import UserError
from anomalib_scdae.model.deploy.pre_processing import AntialiasedResize, ExactPreProcessor

SIDES = st.integers(1, 90)


@given(SIDES, SIDES, SIDES, SIDES)
def test_resizing_equals_torchvision(height: int, width: int, new_height: int, new_width: int) -> None:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height))
    if new_width > 1:
        expected = Resize((new_height, new_width), antialias=True)(images)
    else:  # PyTorch 2.14 repeats the first row where another height and a width of one are asked for
        expected = Resize((new_width, new_height), antialias=True)(images.mT.contiguous()).mT
    torch.testing.assert_close(AntialiasedResize((new_height, new_width))(images), expected, rtol=1e-4, atol=1e-5)


def test_the_tiled_ensemble_can_take_the_resizing_over() -> None:
    pre_processor = SCDAE.configure_pre_processor((256, 512))
    drop_resize_transform(pre_processor)
    image = torch.rand(1, 3, 40, 60)
    assert torch.equal(pre_processor(image), image)


@pytest.mark.parametrize(
    "transform", [Resize((64, 96)), Compose([Resize((64, 96), antialias=True)]), Compose([Compose([Resize((64, 96))])])]
)
def test_an_exported_model_sees_the_pixels_of_training(transform: Compose) -> None:
    images = torch.rand(2, 3, 300, 411)
    pre_processor = ExactPreProcessor(transform)
    torch.testing.assert_close(pre_processor(images), transform(images), rtol=1e-4, atol=1e-5)
    restored = ExactPreProcessor()
    restored.load_checkpoint_config(pre_processor.checkpoint_config())
    torch.testing.assert_close(restored(images), transform(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", [{"interpolation": InterpolationMode.BICUBIC}, {"antialias": False}])
def test_a_resizing_that_an_export_does_not_know_is_refused(how: dict) -> None:
    with pytest.raises(UserError, match="an exported model bilinearly with antialias=True: leave both at that"):
        SCDAE(pre_processor=PreProcessor(Compose([Compose([Resize((256, 256), **how)])])))


def test_no_transform() -> None:
    images = torch.rand(1, 3, 8, 8)
    assert ExactPreProcessor()(images) is images
