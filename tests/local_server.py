# SPDX-License-Identifier: Apache-2.0
"""A web server on this machine that serves one file, well or badly: downloads are tested without a network."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from anomalib.data.utils import DownloadInfo


class FileServer(ThreadingHTTPServer):
    """Serve ``content`` at every address.

    Attributes:
        behaviour: ``"good"``; ``"silent"`` (accepts connections, never answers); ``"missing"`` (status 404);
            ``"no-head"`` (refuses HEAD, as some object stores do); ``"truncated"`` (ends half way); ``"stalling"``
            (sends half, then nothing more).
        requests: Method and path of each request so far.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.behaviour = "good"
        self.requests: list[tuple[str, str]] = []
        self.closing = threading.Event()

    @property
    def downloads(self) -> int:
        return sum(method == "GET" for method, _ in self.requests)

    def info(self, filename: str) -> DownloadInfo:
        """Describe the file as Anomalib describes its downloads."""
        url = f"http://127.0.0.1:{self.server_address[1]}/{filename}"
        return DownloadInfo(name=filename, url=url, hashsum=hashlib.sha256(self.content).hexdigest())


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def _answer(self, has_body: bool) -> None:
        server, content = self.server, self.server.content
        server.requests.append((self.command, self.path))
        if server.behaviour == "silent":
            server.closing.wait(30)
            return
        refused = {"missing": 404, "no-head": 200 if has_body else 403}
        self.send_response(refused.get(server.behaviour, 200))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not has_body:
            return
        if server.behaviour in {"truncated", "stalling"}:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            if server.behaviour == "stalling":
                server.closing.wait(30)
        else:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep the tests' output free of a line per request."""


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """Run a server in a thread."""
    with FileServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive of ``files``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    """Return a compressed tar archive of ``files``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
