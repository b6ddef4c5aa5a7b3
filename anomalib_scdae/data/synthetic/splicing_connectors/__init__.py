# SPDX-License-Identifier: Apache-2.0
"""Splicing connectors: two clamps of one size, joined by a cable whose colour tells their size."""

from anomalib_scdae.data.synthetic.category import Category
from anomalib_scdae.data.synthetic.splicing_connectors.logical import LOGICAL
from anomalib_scdae.data.synthetic.splicing_connectors.painting import paint
from anomalib_scdae.data.synthetic.splicing_connectors.rules import RULES
from anomalib_scdae.data.synthetic.splicing_connectors.scene import SIZE, sample
from anomalib_scdae.data.synthetic.splicing_connectors.structural import STRUCTURAL

CATEGORY = Category(
    name="splicing_connectors",
    version=3,
    size=SIZE,
    rules=RULES,
    logical=LOGICAL,
    structural=STRUCTURAL,
    sample=sample,
    paint=paint,
)
