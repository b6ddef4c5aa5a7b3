# SPDX-License-Identifier: Apache-2.0
"""Puts a category on disk in one piece, and recognises one that is there."""

import json
import shutil
from pathlib import Path

from filelock import FileLock
from rich.console import Console
from rich.progress import Progress

from anomalib_scdae.data.synthetic import load_category
from anomalib_scdae.data.synthetic.generate import defects_config, jobs
from anomalib_scdae.data.synthetic.parallel import write_all
from anomalib_scdae.data.synthetic.recipe import Recipe
from anomalib_scdae.errors import UserError
from anomalib_scdae.files import write_json

#: Lies in a category's folder and says what it was rendered from.
MANIFEST = "synthetic_loco.json"


def prepare(recipe: Recipe, root: Path, processes: int | None = None) -> Path:
    """Render a category into ``root / recipe.category``, unless just this category is there already.

    All images are rendered into a hidden folder beside it, which is renamed at the end: a category is there completely
    or not at all. What a killed process has left behind is deleted by the next one. Several processes may ask for the
    same category at once; one renders it, the others wait.

    Args:
        recipe: What to render.
        root: Folder of the dataset.
        processes: How many processes to use; ``None`` takes as many as there are cores.

    Returns:
        The category's folder.

    Raises:
        UserError: If the folder holds anything else (it is left as it is), ``root`` cannot be written to, or
            ``processes`` is less than 1.
    """
    if processes is not None and processes < 1:
        msg = f"SyntheticLOCO cannot be rendered by {processes} processes; give at least 1."
        raise UserError(msg)
    folder = root / recipe.category
    if _is_there(recipe, folder):
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = root / f".{recipe.category}.lock"
        lock.touch()
    except OSError as error:
        msg = f"SyntheticLOCO cannot write to {root} ({error.strerror}); choose another root."
        raise UserError(msg) from error
    with FileLock(lock):
        if _is_there(recipe, folder):
            return folder
        staging = root / f".{recipe.category}.partial"
        if staging.exists():
            shutil.rmtree(staging)
        _render(recipe, staging, processes)
        if folder.is_dir():
            folder.rmdir()  # empty, as _is_there has made sure
        staging.rename(folder)
    return folder


def _is_there(recipe: Recipe, folder: Path) -> bool:
    """Whether ``folder`` holds just this category; an absent or empty folder holds nothing."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        msg = f"{folder} holds something that SyntheticLOCO did not render; choose another root, or move it away."
        raise UserError(msg) from None
    if manifest == recipe.manifest:
        return True
    msg = (
        f"{folder} was rendered {_differences(manifest, recipe)}; ask for the same, choose another root, or delete it."
    )
    raise UserError(msg)


def _differences(manifest: dict, recipe: Recipe) -> str:
    """Say how a folder's manifest differs from the one that was asked for."""
    wanted = recipe.manifest
    if not isinstance(manifest, dict) or manifest.get("version") != wanted["version"]:
        return "by another version of SyntheticLOCO"
    found = manifest.get("recipe", {})
    names = [name for name, value in wanted["recipe"].items() if found.get(name) != value]
    return "with " + ", ".join(f"{name}={found.get(name)} instead of {wanted['recipe'][name]}" for name in names)


def _render(recipe: Recipe, staging: Path, processes: int | None) -> None:
    """Render all of a category into ``staging``; the manifest comes last."""
    staging.mkdir()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not (console.is_terminal or console.is_jupyter)) as progress:
        task = progress.add_task(f"Rendering {recipe.category}", total=len(jobs(recipe)))
        write_all(recipe, staging, processes, lambda: progress.advance(task))
    config = defects_config(load_category(recipe.category), recipe.long_side)
    write_json(staging / "defects_config.json", config)
    write_json(staging / MANIFEST, recipe.manifest)
