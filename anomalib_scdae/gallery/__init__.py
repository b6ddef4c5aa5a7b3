# SPDX-License-Identifier: Apache-2.0
"""Pictures one can read: input, ground truth and maps side by side, on one colour scale."""

from anomalib_scdae.gallery.branch_maps import branch_maps_of
from anomalib_scdae.gallery.compose import GalleryRow, common_range, compose_gallery
from anomalib_scdae.gallery.selection import gallery_rows, maps_in_folder, worst_misses
from anomalib_scdae.gallery.writer import GalleryWriter

__all__ = [
    "GalleryRow",
    "GalleryWriter",
    "branch_maps_of",
    "common_range",
    "compose_gallery",
    "gallery_rows",
    "maps_in_folder",
    "worst_misses",
]
