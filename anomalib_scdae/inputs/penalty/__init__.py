# SPDX-License-Identifier: Apache-2.0
"""Natural images for the penalty term of the distillation loss (SCDAE, eq. 12; EfficientAD, section 3.2).

The penalty keeps the student from imitating the teacher outside the distribution of the training images. It needs
nothing of these images but that they are natural and varied.
"""

from anomalib_scdae.inputs.penalty.base import PenaltyImages
from anomalib_scdae.inputs.penalty.bundled import BundledImages
from anomalib_scdae.inputs.penalty.folder import FolderImages
from anomalib_scdae.inputs.penalty.loading import load_penalty_images
from anomalib_scdae.inputs.penalty.reader import PenaltyReader

__all__ = ["BundledImages", "FolderImages", "PenaltyImages", "PenaltyReader", "load_penalty_images"]
