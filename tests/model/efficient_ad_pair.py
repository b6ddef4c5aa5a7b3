# SPDX-License-Identifier: Apache-2.0
"""SCDAE without its extensions beside Anomalib's EfficientAd, and what must be equal."""

import torch
from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel, EfficientAdModelSize

from anomalib_scdae.model.torch_model import SCDAEModel
from tests.conftest import CHANNELS


def efficient_ad_pair(
    size: str = "small", padding: bool = False, pad_maps: bool = True, channels: int = CHANNELS
) -> tuple[SCDAEModel, EfficientAdModel]:
    """SCDAE as experiment 1, and EfficientAd with the same weights, statistics and quantiles."""
    torch.manual_seed(0)
    ours = SCDAEModel(
        branches=[[]],
        cosine_weight=0,
        model_size=size,
        teacher_out_channels=channels,
        padding=padding,
        pad_maps=pad_maps,
    )
    # Theirs would frame the maps of a padded network too, and so displace them.
    framed = pad_maps and not padding
    theirs = EfficientAdModel(channels, EfficientAdModelSize(size), padding=padding, pad_maps=framed)
    theirs.teacher.load_state_dict(ours.teacher.state_dict())
    theirs.student.load_state_dict(ours.student.network.state_dict())
    theirs.ae.load_state_dict(ours.branches[0].autoencoder.state_dict())
    mean, std = torch.randn(1, channels, 1, 1) / 10, torch.rand(1, channels, 1, 1) + 0.5
    ours.teacher_mean.copy_(mean)
    ours.teacher_std.copy_(std)
    theirs.mean_std.update({"mean": mean, "std": std})
    ours.anomaly_map.lower.copy_(torch.tensor([0.3, 0.1]))
    ours.anomaly_map.upper.copy_(torch.tensor([1.7, 0.9]))
    for key, value in {"qa_st": 0.3, "qa_ae": 0.1, "qb_st": 1.7, "qb_ae": 0.9}.items():
        theirs.quantiles[key] = torch.tensor(value)
    return ours, theirs


def assert_same_losses_and_gradients(ours: SCDAEModel, theirs: EfficientAdModel, image_size: tuple[int, int]) -> None:
    """Compare a training step's terms and their gradients, with the same augmentation and dropout."""
    image, penalty = torch.rand(2, 1, 3, *image_size)
    torch.manual_seed(7)
    terms = ours(image, penalty)
    sum(terms.values()).backward()
    torch.manual_seed(7)
    loss_st, loss_ae, loss_stae = theirs(image, penalty)
    (loss_st + loss_ae + loss_stae).backward()

    torch.testing.assert_close(terms["hard"] + terms["penalty"], loss_st)
    torch.testing.assert_close(terms["ta_1"], loss_ae)
    torch.testing.assert_close(terms["sa_1"], loss_stae)
    pairs = [
        *zip(ours.student.network.parameters(), theirs.student.parameters(), strict=True),
        *zip(ours.branches[0].autoencoder.parameters(), theirs.ae.parameters(), strict=True),
    ]
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-6)


def assert_same_maps_and_scores(ours: SCDAEModel, theirs: EfficientAdModel, image_size: tuple[int, int]) -> None:
    """Compare what both say of a batch: the map, the score, and each map alone."""
    images = torch.rand(2, 3, *image_size)
    with torch.no_grad():
        mine, other = ours.eval()(images), theirs.eval()(images)
        separate = ours.maps(images)
        map_st, map_stae = theirs.get_maps(images, normalize=True)
    torch.testing.assert_close(mine.anomaly_map, other.anomaly_map)
    torch.testing.assert_close(mine.pred_score, other.pred_score)
    torch.testing.assert_close(separate, torch.cat([map_st, map_stae], dim=1))
