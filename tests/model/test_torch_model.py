# SPDX-License-Identifier: Apache-2.0
"""The oracle: without its extensions, SCDAE is Anomalib's EfficientAd."""

import pytest
import torch

from anomalib_scdae.model.torch_model import SCDAEModel
from tests.conftest import CHANNELS
from tests.model.efficient_ad_pair import (
    assert_same_losses_and_gradients,
    assert_same_maps_and_scores,
    efficient_ad_pair,
)

pytestmark = pytest.mark.usefixtures("narrow_networks")

CASES = [
    ("small", False, True, (256, 256)),
    ("small", True, True, (256, 256)),
    ("small", False, False, (256, 320)),
    ("small", True, True, (273, 299)),
    ("small", False, True, (257, 258)),
    ("medium", False, True, (256, 256)),
]


@pytest.mark.parametrize(("size", "padding", "pad_maps", "image_size"), CASES)
def test_losses_and_gradients_equal_efficient_ad(
    size: str, padding: bool, pad_maps: bool, image_size: tuple[int, int]
) -> None:
    assert_same_losses_and_gradients(*efficient_ad_pair(size, padding, pad_maps), image_size)


@pytest.mark.parametrize(("size", "padding", "pad_maps", "image_size"), CASES)
def test_maps_and_scores_equal_efficient_ad(
    size: str, padding: bool, pad_maps: bool, image_size: tuple[int, int]
) -> None:
    assert_same_maps_and_scores(*efficient_ad_pair(size, padding, pad_maps), image_size)


def test_combined_map_is_the_weighted_sum_of_the_separate_ones() -> None:
    torch.manual_seed(0)
    model = SCDAEModel(teacher_out_channels=CHANNELS).eval()
    model.anomaly_map.lower.copy_(torch.tensor([0.1, 0.2, 0.3]))
    model.anomaly_map.upper.copy_(torch.tensor([0.4, 0.9, 0.7]))
    images = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        local, srm, crm = model.maps(images).split(1, dim=1)
        torch.testing.assert_close(model(images).anomaly_map, 0.5 * local + 0.25 * srm + 0.25 * crm)


def test_a_batch_has_the_mean_of_its_images_gradients() -> None:
    torch.manual_seed(0)
    model = SCDAEModel(teacher_out_channels=CHANNELS, identity_init=False)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    images, augmented, penalty = torch.rand(3, 4, 3, 256, 256)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradients(*batch: torch.Tensor) -> list[torch.Tensor]:
        return torch.autograd.grad(sum(model.losses(*batch).values()), parameters)

    whole = gradients(images, augmented, penalty)
    one_by_one = [gradients(*(x[i : i + 1] for x in (images, augmented, penalty))) for i in range(4)]
    for together, alone in zip(whole, zip(*one_by_one, strict=True), strict=True):
        torch.testing.assert_close(together, torch.stack(alone).mean(dim=0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("known", [False, True])
def test_images_seen_once_give_the_losses_and_gradients_of_images_seen_twice(known: bool) -> None:
    model, _ = efficient_ad_pair()
    model.train()
    images, penalty = torch.rand(2, 2, 3, 256, 256)
    teacher = model.teacher_features(images) if known else None
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    results = []
    for again in (images.clone(), None):
        torch.manual_seed(7)  # dropout
        terms = model.losses(images, again, penalty, teacher, hard_quantile=0.9)
        results.append((terms, torch.autograd.grad(sum(terms.values()), parameters)))
    (twice, by_twice), (once, by_once) = results
    torch.testing.assert_close(once, twice)
    torch.testing.assert_close(by_once, by_twice, rtol=1e-4, atol=1e-6)


def test_hard_term_has_the_quantile_that_it_is_given() -> None:
    model, _ = efficient_ad_pair()
    images, penalty = torch.rand(2, 1, 3, 256, 256)
    with torch.no_grad():
        distances = (model.teacher_features(images) - model.student(images)[0]).square()
        for quantile in (0.0, 0.99):
            found = model.train()(images, penalty, hard_quantile=quantile)["hard"]
            torch.testing.assert_close(found, distances[distances >= distances.quantile(quantile)].mean())


def test_every_trainable_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = SCDAEModel(teacher_out_channels=CHANNELS, identity_init=False)
    sum(model(*torch.rand(2, 2, 3, 256, 256)).values()).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and not (p.grad != 0).any()]
    assert without == []
    assert all(p.grad is None for p in model.teacher.parameters())


ABLATIONS = {
    1: ([[]], True, 0.0),
    2: ([["srm"]], True, 0.0),
    3: ([["crm"]], True, 0.0),
    4: ([[], []], False, 0.0),
    5: ([["srm"], ["srm"]], False, 0.0),
    6: ([["crm"], ["crm"]], False, 0.0),
    7: ([["srm"], ["crm"]], False, 0.0),
    8: ([[]], True, 0.5),
    9: ([["srm"], ["crm"]], True, 0.0),
    10: ([["srm"], ["crm"]], False, 0.5),
    11: ([["srm"], ["crm"]], True, 0.5),
    "series": ([["crm", "srm"]], True, 0.0),
}


@pytest.mark.parametrize("experiment", ABLATIONS)
def test_every_ablation_is_a_configuration(experiment: int | str) -> None:
    branches, fusion, cosine_weight = ABLATIONS[experiment]
    torch.manual_seed(0)
    model = SCDAEModel(branches=branches, fusion=fusion, cosine_weight=cosine_weight, teacher_out_channels=CHANNELS)
    terms = model(*torch.rand(2, 1, 3, 256, 256))
    expected = {"hard", "penalty"}
    for k in range(1, len(branches) + 1):
        expected |= {f"ta_{k}", f"sa_{k}"} | ({f"cosine_{k}"} if cosine_weight else set())
    assert set(terms) == expected
    assert all(torch.isfinite(term) for term in terms.values())
    assert (model.fusion is not None) == (fusion and len(branches) > 1)
    assert model.eval().maps(torch.rand(1, 3, 256, 256)).shape == (1, 1 + len(branches), 256, 256)


def test_started_as_the_identity_the_modules_leave_efficient_ad_unchanged() -> None:
    torch.manual_seed(0)
    model = SCDAEModel(teacher_out_channels=CHANNELS).eval()
    images = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        plain = [branch.autoencoder(images, images.shape[-2:]) for branch in model.branches]
        features = model.global_features(images)
    for expected, output, fused in zip(plain, features.outputs, features.fused, strict=True):
        torch.testing.assert_close(output, expected)
        torch.testing.assert_close(fused, expected)


@pytest.mark.parametrize("size", [(256, 512), (257, 300), (480, 480), (912, 256)])
def test_any_size_trains_and_predicts(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = SCDAEModel(teacher_out_channels=4)
    assert all(torch.isfinite(term) for term in model(*torch.rand(2, 1, 3, *size)).values())
    with torch.no_grad():
        assert model.eval()(torch.rand(1, 3, *size)).anomaly_map.shape == (1, 1, *size)


def test_too_small_an_image_is_told_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"255 x 300 is too small.*image_size"):
        SCDAEModel(teacher_out_channels=4).eval()(torch.rand(1, 3, 255, 300))


@pytest.mark.parametrize(
    ("branches", "message"),
    [
        ([["srm"], ["dcm"]], "unknown module dcm"),
        ([], "one list of modules per autoencoder"),
        (["srm", "crm"], "one list of modules per autoencoder"),
    ],
)
def test_wrong_branches_are_told_in_one_sentence(branches: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SCDAEModel(branches=branches, teacher_out_channels=4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_stays_finite_and_close(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = SCDAEModel(teacher_out_channels=CHANNELS, aggregation="sum", identity_init=False)
    images, augmented, penalty = torch.rand(3, 1, 3, 256, 256)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    exact = model.losses(images, augmented, penalty)
    with torch.autocast("cpu", dtype):
        mixed = model.losses(images, augmented, penalty)
    assert all(term.dtype == torch.float32 for term in mixed.values())
    for name, term in mixed.items():
        torch.testing.assert_close(term, exact[name], rtol=0.1, atol=1e-3)
