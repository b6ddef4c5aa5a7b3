# SPDX-License-Identifier: Apache-2.0
"""Downloads that either end whole and verified or leave nothing behind.

torch.hub transfers, and Anomalib unpacks. Neither knows time-outs or a rule against downloads, and Anomalib's
``download_and_extract`` creates the data set's folder before it has anything to put there, so that a failed download
also breaks whoever looks for that folder afterwards.
"""

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from anomalib.data.utils import DownloadInfo
from anomalib.data.utils.download import extract
from filelock import FileLock
from torch.hub import download_url_to_file

from anomalib_scdae.errors import UserError
from anomalib_scdae.files import sha256_of

logger = logging.getLogger(__name__)

OFFLINE_VARIABLE = "ANOMALIB_SCDAE_OFFLINE"
PROBE_SECONDS = 2.0
STALL_SECONDS = 20.0
SLOWEST_BYTES_PER_SECOND = 10_000

T = TypeVar("T")


class DownloadError(UserError):
    """A download that could not be made; nothing of it is left behind."""


@dataclass(frozen=True)
class Archive:
    """A published archive, and where Anomalib expects what is in it.

    Attributes:
        info: Name, address and SHA-256 of the archive.
        root: Folder into which Anomalib unpacks the archive.
        folder: Folder that holds the content then: ``root`` itself or the archive's top folder in it. It appears in one
            step, whole.
        is_complete: Tells whether a folder holds the content that is needed.
    """

    info: DownloadInfo
    root: Path
    folder: Path
    is_complete: Callable[[Path], bool]

    @property
    def local_file(self) -> Path:
        """Where Anomalib keeps the archive itself; it deletes it there once everything is unpacked."""
        return self.root / (self.info.filename or self.info.url.rsplit("/", 1)[-1])

    def is_present(self) -> bool:
        """Tell whether the content is in place and no unpacking was cut short."""
        return not self.local_file.exists() and self.folder.is_dir() and self.is_complete(self.folder)


def is_offline() -> bool:
    """Tell whether the environment variable ``ANOMALIB_SCDAE_OFFLINE`` forbids downloads."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in {"", "0", "false", "no", "off"}


def probe(url: str, timeout: float) -> int:
    """Ask the server of ``url`` for a sign of life (an HTTP HEAD request, through the system's proxies).

    Any answer counts, an error status too: the download itself then tells what is wrong, as quickly and more exactly.

    Args:
        url: Address of the file.
        timeout: Seconds after which the answer no longer matters, name resolution included.

    Returns:
        Size of the file in bytes; 0 if the server does not tell.

    Raises:
        DownloadError: If no answer came in time.
    """

    def ask() -> int:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=timeout) as response:  # noqa: S310 - addresses are constants
                return int(response.headers.get("Content-Length") or 0)
        except HTTPError as error:
            error.close()
            return 0

    answer = _in_background(ask)
    try:
        if wait([answer], timeout).done:
            return answer.result()
        reason = None
    except (OSError, HTTPException) as error:
        # The same silence, whichever of the two clocks is first to notice it.
        timed_out = isinstance(getattr(error, "reason", error), TimeoutError)
        reason = None if timed_out else _reason(error)
    msg = f"{url} cannot be reached ({reason or f'no answer within {timeout:g} s'})"
    raise DownloadError(msg)


def _in_background(work: Callable[[], T]) -> "Future[T]":
    """Run ``work`` in a thread that nobody needs to wait for, not even the end of the process.

    A name look-up can block for half a minute behind a firewall, and no socket's time-out covers it.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def fetch(archive: Archive) -> Path:
    """Make sure that the content of ``archive`` is in place, downloading it if need be.

    A verified archive that somebody put at ``archive.local_file`` by hand is unpacked instead, offline too. Processes
    that ask for the same archive at once wait for the first one and use what it fetched.

    Args:
        archive: What is wanted, and where.

    Returns:
        ``archive.folder``, complete.

    Raises:
        DownloadError: If there is no verified archive to be had, or no place to put it.
    """
    if archive.is_present():
        return archive.folder
    if not archive.local_file.is_file():
        _require_network(archive)  # before anything is written to the disk
    try:
        with _exclusive_staging(archive.folder) as staging:
            if not archive.is_present():  # otherwise another process fetched it while this one waited
                _install(archive, staging)
    except (OSError, NotImplementedError) as error:  # the latter: a file system that knows no locks
        msg = f"{archive.info.name} cannot be stored in {archive.folder} ({_reason(error)})"
        raise DownloadError(msg) from error
    return archive.folder


@contextmanager
def _exclusive_staging(folder: Path) -> Iterator[Path]:
    """Give one process at a time an empty folder beside ``folder``, on the same file system."""
    staging = folder.parent / f".{folder.name}.staging"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        shutil.rmtree(staging, ignore_errors=True)  # left by a process that was killed
        staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _install(archive: Archive, staging: Path) -> None:
    """Download or find the archive, unpack it in ``staging`` and move the content to its place in one step."""
    _refuse_foreign_content(archive)
    content = staging / "content"
    content.mkdir()
    extract(_verified_archive(archive, staging), content)
    unpacked = content / archive.folder.relative_to(archive.root)
    if not archive.is_complete(unpacked):
        msg = f"{archive.info.name} from {archive.info.url} does not hold what is needed"
        raise DownloadError(msg)
    archive.local_file.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        archive.folder.rmdir()  # empty by now; Windows does not replace even an empty folder
    unpacked.replace(archive.folder)


def _refuse_foreign_content(archive: Archive) -> None:
    """Refuse to replace files that did not come from the archive itself."""
    if any(path != archive.local_file for path in archive.folder.glob("*")):
        msg = f"{archive.folder} exists but is not a complete {archive.info.name}: move it away or delete it"
        raise DownloadError(msg)


def _verified_archive(archive: Archive, staging: Path) -> Path:
    """Return the archive with the right hash, in ``staging``: the local one if it is whole, else downloaded."""
    target = staging / archive.local_file.name
    if archive.local_file.is_file() and sha256_of(archive.local_file) == archive.info.hashsum:
        shutil.copyfile(archive.local_file, target)
        return target
    _download(archive.info, target, size=_require_network(archive))
    if sha256_of(target) != archive.info.hashsum:
        msg = f"{archive.info.url} did not deliver the file with SHA-256 {archive.info.hashsum}"
        raise DownloadError(msg)
    return target


def _require_network(archive: Archive) -> int:
    """Make sure that a download is allowed and its server answers; return the size in bytes, 0 if it is unknown."""
    if is_offline():
        msg = f"{archive.info.name} is not in {archive.root} and {OFFLINE_VARIABLE} forbids to download it"
        raise DownloadError(msg)
    return probe(archive.info.url, PROBE_SECONDS)


def _download(info: DownloadInfo, target: Path, size: int) -> None:
    """Transfer ``info.url`` to ``target``; give up when the server stalls or crawls."""
    logger.info("Downloading %s from %s", info.name, info.url)
    _require_space(target.parent, 2 * size)  # the archive and what is in it
    transfer = _in_background(lambda: download_url_to_file(info.url, str(target)))
    received = 0
    try:
        while not wait([transfer], STALL_SECONDS).done:
            before, received = received, sum(part.stat().st_size for part in target.parent.glob(f"{target.name}*"))
            if received - before < SLOWEST_BYTES_PER_SECOND * STALL_SECONDS:
                msg = f"only {received - before} bytes in {STALL_SECONDS:g} s"
                raise TimeoutError(msg)
        transfer.result()
        if target.stat().st_size < size:
            msg = f"the connection ended after {target.stat().st_size} of {size} bytes"
            raise ConnectionError(msg)
    except (OSError, HTTPException) as error:
        msg = f"{info.url} could not be downloaded ({_reason(error)})"
        raise DownloadError(msg) from error


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        msg = f"it needs {needed / 1e9:.1f} GB of disk space in {folder.parent}, where {free / 1e9:.1f} GB are free"
        raise OSError(msg)


def _reason(error: BaseException) -> str:
    """Return what an exception says, or at least its name."""
    if isinstance(error, URLError) and not isinstance(error, HTTPError):
        return str(error.reason)
    return str(error) or type(error).__name__
