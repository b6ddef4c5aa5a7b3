# SPDX-License-Identifier: Apache-2.0
"""Screw bag: a transparent bag with two washers, two nuts, one long and one short screw."""

from anomalib_scdae.data.synthetic.category import Category
from anomalib_scdae.data.synthetic.screw_bag.filling import SIZE, sample
from anomalib_scdae.data.synthetic.screw_bag.logical import LOGICAL
from anomalib_scdae.data.synthetic.screw_bag.painting import paint
from anomalib_scdae.data.synthetic.screw_bag.rules import RULES
from anomalib_scdae.data.synthetic.screw_bag.structural import STRUCTURAL

CATEGORY = Category(
    name="screw_bag",
    version=3,
    size=SIZE,
    rules=RULES,
    logical=LOGICAL,
    structural=STRUCTURAL,
    sample=sample,
    paint=paint,
)
