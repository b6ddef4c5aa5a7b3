# SPDX-License-Identifier: Apache-2.0
"""The folded model against the plain one, which the other tests check."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from anomalib_scdae.model.fast.folding import FoldedSCDAE, compose, framed
from anomalib_scdae.model.torch_model import SCDAEModel

pytestmark = pytest.mark.usefixtures("narrow_networks")

SRM, CRM = "srm", "crm"

#: Every row of the paper's ablations that has networks of its own, the series variant, and other options.
CONFIGURATIONS = [
    {"branches": [[]]},
    {"branches": [[SRM]]},
    {"branches": [[CRM]]},
    {"branches": [[], []], "fusion": False},
    {"branches": [[SRM], [SRM]], "fusion": False},
    {"branches": [[CRM], [CRM]], "fusion": False},
    {"branches": [[SRM], [CRM]], "fusion": False},
    {"branches": [[SRM], [CRM]]},
    {"branches": [[CRM, SRM]]},
    {"branches": [[SRM, CRM, SRM], []]},
    {"branches": [[SRM], [CRM]], "padding": True},
    {"branches": [[SRM], [CRM]], "model_size": "medium", "padding": True, "pad_maps": False},
    {"aggregation": "sum", "crm_gate": "plain", "fusion_gate": "plain"},
    {"aggregation": "softmax", "crm_gate": "residual", "local_weight": 0.3},
]


def _model(**options) -> SCDAEModel:
    """Small networks in which every module matters, and statistics that are not the initial ones."""
    torch.manual_seed(0)
    model = SCDAEModel(teacher_out_channels=12, identity_init=False, **options).eval()
    model.teacher_mean.normal_()
    model.teacher_std.uniform_(0.5, 2)
    model.anomaly_map.lower.uniform_(0, 0.1)
    model.anomaly_map.upper.uniform_(0.2, 0.4)
    averages = torch.randn(8, model.context_score.mean.numel())
    model.context_score.fit(averages)
    model.context_score.standardise(torch.rand(8), model.context_score(averages))
    return model


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
def test_folded_equals_plain(options: dict) -> None:
    model = _model(**options)
    images = torch.rand(1, 3, 256, 283)
    with torch.no_grad():
        expected, found = model.plain_distances(images), FoldedSCDAE(model).distances(images)
    torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.context, expected.context, rtol=1e-4, atol=1e-4)


def test_score_and_map_equal_those_of_the_plain_model() -> None:
    model, images = _model(), torch.rand(2, 3, 269, 256)
    with torch.no_grad():
        expected = model.prediction(model.plain_distances(images), images.shape[-2:])
        found = FoldedSCDAE(model)(images)
    torch.testing.assert_close(found.anomaly_map, expected.anomaly_map, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.pred_score, expected.pred_score, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(7, 9), (4, 4), (3, 5)])
def test_two_convolutions_as_one_with_the_border_completed(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 5, 3, padding=1)
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        features, composed = first(image), compose(first, second)
        torch.testing.assert_close(framed(composed(image), features, second), second(features))
        # The border is why: without its own computation it would be wrong.
        naive = F.conv2d(image, composed.weight, composed.bias, padding=2)
        assert not torch.allclose(naive, second(features), atol=1e-3)


def test_the_fold_is_used_for_evaluation_only_and_follows_the_weights() -> None:
    model, images = _model(), torch.rand(1, 3, 256, 256)
    names = set(model.state_dict())
    with torch.no_grad():
        before = model.distances(images).maps
        first = model.folded()
        assert model.folded() is first
        model.branches[0].context[0].conv.weight.mul_(3)
        after = model.distances(images).maps
        assert model.folded() is not first
        torch.testing.assert_close(after, model.plain_distances(images).maps, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(after, before)
        model.load_state_dict(_model(aggregation="mean").state_dict())
        torch.testing.assert_close(model.distances(images).maps, before)
    assert set(model.state_dict()) == names
    model.distances(images).maps.sum().backward()  # with gradients, the plain model answers
    assert model.branches[0].context[0].conv.weight.grad is not None


def test_weights_that_learn_nothing_are_folded_with_gradients_on_and_never_within_a_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As those of a whole module that was exported."""
    model, images = _model().requires_grad_(requires_grad=False), torch.rand(1, 3, 256, 256)
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        plain = model.distances(images)
    assert model._folded is None
    folded = model.distances(images)
    assert model._folded is not None
    assert not folded.maps.requires_grad
    torch.testing.assert_close(folded.maps, plain.maps, rtol=1e-3, atol=1e-5)


def test_the_fold_follows_a_fused_optimizer() -> None:
    """It changes weights without raising their version; and Lightning sets the mode without calling ``train``."""
    model, images = _model(branches=[[]]), torch.rand(1, 3, 256, 256)
    optimizer = torch.optim.Adam(model.student.parameters(), lr=0.1, fused=True)
    with torch.no_grad():
        before = model.distances(images).maps
    for module in model.modules():
        module.training = True
    torch.stack(list(model(images, images).values())).sum().backward()
    optimizer.step()
    for module in model.modules():
        module.training = False
    with torch.no_grad():
        after = model.distances(images).maps
        torch.testing.assert_close(after, model.plain_distances(images).maps, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(after, before)


def test_a_copy_has_no_stale_fold() -> None:
    import copy
    import pickle

    model, images = _model(), torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        expected = model.distances(images).maps
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            torch.testing.assert_close(other.distances(images).maps, expected)
            other.teacher_mean.add_(1)
            torch.testing.assert_close(
                other.distances(images).maps, other.plain_distances(images).maps, rtol=1e-4, atol=1e-4
            )
        torch.testing.assert_close(model.distances(images).maps, expected)
