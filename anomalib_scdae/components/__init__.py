# SPDX-License-Identifier: Apache-2.0
"""The parts that SCDAE adds to EfficientAD, and the thin wrappers around the networks that it shares with it."""

from anomalib_scdae.components.aggregation import Aggregation
from anomalib_scdae.components.crm import ChannelReunionModule, CRMGate
from anomalib_scdae.components.hard_distances import largest_distances
from anomalib_scdae.components.networks import Branch, ModelSize, Student, patch_description_network
from anomalib_scdae.components.sfm import FusionGate, SelectiveFusionModule
from anomalib_scdae.components.srm import SpatialReunionModule

__all__ = [
    "Aggregation",
    "Branch",
    "CRMGate",
    "ChannelReunionModule",
    "FusionGate",
    "ModelSize",
    "SelectiveFusionModule",
    "SpatialReunionModule",
    "Student",
    "largest_distances",
    "patch_description_network",
]
