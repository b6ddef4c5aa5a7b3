# SPDX-License-Identifier: Apache-2.0
"""The parts of DSKD that its description names."""

import pytest
import torch

from anomalib_scdae.benchmark.baselines.dskd.affinity import ContextualAffinityLoss, affinities, disagreement
from anomalib_scdae.benchmark.baselines.dskd.students import GlobalContextCondensing, Student
from tests.benchmark.baselines.systems import SIDE, make


def features(height: int = 4, width: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 8, height, width, generator=torch.Generator().manual_seed(seed))


def test_affinities_are_the_cosines_of_every_two_positions() -> None:
    found, flat = affinities(features()), features().flatten(2)
    for first in range(20):
        for second in range(20):
            expected = torch.cosine_similarity(flat[:, :, first], flat[:, :, second])
            torch.testing.assert_close(found[:, first, second], expected)


def test_it_is_the_likeness_of_positions_that_must_agree_not_their_features() -> None:
    teacher = features()
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1))).Q
    turned = torch.einsum("cd,bdhw->bchw", turn, teacher)
    assert float(ContextualAffinityLoss()([teacher], [turned])) == pytest.approx(0, abs=1e-5)
    assert float(ContextualAffinityLoss()([teacher], [features(seed=2)])) > 0.1


def test_an_exchanged_position_is_where_they_disagree() -> None:
    teacher = features()
    student = teacher.clone()
    student[:, :, 1, 2] = features(seed=3)[:, :, 1, 2]
    found = disagreement(teacher, student)
    assert found.shape == (2, 1, 4, 5)
    assert (found.flatten(1).argmax(dim=1) == 1 * 5 + 2).all()


def test_fine_stages_are_averaged_before_they_are_compared() -> None:
    assert disagreement(features(64, 64), features(64, 64, seed=1)).shape == (2, 1, 32, 32)


def test_the_borders_are_looked_at_where_cells_do_not_divide_a_stage() -> None:
    one = torch.rand(1, 4, 80, 80)
    other = one.clone()
    other[..., 79] = -1
    differing = disagreement(one, other)
    assert differing.shape[-2:] == (27, 27)
    assert differing[..., -1].min() > differing[..., :-1].max()


def test_the_context_of_any_position_is_that_of_the_whole_image() -> None:
    block = GlobalContextCondensing(16)
    embedding = torch.randn(1, 16, 8, 8, requires_grad=True)
    block(embedding)[0, :, 0, 0].sum().backward()
    assert (embedding.grad[0].abs().sum(dim=0) > 0).all()


@pytest.mark.parametrize(
    ("backbone", "channels"), [("resnet18.tv_in1k", (64, 128, 256)), ("efficientnet_lite0", (24, 40, 112))]
)
def test_a_student_answers_in_the_teachers_shapes(backbone: str, channels: tuple[int, ...]) -> None:
    stages = [torch.rand(1, width, 32 // 2**index, 32 // 2**index) for index, width in enumerate(channels)]
    for condenses in (False, True):
        found = Student(backbone, channels, condenses)(stages)
        assert [stage.shape for stage in found] == [stage.shape for stage in stages]


def test_both_maps_count_after_they_are_standardised() -> None:
    model = make("DskdReconstruction").model.eval()
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = model.separate_maps(images)
        model.scale.fit([maps])
        found = model(images)
    normal = maps.transpose(0, 1).flatten(1)
    expected = (maps - normal.mean(dim=1)[:, None, None]) / normal.std(dim=1, unbiased=False)[:, None, None]
    torch.testing.assert_close(found.anomaly_map, expected.sum(dim=1, keepdim=True), rtol=1e-3, atol=1e-3)
