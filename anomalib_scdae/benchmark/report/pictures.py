# SPDX-License-Identifier: Apache-2.0
"""The galleries of heatmaps: which pictures, and how they get into the page."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from anomalib_scdae.benchmark.report.results import Results, finite

#: Size of all embedded pictures together; base64 makes a third more of it, and the page stays below 15 MB.
BUDGET = 10 * 2**20

#: Largest width in pixels and WebP quality, from generous to frugal.
PRESETS = ((1280, 78), (960, 72), (720, 66), (480, 55))

#: Kind of picture to what a gallery of them shows.
CAPTIONS = {
    "sample": "Inputs, ground truth and anomaly maps of the first seed of every method, by category.",
    "miss": "Good images with the highest scores and anomalous ones with the lowest, of every method's first seed.",
}


@dataclass(frozen=True)
class Gallery:
    """Pictures of anomaly maps.

    Args:
        caption: What they show.
        pictures: A line for each: its ``file`` relative to the output folder, with forward slashes; its ``path``; its
            ``caption``; the ``group``, dataset and category; and the ``row`` with the seed.
        notes: Remarks below it.
    """

    caption: str
    pictures: pd.DataFrame
    notes: Sequence[str] = ()


def gallery(results: Results, kind: str) -> list[Gallery]:
    """Give the gallery of every row's first seed that has pictures, by category; nothing if there are none.

    Args:
        results: The benchmark.
        kind: ``sample``, or ``miss`` for the worst misses.
    """
    listed = [
        (cell, entry)
        for _, category in results.finished().groupby(["dataset", "category"], sort=False)
        for _, row in category.groupby("row", sort=False)
        for cell, entry in _of_first_seed(row, kind)
    ]
    pictures = [picture for cell, entry in listed if (picture := _picture(results.folder, cell, entry))]
    lost = len(listed) - len(pictures)
    notes = [f"{lost} picture{' is' if lost == 1 else 's are'} listed but not there."] if lost else []
    frame = pd.DataFrame(pictures, columns=["file", "path", "caption", "group", "row"])
    return [Gallery(CAPTIONS[kind], frame, notes)] if listed else []


def _of_first_seed(cells: pd.DataFrame, kind: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Give the entries of the first cell that has any of that kind."""
    for cell in cells.to_dict("records"):
        entries = [entry for entry in cell["gallery"] if isinstance(entry, dict)]
        if chosen := [(cell, entry) for entry in entries if entry.get("kind", "sample") == kind]:
            return chosen
    return []


def _picture(folder: Path, cell: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any] | None:
    path = folder / str(entry.get("file", ""))
    # A results file that was handed around must not make the page carry files from elsewhere.
    if not (path.is_file() and path.resolve().is_relative_to(folder.resolve())):
        return None
    caption, kind = str(entry.get("caption") or ""), str(entry.get("anomaly_type") or "").replace("_", " ")
    score = finite(entry.get("score"))
    parts = [caption, "" if kind in caption.replace("_", " ") else kind]
    parts += [] if math.isnan(score) or "score" in caption else [f"score {score:.3g}"]
    return {
        "file": Path(str(entry["file"])).as_posix(),
        "path": path,
        "caption": ", ".join(filter(None, parts)),
        "group": ": ".join(filter(None, [cell["dataset"], cell["category"]])),
        "row": f"{cell['row']}, seed {cell['seed']}",
    }


def embed(files: Iterable[tuple[str, Path]], budget: int = BUDGET) -> dict[str, str]:
    """Encode pictures as data URIs that stay within a budget together.

    Args:
        files: Name and path of each picture.
        budget: Bytes for all of them, before base64.

    Returns:
        Name to data URI, in the largest of :data:`PRESETS` in which all fit; if they do not fit in the smallest either,
        those that come last are left out. Files that are no pictures are left out too.
    """
    paths = dict(files)
    for width, quality in PRESETS:
        encoded, size = {}, 0
        for name, path in paths.items():
            content = _encode(path, path.stat().st_mtime_ns, width, quality)
            size += len(content)
            if size > budget:
                break
            if content:
                encoded[name] = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
        else:
            break
    return encoded


@lru_cache(maxsize=2048)
def _encode(path: Path, changed: int, width: int, quality: int) -> bytes:
    """Encode a picture, a file that is none as nothing; kept, because the report is written anew after every cell."""
    del changed
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
        picture.thumbnail((width, 4 * width), Image.Resampling.LANCZOS)
        picture.save(buffer, "WEBP", quality=quality, method=2)
    except OSError:
        return b""
    return buffer.getvalue()
