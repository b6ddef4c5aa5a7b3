# SPDX-License-Identifier: Apache-2.0
"""Which code made a result."""

import subprocess
from pathlib import Path
from typing import Any


def git_state() -> dict[str, Any]:
    """Return ``git_commit`` and ``git_dirty`` of the checkout that this package runs from; ``None`` elsewhere."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_dirty": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():  # an installed package; its surroundings may be somebody else's checkout
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603, S607
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
