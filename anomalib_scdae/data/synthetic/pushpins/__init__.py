# SPDX-License-Identifier: Apache-2.0
"""Pushpins: a sorting box with fifteen compartments, one pin in each."""

from anomalib_scdae.data.synthetic.category import Category
from anomalib_scdae.data.synthetic.pushpins.logical import LOGICAL
from anomalib_scdae.data.synthetic.pushpins.painting import paint
from anomalib_scdae.data.synthetic.pushpins.rules import RULES
from anomalib_scdae.data.synthetic.pushpins.scene import SIZE, sample
from anomalib_scdae.data.synthetic.pushpins.structural import STRUCTURAL

CATEGORY = Category(
    name="pushpins",
    version=4,
    size=SIZE,
    rules=RULES,
    logical=LOGICAL,
    structural=STRUCTURAL,
    sample=sample,
    paint=paint,
)
