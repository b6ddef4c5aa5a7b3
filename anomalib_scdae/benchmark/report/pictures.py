# SPDX-License-Identifier: Apache-2.0
"""The heatmap gallery: which pictures, and how they get into the page."""

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from anomalib_scdae.benchmark.report.document import Gallery, Picture
from anomalib_scdae.benchmark.report.results import Cell, Results, finite

#: Size of all embedded pictures together; base64 makes a third more of it, and the page stays below 15 MB.
BUDGET = 10 * 2**20

#: Largest width in pixels and WebP quality, from generous to frugal.
PRESETS = ((1280, 78), (960, 72), (720, 66), (480, 55))


def sample_gallery(results: Results) -> Gallery | None:
    """Give the pictures of the first seed of every row and category; ``None`` if there are none."""
    caption = "Inputs, ground truth and anomaly maps of the first seed of every method, by category."
    return _gallery(results, "sample", caption)


def miss_gallery(results: Results) -> Gallery | None:
    """Give the worst misses of the first seed of every row and category; ``None`` if there are none."""
    caption = (
        "Good images with the highest scores and anomalous ones with the lowest, of the first seed of every method."
    )
    return _gallery(results, "miss", caption)


def _gallery(results: Results, kind: str, caption: str) -> Gallery | None:
    pictures, lost = [], 0
    for dataset in results.datasets:
        for category in results.categories(dataset):
            for row in results.rows:
                cells = [cell for cell in results.of(row, dataset, category) if _records(cell, kind)]
                for record in _records(cells[0], kind) if cells else []:
                    picture = _picture(results, cells[0], record)
                    pictures += [picture] if picture else []
                    lost += picture is None
    notes = [f"{lost} picture{' is' if lost == 1 else 's are'} listed but not there."] if lost else []
    return Gallery(caption, pictures, notes) if pictures or lost else None


def _records(cell: Cell, kind: str) -> list[dict]:
    records = [record for record in cell.sequence("gallery") if isinstance(record, dict)]
    return [record for record in records if record.get("kind", "sample") == kind]


def _picture(results: Results, cell: Cell, record: dict) -> Picture | None:
    relative = str(record.get("file", ""))
    path = results.folder / relative
    # A results file that was handed around must not make the page carry files from elsewhere.
    if not path.resolve().is_relative_to(results.folder.resolve()) or not path.is_file():
        return None
    parts = [str(record.get("caption") or ""), str(record.get("anomaly_type") or "").replace("_", " ")]
    if parts[1] and parts[1] in parts[0].replace("_", " "):
        parts.pop()
    score = finite(record.get("score"))
    if score is not None and "score" not in parts[0]:
        parts.append(f"score {score:.3g}")
    caption = ", ".join(part for part in parts if part)
    group = ": ".join(part for part in cell.place if part)
    return Picture(path, Path(relative).as_posix(), caption, group, f"{cell.row}, seed {cell.seed}")


def compact(gallery: Gallery, per_row: int = 1) -> list[Picture]:
    """Pick the first pictures of every row and category."""
    chosen: dict[tuple[str, str], list[Picture]] = {}
    for picture in gallery.pictures:
        chosen.setdefault((picture.group, picture.row), []).append(picture)
    return [picture for pictures in chosen.values() for picture in pictures[:per_row]]


def embed(pictures: Sequence[Picture], budget: int = BUDGET) -> dict[str, str]:
    """Encode pictures as data URIs that stay within a budget together.

    Args:
        pictures: The pictures.
        budget: Bytes for all of them, before base64.

    Returns:
        Relative path to data URI, in the largest of :data:`PRESETS` in which all fit; if they do not fit in the
        smallest either, those that come last are left out. Files that are no pictures are left out too.
    """
    unique = list({picture.relative: picture for picture in pictures}.values())
    for width, quality in PRESETS:
        encoded, size = {}, 0
        for picture in unique:
            content = _read(picture.path, width, quality)
            if content is None:
                continue
            size += len(content)
            if size > budget:
                break
            encoded[picture.relative] = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
        else:
            return encoded
    return encoded


def _read(path: Path, width: int, quality: int) -> bytes | None:
    try:
        return _encode(path, path.stat().st_mtime_ns, width, quality)
    except OSError:
        return None


@lru_cache(maxsize=2048)
def _encode(path: Path, changed: int, width: int, quality: int) -> bytes:
    """Encode a picture; kept, because the report is written anew after every cell."""
    del changed
    with Image.open(path) as image:
        picture = image.convert("RGB")
    picture.thumbnail((width, 4 * width), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()
