# SPDX-License-Identifier: Apache-2.0
"""Breakfast box: two tangerines and a nectarine on the left, cereals and toppings on the right."""

from anomalib_scdae.data.synthetic.breakfast_box.logical import LOGICAL
from anomalib_scdae.data.synthetic.breakfast_box.painting import paint
from anomalib_scdae.data.synthetic.breakfast_box.rules import RULES
from anomalib_scdae.data.synthetic.breakfast_box.scene import SIZE, sample
from anomalib_scdae.data.synthetic.breakfast_box.structural import STRUCTURAL
from anomalib_scdae.data.synthetic.category import Category

CATEGORY = Category(
    name="breakfast_box",
    version=3,
    size=SIZE,
    rules=RULES,
    logical=LOGICAL,
    structural=STRUCTURAL,
    sample=sample,
    paint=paint,
)
