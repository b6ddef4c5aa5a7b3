# SPDX-License-Identifier: Apache-2.0
"""Files that are either complete or not there."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, which replaces ``path`` once it is written without an error.

    Raises:
        OSError: If it cannot be written, as on a full disk, with the name of ``path``; what was there stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename in {None, str(temporary), temporary}:
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any, indent: int = 4) -> None:
    """Write ``value`` as JSON, indented, its keys in the order given."""
    with replacing(path) as file:
        file.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
