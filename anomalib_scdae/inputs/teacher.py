# SPDX-License-Identifier: Apache-2.0
"""Finding, verifying and reading the weights of the teacher, a frozen patch description network (PDN)."""

import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from anomalib.models.image.efficient_ad.lightning_model import WEIGHTS_DOWNLOAD_INFO, EfficientAd
from anomalib.utils.path import get_pretrained_weights_dir
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from safetensors.torch import load as load_safetensors

from anomalib_scdae.errors import UserError, check_choice
from anomalib_scdae.inputs.download import Archive, DownloadError, fetch
from anomalib_scdae.inputs.pdn import NETWORKS, ModelSize
from anomalib_scdae.sentences import in_one_line

logger = logging.getLogger(__name__)

BUNDLED_FOLDER = Path(__file__).parent / "bundled_teacher"
# A plain PDN; the teacher inside `EfficientAdModel`; the same inside a Lightning checkpoint of `EfficientAd`.
KEY_PREFIXES = ("", "teacher.", "model.teacher.")


@dataclass(frozen=True)
class Teacher:
    """Weights of a teacher, and where they came from.

    Attributes:
        source: For people: ``"efficientad (/path/to/file.pth)"``, ``"bundled"`` or the path that was asked for.
        sha256: SHA-256 of the file.
        state_dict: ``float32`` tensors under the names that Anomalib's PDN uses (``conv1.weight``, ...).
    """

    source: str
    sha256: str
    state_dict: dict[str, torch.Tensor]


def load_teacher(teacher: str = "auto", model_size: str = "small", out_channels: int = 384) -> Teacher:
    """Find the weights that ``teacher`` names, check them and read them.

    Args:
        teacher: ``"efficientad"`` for the published weights of Anomalib's EfficientAd, which are downloaded to
            where EfficientAd keeps them if they are not there yet; ``"bundled"`` for the ones that come with this
            package; the path of a ``.safetensors`` file or of a PyTorch one (a state dict, or a checkpoint of
            EfficientAd); or ``"auto"`` for the published ones where they are present or quickly reachable, else the
            bundled ones with a warning.
        model_size: Size of the PDN, ``"small"`` or ``"medium"``.
        out_channels: Number of its output channels.

    Returns:
        The weights and their origin.

    Raises:
        UserError: If the weights are missing, damaged or those of another network.
    """
    check_choice("model_size", model_size, ModelSize)
    path, source = _locate(teacher, model_size)
    return _read(path, source, model_size, out_channels)


def _locate(teacher: str, model_size: str) -> tuple[Path, str]:
    """Return the file that ``teacher`` names, downloaded if need be, and its source in words."""
    if teacher == "bundled":
        return _bundled(model_size), "bundled"
    if teacher not in {"auto", "efficientad"}:
        return _own(Path(teacher).expanduser()), str(Path(teacher).expanduser())
    try:
        weights = published_weights()
        path = weights.folder / published_file(model_size)
        if not path.is_file():
            fetch(weights)
    except DownloadError as error:
        if teacher == "auto":
            return _bundled_instead(model_size, str(error)), "bundled"
        msg = f"teacher 'efficientad' is not available: {error}; use teacher 'bundled' or a path instead"
        raise UserError(msg) from error
    return path, f"efficientad ({path})"


def _own(path: Path) -> Path:
    if not path.is_file():
        msg = (
            f"teacher file {path} does not exist: pass 'auto', 'efficientad', 'bundled' or the path of a "
            ".safetensors or .pth file"
        )
        raise UserError(msg)
    return path


def published_weights() -> Archive:
    """Return the published weights of EfficientAd and the place where Anomalib keeps them.

    Raises:
        DownloadError: If there is no such place and none can be made, as in a container without a home.
    """
    try:
        root = get_pretrained_weights_dir()
    except (OSError, RuntimeError) as error:
        msg = f"Anomalib's cache of weights cannot be made ({in_one_line(str(error))})"
        raise DownloadError(msg) from error
    folder = root / "efficientad_pretrained_weights"
    files = [published_file(size) for size in NETWORKS]
    return Archive(WEIGHTS_DOWNLOAD_INFO, root, folder, lambda path: all((path / file).is_file() for file in files))


def find_published(model_size: str) -> Path | None:
    """Return the file of a published teacher if it is at hand, without a download."""
    try:
        path = published_weights().folder / published_file(model_size)
    except DownloadError:
        return None
    return path if path.is_file() else None


def published_file(model_size: str) -> str:
    """Return the name of the file of a published teacher."""
    return f"pretrained_teacher_{model_size}.pth"


def _bundled_instead(model_size: str, reason: str) -> Path:
    """Return the bundled teacher in place of the published one, with a warning."""
    if not _bundled_file(model_size).is_file():
        remedy = _remedy(model_size)
        msg = f"no {model_size} teacher is bundled, and the published one is not available: {reason}; {remedy}"
        raise UserError(msg)
    path = _bundled(model_size)
    _warn_bundled(reason)
    return path


@rank_zero_only
def _warn_bundled(reason: str) -> None:
    """Say in a form that stands out of a training's log that another teacher than the published one is used."""
    bar = "!" * 36  # fits into the column of Anomalib's log
    logger.warning(
        "\n%s\n!! THE BUNDLED TEACHER IS USED, not the published teacher of EfficientAd.\n"
        "!! Reason: %s.\n"
        "!! It was distilled from fewer images; results are not comparable with those of the published one.\n"
        "!! --model.teacher efficientad insists on the published one; --model.teacher bundled silences this warning.\n"
        "%s",
        bar,
        reason,
        bar,
    )


def _bundled_file(model_size: str) -> Path:
    return BUNDLED_FOLDER / f"{model_size}.safetensors"


def _remedy(model_size: str) -> str:
    """Tell what else there is where no teacher of a size is at hand."""
    smaller = "--model.model_size small, or " if model_size == "medium" else ""
    return f"pass {smaller}the path of a teacher made by `anomalib-scdae distill --size {model_size}`"


def _bundled(model_size: str) -> Path:
    """Return the teacher that comes with the package, which must have a card to be checked against."""
    path = _bundled_file(model_size)
    if not path.is_file():
        msg = f"no {model_size} teacher is bundled: use teacher 'efficientad', or {_remedy(model_size)}"
        raise UserError(msg)
    if _expected_hash(path) is None:
        card = path.with_suffix(".json")
        msg = f"the card {card} of the bundled teacher is missing or damaged: reinstall the package"
        raise UserError(msg)
    return path


def _read(path: Path, source: str, model_size: str, out_channels: int) -> Teacher:
    """Read and check one file. It is hashed and parsed from the same bytes, so that the hash is that of the weights."""
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    expected = _expected_hash(path)
    if expected not in {None, sha256}:
        remedy = "reinstall the package" if path.parent == BUNDLED_FOLDER else "fetch it again, or mend the card"
        msg = (
            f"teacher file {path} is truncated or altered: its SHA-256 is {sha256}, but its card "
            f"{path.with_suffix('.json').name} says {expected}; {remedy}"
        )
        raise UserError(msg)
    state_dict = _find_network(_parse(content, path), path)
    _check_network(state_dict, path, model_size, out_channels)
    return Teacher(source, sha256, {name: tensor.float().contiguous() for name, tensor in state_dict.items()})


def _expected_hash(path: Path) -> str | None:
    """Return the SHA-256 on the card beside a weights file, or None where there is no such card."""
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card.get("sha256") if isinstance(card, dict) else None


def _parse(content: bytes, path: Path) -> Any:
    """Parse a weights file without running any code that it may hold."""
    try:
        if path.suffix.lower() == ".safetensors":
            return load_safetensors(content)
        with torch.serialization.safe_globals(list(EfficientAd.checkpoint_safe_globals())):  # its size, an Enum
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        # PyTorch's own message advises to load without `weights_only`, which runs whatever code the file holds.
        msg = (
            f"teacher file {path} cannot be read as weights: it is damaged, of another kind, or holds more than "
            f"tensors ({type(error).__name__}); replace it"
        )
        raise UserError(msg) from error


def _find_network(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Find the PDN's tensors in a plain state dict, or the teacher's in a checkpoint of EfficientAd."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    tensors = {k: v for k, v in content.items() if torch.is_tensor(v)} if isinstance(content, Mapping) else {}
    for prefix in KEY_PREFIXES:
        if f"{prefix}conv1.weight" in tensors:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(f"{prefix}conv")}
    msg = f"teacher file {path} holds no PDN: it has no tensor named conv1.weight"
    raise UserError(msg)


def _check_network(state_dict: dict[str, torch.Tensor], path: Path, model_size: str, out_channels: int) -> None:
    """Refuse the weights of another network than the one asked for, or weights that are not finite."""
    channels = _out_channels(state_dict)
    size = next((size for size in NETWORKS if _matches(state_dict, size, channels)), None)
    if size is None:
        msg = f"teacher file {path} is neither a small nor a medium PDN: its tensors have other names or shapes"
        raise UserError(msg)
    if size != model_size:
        msg = f"teacher file {path} is a {size} PDN; pass --model.model_size {size}, or another teacher"
        raise UserError(msg)
    if channels != out_channels:
        msg = (
            f"teacher file {path} has {channels} output channels, but {out_channels} are asked for; pass "
            f"--model.teacher_out_channels {channels}, or another teacher"
        )
        raise UserError(msg)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state_dict.values()):
        msg = f"teacher file {path} holds values that are not finite numbers; make or fetch it again"
        raise UserError(msg)


def _out_channels(state_dict: Mapping[str, torch.Tensor]) -> int:
    """Return the number of filters of the last convolution."""
    last = max(name for name in state_dict if name.endswith(".weight"))
    return next(iter(state_dict[last].shape), 0)


def _matches(state_dict: Mapping[str, torch.Tensor], size: str, out_channels: int) -> bool:
    """Tell whether names and shapes are those of Anomalib's PDN of that size."""
    with torch.device("meta"):  # no memory, and no random numbers drawn from the global generator
        network = NETWORKS[size](out_channels=out_channels)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    return {name: tensor.shape for name, tensor in state_dict.items()} == expected
