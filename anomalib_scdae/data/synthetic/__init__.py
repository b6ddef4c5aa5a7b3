# SPDX-License-Identifier: Apache-2.0
"""Five products, rendered from rules, in the layout of MVTec LOCO: data with logical anomalies that needs no download.

A *scene* (:mod:`.scene`) is plain data: which parts lie where. Each category is a package of the same build: ``scene``
draws normal scenes at random, ``rules`` states what they obey, ``logical`` breaks exactly one rule with normal parts,
``structural`` damages a part, and ``painting`` paints a scene, part by part, on a canvas (:mod:`.render`) with signed
distances (:mod:`.shapes`) and noise (:mod:`.textures`).
:mod:`.generate` renders a whole category in parallel, :mod:`.writer` puts it on disk in one piece.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomalib_scdae.data.synthetic.category import Category

#: The categories, as in MVTec LOCO. A category's place here is part of its images' seeds: append, never reorder.
CATEGORIES = ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors")


def load_category(name: str) -> "Category[Any]":
    """Return the category called ``name``, one of :data:`CATEGORIES`."""
    return import_module(f"{__name__}.{name}").CATEGORY
