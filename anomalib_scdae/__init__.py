# SPDX-License-Identifier: Apache-2.0
"""SCDAE, the spatial-channel dual-autoencoder variant of EfficientAD, for Anomalib.

Once this package is installed, ``anomalib train --model SCDAE`` and ``anomalib.models.get_model("SCDAE")`` work as for
Anomalib's own models. The names below are imported when first used, so that importing the package stays cheap.
"""

from anomalib_scdae import plugin

TYPE_CHECKING = False  # see plugin.py
if TYPE_CHECKING:
    from anomalib_scdae.model.lightning_model import SCDAE
    from anomalib_scdae.model.torch_model import SCDAEModel
    from anomalib_scdae.model.training.precision import FasterPrecision

__version__ = "0.1.0"
__all__ = ["SCDAE", "FasterPrecision", "SCDAEModel"]

_HOMES = {
    "SCDAE": "anomalib_scdae.model.lightning_model",
    "SCDAEModel": "anomalib_scdae.model.torch_model",
    "FasterPrecision": "anomalib_scdae.model.training.precision",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module  # in here, since the hook imports this package at every interpreter start

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


plugin.install()
