# SPDX-License-Identifier: Apache-2.0
"""A model for tests of what surrounds a model."""

import torch
from anomalib import LearningType
from anomalib.data import InferenceBatch
from anomalib.models import AnomalibModule
from anomalib.pre_processing import PreProcessor
from torch import nn
from torchvision.transforms.v2 import Resize


class Brightness(nn.Module):
    """Calls bright pixels anomalous, with scores far outside [0, 1]; noisier than a useful model."""

    def forward(self, images):
        maps = 100 + 50 * nn.functional.avg_pool2d(images.mean(1, keepdim=True), 3, stride=1, padding=1)
        return InferenceBatch(pred_score=maps.amax((-3, -2, -1)), anomaly_map=maps[:, 0])


class BrightnessModel(AnomalibModule):
    """Needs no training; works at 32 x 40 whatever the images' size."""

    def __init__(self, evaluator=True, post_processor=True):
        super().__init__(
            pre_processor=PreProcessor(transform=Resize((32, 40), antialias=True)),
            post_processor=post_processor,
            evaluator=evaluator,
            visualizer=False,
        )
        self.model = Brightness()
        self.unused = nn.Parameter(torch.zeros(1))

    @property
    def trainer_arguments(self):
        return {}

    @property
    def learning_type(self):
        return LearningType.ONE_CLASS

    def training_step(self, batch, batch_idx):
        return (self.unused * 0).sum()

    def validation_step(self, batch, batch_idx):
        return batch.update(**self.model(batch.image)._asdict())

    def configure_optimizers(self):
        return torch.optim.SGD([self.unused], lr=0.1)


def raw_outputs(model, category):
    """Scores and maps of ``model`` for each test image of ``category``, without a trainer: {path: (score, map)}."""
    from anomalib.data.utils import read_image

    found = {}
    for path in sorted(category.glob("test/*/*")):
        with torch.no_grad():
            predictions = model.model(model.pre_processor(read_image(path, as_tensor=True)[None]))
        found[path] = (float(predictions.pred_score[0]), predictions.anomaly_map.squeeze())
    return found
