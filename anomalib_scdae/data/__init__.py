# SPDX-License-Identifier: Apache-2.0
"""Data that needs no download: SyntheticLOCO, products with logical and structural anomalies.

The names below are imported when first used: the processes that render images need neither torch nor Anomalib.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anomalib_scdae.data.synthetic_loco import SyntheticLOCO

__all__ = ["SyntheticLOCO"]

_HOMES = {"SyntheticLOCO": "anomalib_scdae.data.synthetic_loco"}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
