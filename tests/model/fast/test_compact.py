# SPDX-License-Identifier: Apache-2.0
"""A compact model against the folded one, whose differences it measures along a few directions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.swa_utils import AveragedModel

from anomalib_scdae.errors import UserError
from anomalib_scdae.model.fast.compact import CompactSCDAE
from anomalib_scdae.model.fast.compaction import CONSTANT_UNTIL, LOCAL, Compaction, _Moments, quarters_moved
from anomalib_scdae.model.fast.folding import Affine, FoldedSCDAE
from anomalib_scdae.model.torch_model import SCDAEModel

CONFIGURATIONS = [
    {},
    {"branches": [[]]},
    {"branches": [["crm", "srm"]]},
    {"branches": [["srm"], []], "fusion": False},
]
CHANNELS = 24


def _model(**options: object) -> SCDAEModel:
    torch.manual_seed(0)
    return SCDAEModel(teacher_out_channels=CHANNELS, identity_init=False, compact=True, **options).eval()


def _images(count: int = 2, seed: int = 0) -> list[torch.Tensor]:
    """Images of different brightness and contrast."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.rand(count, 2, generator=generator)
    return [low + (1 - low) * high * torch.rand(1, 3, 256, 256, generator=generator) for low, high in levels]


def _let_context_vary(model: SCDAEModel) -> None:
    """Make the autoencoders, and with them SRM, CRM and SFM, listen to the image, which random weights hardly do."""
    with torch.no_grad():
        for name, weight in model.branches.named_parameters():
            if "autoencoder" in name and name.endswith("weight"):
                weight.mul_(2.5)


def _distances_along(
    model: SCDAEModel, images: torch.Tensor, outputs: list[torch.Tensor] | None = None
) -> torch.Tensor:
    """Compute what a compact model should, from all channels of the features."""
    compaction = model.compaction
    student_local, student_global = model.student(images)
    fused = model.global_features(images).fused if outputs is None else outputs
    pairs = [(model.teacher_features(images) - student_local, compaction.local)]
    pairs += [(output - student_global, compaction.branches) for output in fused]
    along = [torch.einsum("bchw,cr->brhw", difference, directions) for difference, directions in pairs]
    return torch.stack([found.square().sum(dim=1) for found in along], dim=1) / CHANNELS


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
@torch.no_grad()
def test_modules_that_vary_stay_as_they_are(options: dict) -> None:
    model = _model(**options)
    model.fit_compaction(_images())
    model.compaction.constant.fill_(False)
    (images,) = _images(1, seed=1)
    assert isinstance(model.folded(), CompactSCDAE)
    torch.testing.assert_close(model.distances(images).maps, _distances_along(model, images), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
@torch.no_grad()
def test_modules_that_do_not_vary_become_factors_and_terms(options: dict) -> None:
    model = _model(**options)
    model.fit_compaction(_images())
    compaction = model.compaction
    compaction.constant.fill_(True)
    (images,) = _images(1, seed=1)
    decoded = [branch.autoencoder(images, images.shape[-2:]) for branch in model.branches]
    outputs = [
        factors[:, None, None] * output + terms[:, None, None]
        for output, factors, terms in zip(decoded, compaction.factors, compaction.terms, strict=True)
    ]
    expected = _distances_along(model, images, outputs)
    torch.testing.assert_close(model.distances(images).maps, expected, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_factors_and_terms_are_what_the_modules_say() -> None:
    """Of one image alone, for which the average is the image's own, nothing is lost."""
    model, (image,) = _model(), _images(1)
    _let_context_vary(model)
    model.fit_compaction([image])
    model.compaction.constant.fill_(True)
    torch.testing.assert_close(model.distances(image).maps, _distances_along(model, image), rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_with_all_directions_nothing_is_lost() -> None:
    model, (image,) = _model(), _images(1)
    model.fit_compaction(_images())
    whole, _ = torch.linalg.qr(torch.randn(CHANNELS, CHANNELS))
    model.compaction.local = model.compaction.branches = whole
    model.compaction.constant.fill_(False)
    torch.testing.assert_close(model.distances(image), model.plain_distances(image), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_directions_are_those_in_which_normal_differences_are_longest_and_random_ones() -> None:
    model, images = _model(), _images()
    model.fit_compaction(images)
    strongest, random = LOCAL.of(CHANNELS)
    assert (strongest, random) == (6, 2)
    local = torch.cat([FoldedSCDAE(model).differences(image)[0][0].movedim(1, -1).flatten(0, -2) for image in images])
    _, _, directions = torch.linalg.svd(local.double(), full_matrices=False)
    expected = (directions[:strongest].T @ directions[:strongest]).float()
    found = model.compaction.local[:, :strongest]
    torch.testing.assert_close(found @ found.T, expected, rtol=1e-3, atol=1e-4)
    lengths = torch.tensor([1.0] * strongest + [(CHANNELS - strongest) / random] * random)
    torch.testing.assert_close(model.compaction.local.T @ model.compaction.local, lengths.diag(), rtol=1e-4, atol=1e-5)


@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 40), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_directions_give_the_whole_length_on_average(channels: int, strongest: int, random: int, seed: int) -> None:
    """What stands for the identity has its trace, and is the identity where there is a direction for every channel."""
    strongest = min(strongest, channels)
    random = min(random, channels - strongest)
    moments = _Moments()
    features = torch.randn(1, channels, 3, 5, generator=torch.Generator().manual_seed(seed))
    moments.add(features)
    directions = moments.directions(strongest, random).float()
    assert directions.shape == (channels, strongest + random)
    if random:  # the trace of what stands for the identity is that of the identity
        assert directions.square().sum() == pytest.approx(channels, rel=1e-4)
    if strongest + random == channels:
        along = torch.einsum("bchw,cr->brhw", features, directions).square().sum(dim=1)
        torch.testing.assert_close(along, features.square().sum(dim=1), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_whether_modules_vary_is_measured() -> None:
    model = _model()
    model.fit_compaction(_images())
    assert model.compaction.change < CONSTANT_UNTIL
    assert model.compaction.constant
    _let_context_vary(model)
    model.fit_compaction(_images())
    assert model.compaction.change > CONSTANT_UNTIL
    assert not model.compaction.constant


def test_the_change_counts_factors_and_terms() -> None:
    from anomalib_scdae.model.fast.compaction import _FactorsAndTerms

    features = torch.full((1, 2, 4, 4), 3.0)
    found = _FactorsAndTerms.of([Affine(features, scale=torch.tensor([[1.5, 1.0]]), shift=torch.tensor([[0.0, 2.0]]))])
    change = found.change_from(torch.ones(1, 2), torch.zeros(1, 2))
    assert change == 2 * ((0.5 * 3) ** 2 + 2**2) / 2


def test_every_part_of_an_image_moves_and_none_is_lost() -> None:
    image = torch.arange(4.0 * 6).view(1, 1, 4, 6)
    moved = quarters_moved(image)
    assert (moved != image).all()
    assert torch.equal(moved.flatten().sort().values, image.flatten())


@torch.no_grad()
def test_fitting_twice_is_the_same_and_batches_do_not_matter() -> None:
    first, second, batched = _model(), _model(), _model()
    images = _images()
    first.fit_compaction(images)
    second.fit_compaction(iter(images))
    batched.fit_compaction([torch.cat(images)])
    for name, value in first.compaction.state_dict().items():
        assert torch.equal(value, second.compaction.state_dict()[name]), name
    (image,) = _images(1, seed=1)
    torch.testing.assert_close(first.distances(image), batched.distances(image), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_until_it_is_fitted_it_is_the_exact_model() -> None:
    model, (image,) = _model(), _images(1)
    exact = SCDAEModel(**{**model.options, "compact": False}).eval()
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("compaction.")}
    exact.load_state_dict(weights)
    torch.testing.assert_close(model.distances(image), exact.distances(image), rtol=0, atol=0)
    model.fit_compaction(_images())
    assert not torch.equal(model.distances(image).maps, exact.distances(image).maps)
    model.load_state_dict(weights)  # which knows of no compaction: that of other weights would be wrong
    assert not model.is_compact
    torch.testing.assert_close(model.distances(image), exact.distances(image), rtol=0, atol=0)


@torch.no_grad()
def test_its_state_is_saved() -> None:
    model, (image,) = _model(), _images(1)
    model.fit_compaction(_images())
    other = SCDAEModel(**model.options).eval()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.distances(image), model.distances(image), rtol=0, atol=0)


def test_its_state_can_be_averaged() -> None:
    """Callbacks that average weights average all that a model holds."""
    model = _model()
    averaged = AveragedModel(model.compaction, use_buffers=True)
    for _ in range(2):
        model.fit_compaction(_images())
        averaged.update_parameters(model.compaction)
    for name, value in model.compaction.state_dict().items():
        torch.testing.assert_close(averaged.module.state_dict()[name], value, msg=name)


def test_with_gradients_it_is_compact_too() -> None:
    model, (image,) = _model(), _images(1)
    with torch.no_grad():
        model.fit_compaction(_images())
        expected = model.distances(image)
    image.requires_grad_()
    found = model.distances(image)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    found.maps.sum().backward()
    assert image.grad.abs().sum() > 0


def test_training_does_not_change() -> None:
    model, images = _model(), torch.cat(_images(2))
    exact = SCDAEModel(**{**model.options, "compact": False})
    exact.load_state_dict({n: v for n, v in model.state_dict().items() if not n.startswith("compaction.")})
    with torch.no_grad():
        model.fit_compaction(_images())
    terms = []
    for networks in (model, exact):
        torch.manual_seed(0)  # the autoencoders drop features out
        terms.append(networks.train().losses(images[:1], images[1:], images[:1]))
    for name in terms[0]:
        assert torch.equal(terms[0][name], terms[1][name]), name


@torch.no_grad()
def test_it_takes_less_arithmetic() -> None:
    from anomalib_scdae.benchmark.measure.arithmetic import inference_macs

    model = SCDAEModel(compact=True).eval()
    image = torch.rand(1, 3, 256, 256)
    exact = inference_macs(model, image)
    model.fit_compaction([torch.rand(1, 3, 256, 256)])
    assert inference_macs(model, image) < 0.66 * exact
    model.compaction.constant.fill_(False)
    assert inference_macs(model, image) < 0.75 * exact


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    model = _model()
    with torch.no_grad():
        model.student.network.conv1.weight[0, 0, 0, 0] = value
    with pytest.raises(UserError, match="not finite"):
        model.fit_compaction(_images(1))
    assert not model.is_compact


def test_no_image_is_refused() -> None:
    with pytest.raises(UserError, match="pass a datamodule"):
        _model().fit_compaction([])
    exact = SCDAEModel(teacher_out_channels=CHANNELS)
    with pytest.raises(UserError, match="compact=True"):
        exact.fit_compaction(_images(1))


def test_small_models_have_a_direction_at_least() -> None:
    compaction = Compaction(channels=3, branches=2)
    assert compaction.local.shape == (3, 2)
    assert compaction.branches.shape == (3, 2)
    assert Compaction(channels=1, branches=1).local.shape == (1, 1)


@torch.no_grad()
def test_the_medium_networks_can_be_compact() -> None:
    model, (image,) = _model(model_size="medium", padding=True, pad_maps=False), _images(1)
    model.fit_compaction([image])
    model.compaction.constant.fill_(False)
    torch.testing.assert_close(model.distances(image).maps, _distances_along(model, image), rtol=1e-4, atol=1e-6)
