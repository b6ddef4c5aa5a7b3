# SPDX-License-Identifier: Apache-2.0
"""A model's statistics as a second pass over the validation images gives them."""

import torch
from torch.utils.data import DataLoader

from anomalib_scdae import SCDAE


def _second_pass(model: SCDAE, loader: DataLoader) -> dict[str, torch.Tensor]:
    """Compute the statistics as EfficientAd would: a pass for the quantiles, then one for scores and maps."""
    model.eval().cpu()
    images = [model.pre_processor.transform(batch.image) for batch in loader]
    with torch.no_grad():
        raw = torch.cat([model.model.distances(x).maps for x in images])
        merger = model.model.anomaly_map
        enlarged = merger.enlarge(merger.pad(raw), images[0].shape[-2:])
        flat = enlarged.transpose(0, 1).flatten(1)
        found = {"lower": flat.quantile(0.9, dim=1), "upper": flat.quantile(0.995, dim=1)}
        outputs = [model.model(x) for x in images]
    scores, maps = (torch.cat([getattr(o, f) for o in outputs]) for f in ("pred_score", "anomaly_map"))
    found |= {"image_min": scores.min(), "image_max": scores.max(), "pixel_min": maps.min(), "pixel_max": maps.max()}
    return found


def assert_statistics(model: SCDAE, loader: DataLoader) -> None:
    merger, post = model.model.anomaly_map, model.post_processor
    for name, expected in _second_pass(model, loader).items():
        found = getattr(merger if name in {"lower", "upper"} else post, name)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    # All validation images are normal: the threshold is their highest score.
    torch.testing.assert_close(post.image_threshold, post.image_max)
