# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from anomalib.models.image.efficient_ad.torch_model import reduce_tensor_elems
from hypothesis import given
from hypothesis import strategies as st

from anomalib_scdae.model.loss import SCDAELoss, cosine_loss, hard_count


@given(st.integers(2, 5000), st.integers(0, 2**31), st.sampled_from([0.0, 0.9, 0.99, 0.999]))
def test_hard_loss_keeps_what_lies_at_or_above_the_quantile(elements: int, seed: int, quantile: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    distances = torch.randperm(elements, generator=generator).float() / elements  # no two are equal
    kept = distances[distances >= torch.quantile(reduce_tensor_elems(distances), quantile)]
    assert hard_count(elements, quantile) == len(kept)
    torch.testing.assert_close(distances.topk(hard_count(elements, quantile)).values.sum(), kept.sum())


def test_hard_loss_keeps_a_thousandth() -> None:
    assert hard_count(384 * 56 * 56) == hard_count(384 * 56 * 56, 0.999) == 1205


def test_hard_term_is_taken_per_image() -> None:
    distances, rest = torch.rand(3, 40), torch.rand(2, 3, 8, 5, 5)

    def hard(chosen: slice) -> torch.Tensor:
        return SCDAELoss()(distances[chosen], rest[0], *rest, [], [])["hard"]

    alone = [hard(slice(i, i + 1)) for i in range(3)]
    torch.testing.assert_close(hard(slice(None)), torch.stack(alone).mean())


def test_hard_loss_has_no_limit_of_elements() -> None:
    assert hard_count(4097**2) == 4097**2 - math.ceil(0.999 * (4097**2 - 1))


def test_cosine_loss_sees_directions_only() -> None:
    a, b = torch.randn(2, 2, 8, 5, 5)
    torch.testing.assert_close(cosine_loss(3 * a, b), cosine_loss(a, 0.2 * b))
    torch.testing.assert_close(cosine_loss(a, 5 * a), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(cosine_loss(a, -a), torch.tensor(2.0))


@pytest.mark.parametrize(("scale", "weight"), [("norm", 0.5 / 8), ("mean", 0.5)])
def test_csf_is_distance_plus_weighted_cosine_after_fusion(scale: str, weight: float) -> None:
    penalty, teacher_aug, student_aug, output, fused = torch.randn(5, 2, 8, 5, 5)
    hard = torch.rand(2, 4)
    terms = SCDAELoss(0.5, scale)(hard, penalty, teacher_aug, student_aug, [output], [fused])
    torch.testing.assert_close(terms["hard"], hard.mean())
    torch.testing.assert_close(terms["penalty"], penalty.square().mean())
    torch.testing.assert_close(terms["ta_1"], (teacher_aug - output).square().mean())
    torch.testing.assert_close(terms["sa_1"], (fused - student_aug).square().mean())
    cosines = (fused * student_aug).sum(1) / (fused.norm(dim=1) * student_aug.norm(dim=1))
    torch.testing.assert_close(terms["cosine_1"], weight * (1 - cosines).mean())
