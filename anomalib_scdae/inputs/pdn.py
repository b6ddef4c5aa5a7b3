# SPDX-License-Identifier: Apache-2.0
"""The patch description networks (PDN) of EfficientAD, in the two sizes that Anomalib has."""

from typing import Literal

from anomalib.models.image.efficient_ad.torch_model import MediumPatchDescriptionNetwork, SmallPatchDescriptionNetwork

from anomalib_scdae.errors import check_choice

ModelSize = Literal["small", "medium"]
PatchDescriptionNetwork = SmallPatchDescriptionNetwork | MediumPatchDescriptionNetwork

NETWORKS: dict[str, type[PatchDescriptionNetwork]] = {
    "small": SmallPatchDescriptionNetwork,
    "medium": MediumPatchDescriptionNetwork,
}


def patch_description_network(size: ModelSize, out_channels: int, padding: bool = False) -> PatchDescriptionNetwork:
    """Build a PDN of the given size; the paper's 1.1 uses it as teacher and student.

    Raises:
        UserError: If there is no such size.
    """
    check_choice("model_size", size, ModelSize)
    return NETWORKS[size](out_channels=out_channels, padding=padding)
