# SPDX-License-Identifier: Apache-2.0
"""Making a teacher: a patch description network that imitates a pretrained backbone (EfficientAD, section 3.1)."""
