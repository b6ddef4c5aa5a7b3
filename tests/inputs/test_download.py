# SPDX-License-Identifier: Apache-2.0
"""A download ends whole and verified, or leaves nothing behind and says why in one sentence."""

import socket
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anomalib_scdae.errors import UserError
from anomalib_scdae.inputs import download
from anomalib_scdae.inputs.download import Archive, DownloadError, fetch, is_offline, probe
from tests.local_server import FileServer, serving, tarred, zipped

FILES = {"weights/one.bin": b"1" * 70_000, "weights/two.bin": bytes(range(256)) * 300}


@pytest.fixture(autouse=True)
def direct_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a proxy of the machine nor an offline setting of the caller's takes part."""
    monkeypatch.delenv(download.OFFLINE_VARIABLE, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(urllib.request, "_opener", None)  # urllib remembers the proxies of its first request


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(zipped(FILES)) as server:
        yield server


def archive_of(server: FileServer, root: Path) -> Archive:
    return Archive(server.info("weights.zip"), root, root / "weights", lambda path: (path / "two.bin").is_file())


def visible(folder: Path) -> list[str]:
    """What anyone may take for data: everything but the lock and other hidden names."""
    return sorted(path.name for path in folder.glob("[!.]*"))


def test_content_arrives_whole_and_nothing_else_stays(server: FileServer, tmp_path: Path) -> None:
    folder = fetch(archive_of(server, tmp_path))
    assert {f"weights/{path.name}": path.read_bytes() for path in folder.iterdir()} == FILES
    assert visible(tmp_path) == ["weights"]
    assert not list(tmp_path.glob(".*.staging"))


def test_present_content_is_not_downloaded_again(server: FileServer, tmp_path: Path) -> None:
    archive = archive_of(server, tmp_path)
    fetch(archive)
    server.requests.clear()
    assert fetch(archive) == tmp_path / "weights"
    assert server.requests == []


def test_archive_that_fills_its_own_folder(tmp_path: Path) -> None:
    """Imagenette's archive is unpacked into the folder itself, which must not exist before."""
    with serving(tarred({"set/train/a.JPEG": b"a"})) as server:
        root = tmp_path / "datasets" / "set"
        archive = Archive(server.info("set.tgz"), root, root, lambda path: any(path.rglob("*.JPEG")))
        fetch(archive)
    assert (root / "set" / "train" / "a.JPEG").read_bytes() == b"a"
    assert visible(root) == ["set"]


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        ("missing", "404"),
        ("truncated", "the connection ended after"),
        ("stalling", r"only \d+ bytes in"),
        ("silent", "no answer"),
    ],
)
def test_bad_server(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str, cause: str
) -> None:
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(download, "PROBE_SECONDS", 0.3)
    server.behaviour = behaviour
    with pytest.raises(DownloadError, match=cause):
        fetch(archive_of(server, tmp_path))
    assert visible(tmp_path) == []
    assert not list(tmp_path.glob(".*.staging"))


def test_failed_download_does_not_hinder_the_next(server: FileServer, tmp_path: Path) -> None:
    server.behaviour = "truncated"
    with pytest.raises(DownloadError):
        fetch(archive_of(server, tmp_path))
    server.behaviour = "good"
    assert visible(fetch(archive_of(server, tmp_path))) == ["one.bin", "two.bin"]


def test_crawling_server_is_given_up(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "STALL_SECONDS", 1e-9)
    monkeypatch.setattr(download, "SLOWEST_BYTES_PER_SECOND", 1e15)
    with pytest.raises(DownloadError, match=r"only \d+ bytes in"):
        fetch(archive_of(server, tmp_path))
    assert visible(tmp_path) == []


def test_wrong_hash(server: FileServer, tmp_path: Path) -> None:
    archive = archive_of(server, tmp_path)
    server.content = server.content[:-1] + b"?"
    with pytest.raises(DownloadError, match="SHA-256"):
        fetch(archive)
    assert visible(tmp_path) == []


def test_unexpected_content(server: FileServer, tmp_path: Path) -> None:
    archive = Archive(server.info("weights.zip"), tmp_path, tmp_path / "weights", lambda path: False)
    with pytest.raises(DownloadError, match="does not hold"):
        fetch(archive)
    assert visible(tmp_path) == []


def test_archive_cannot_write_outside_its_place(tmp_path: Path) -> None:
    with serving(zipped({**FILES, "../../escaped.txt": b"!"})) as server:
        fetch(archive_of(server, tmp_path / "root"))
    assert not list(tmp_path.rglob("escaped.txt"))


def test_refused_connection_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as bound:  # a port that nobody listens on
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match="refused"):
            probe(url, 5)


def test_probe_does_not_wait_for_a_name_that_never_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall that swallows name look-ups blocks far longer than any socket time-out."""
    answer, finished = threading.Event(), threading.Event()

    def look_up(*args: object, **kwargs: object) -> None:
        answer.wait(60)
        finished.set()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(DownloadError, match=r"no answer within 0\.2 s"):
        probe("http://server.invalid/file", 0.2)
    assert not finished.is_set()
    answer.set()
    assert finished.wait(60)


def test_server_that_refuses_head_is_reachable(server: FileServer, tmp_path: Path) -> None:
    server.behaviour = "no-head"
    assert fetch(archive_of(server, tmp_path)).is_dir()


def test_proxy_is_honoured(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
    probe("http://server.invalid/file", 5)
    assert server.requests == [("HEAD", "http://server.invalid/file")]


def test_offline_variable_forbids_downloads(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(download.OFFLINE_VARIABLE, "1")
    with pytest.raises(DownloadError, match=download.OFFLINE_VARIABLE):
        fetch(archive_of(server, tmp_path / "root"))
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("true", True), ("", False), ("0", False), ("no", False)])
def test_values_of_the_offline_variable(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv(download.OFFLINE_VARIABLE, value)
    assert is_offline() is expected


def test_archive_put_there_by_hand_is_unpacked_offline(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(download.OFFLINE_VARIABLE, "1")
    (tmp_path / "weights.zip").write_bytes(server.content)
    assert visible(fetch(archive_of(server, tmp_path))) == ["one.bin", "two.bin"]
    assert visible(tmp_path) == ["weights"]


def test_partial_archive_of_an_earlier_attempt_is_replaced(server: FileServer, tmp_path: Path) -> None:
    """Anomalib's helper leaves one when it is interrupted, and unpacks it unchecked the next time."""
    root = tmp_path / "set"
    root.mkdir()
    (root / "weights.zip").write_bytes(server.content[:100])
    archive = Archive(server.info("weights.zip"), root, root, lambda path: (path / "weights" / "two.bin").is_file())
    assert visible(fetch(archive)) == ["weights"]
    assert server.downloads == 1


def test_content_beside_an_archive_is_not_trusted(server: FileServer, tmp_path: Path) -> None:
    """An archive that is still there means that unpacking it was cut short."""
    archive = archive_of(server, tmp_path)
    fetch(archive)
    assert archive.is_present()
    archive.local_file.write_bytes(b"...")
    assert not archive.is_present()


def test_files_of_others_are_never_replaced(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.txt").write_text("precious")
    with pytest.raises(DownloadError, match="move it away"):
        fetch(archive_of(server, tmp_path))
    assert (tmp_path / "weights" / "mine.txt").read_text() == "precious"


def test_leftovers_of_a_killed_process_are_not_used(server: FileServer, tmp_path: Path) -> None:
    content = tmp_path / ".weights.staging" / "content" / "weights"
    content.mkdir(parents=True)
    (content / "two.bin").write_bytes(b"half")
    folder = fetch(archive_of(server, tmp_path))
    assert (folder / "two.bin").read_bytes() == FILES["weights/two.bin"]


def test_concurrent_processes_share_one_download(server: FileServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:  # the lock is held by a file handle, so threads exclude each other, too
        folders = list(pool.map(lambda _: fetch(archive_of(server, tmp_path)), range(4)))
    assert set(folders) == {tmp_path / "weights"}
    assert server.downloads == 1


def test_no_place_to_write_is_one_sentence(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot be stored in"):
        fetch(archive_of(server, tmp_path / "file"))


def test_full_disk_is_told_before_the_transfer(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = download.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: real._replace(free=1000))
    with pytest.raises(DownloadError, match="disk space"):
        fetch(archive_of(server, tmp_path))
    assert visible(tmp_path) == []
