# SPDX-License-Identifier: Apache-2.0
"""``python -m anomalib_scdae.benchmark.cell CONFIG [train | deploy]``: one step of a cell, in this process.

Ends when the process that started it ends: that one holds the other end of this one's standard input.
"""

import os
import sys
import threading
import traceback
from pathlib import Path

from anomalib_scdae.benchmark.store import write_json


def main(config_file: Path, step: str = "train") -> int:
    """Run a step of the cell that ``config_file`` describes; what goes wrong is told in ``failure.json`` beside it.

    Args:
        config_file: The cell's configuration.
        step: ``train`` to train and test it, ``deploy`` to measure the deployed model of a cell that is finished.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if step == "deploy":
            from anomalib_scdae.benchmark.cell.deploy import deploy_cell as run_step
        else:
            from anomalib_scdae.benchmark.cell.run import run_cell as run_step

        run_step(config_file)
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
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:3]))
