# SPDX-License-Identifier: Apache-2.0
"""Stands in for a training that does something in the background."""

import threading
import time


def tick(connection, task) -> None:
    """Count in a thread, and tell the count when asked; end with the number ``None`` asks for."""
    count = [0]

    def forever() -> None:
        while True:
            count[0] += 1
            time.sleep(0.001)

    threading.Thread(target=forever, daemon=True).start()
    connection.send("ready")
    while (command := connection.recv()) is not None:
        if command == "fail":
            raise ValueError("no images")
        connection.send(count[0])
    return {"process": 1.0, "accelerator": None}
