# SPDX-License-Identifier: Apache-2.0
"""``python -m anomalib_scdae.benchmark.cell CONFIG``: run one cell in this process.

Ends when the process that started it ends: that one holds the other end of this one's standard input.
"""

import os
import sys
import threading
import traceback
from pathlib import Path

from anomalib_scdae.benchmark.store import write_json


def main(config_file: Path) -> int:
    """Run the cell that ``config_file`` describes; what goes wrong is told in ``failure.json`` beside it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from anomalib_scdae.benchmark.cell.run import run_cell

        run_cell(config_file)
    except Exception as error:  # noqa: BLE001 - a failing cell is a result, too
        traceback.print_exc()
        write_json(config_file.parent / "failure.json", {"error": in_one_sentence(error)})
        return 1
    return 0


def in_one_sentence(error: BaseException) -> str:
    """Return the first line of an error's message, with its kind unless it was meant for users."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else ""
    kind = type(error).__name__
    return first if kind in {"UserError", "DownloadError"} else f"{kind}: {first}" if first else kind


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin, whose lock would be in the way when the interpreter ends
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
