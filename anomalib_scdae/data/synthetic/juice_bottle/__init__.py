# SPDX-License-Identifier: Apache-2.0
"""Juice bottle: filled to a level, with a label whose fruit tells the juice."""

from anomalib_scdae.data.synthetic.category import Category
from anomalib_scdae.data.synthetic.juice_bottle.logical import LOGICAL
from anomalib_scdae.data.synthetic.juice_bottle.painting import paint
from anomalib_scdae.data.synthetic.juice_bottle.rules import RULES
from anomalib_scdae.data.synthetic.juice_bottle.scene import SIZE, sample
from anomalib_scdae.data.synthetic.juice_bottle.structural import STRUCTURAL

CATEGORY = Category(
    name="juice_bottle",
    version=3,
    size=SIZE,
    rules=RULES,
    logical=LOGICAL,
    structural=STRUCTURAL,
    sample=sample,
    paint=paint,
)
