"""Fetching from a hub on this machine: progress, cancel, resume, digest, no network."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_medurwkv.checkpoints import catalogue, load_model, lookup
from napari_medurwkv.checkpoints.download import fetch, licence_notice, public_folder
from napari_medurwkv.checkpoints.public import (
    PublicCheckpoint,
    public_checkpoint,
    public_checkpoints,
)
from napari_medurwkv.errors import CancelledError, CheckpointError
from napari_medurwkv.models import list_models

from .networks import published, small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Hub:
    """Answers as the hub does for one file, and remembers what was asked."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.ranges: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                if "/resolve/" not in self.path or "missing" in self.path:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                wanted = self.headers.get("Range", "")
                first = int(wanted[6:].split("-")[0]) if wanted else 0
                if body:
                    hub.ranges.append(wanted)
                part = hub.content[first:]
                self.send_response(206 if wanted else 200)
                self.send_header("ETag", f'"{hashlib.md5(hub.content).hexdigest()}"')
                self.send_header("X-Repo-Commit", "0" * 40)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(part)))
                if wanted:
                    whole = len(hub.content)
                    self.send_header(
                        "Content-Range", f"bytes {first}-{whole - 1}/{whole}"
                    )
                self.end_headers()
                if body:
                    try:
                        self.wfile.write(part)
                    except OSError:
                        pass  # the client went away, as one that cancels does

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass  # a client that cancels resets the connection

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        if not self.thread.is_alive():
            return
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lookup, "user_folder", lambda: tmp_path / "models")
    monkeypatch.setattr(lookup, "embedded_folder", lambda: tmp_path / "none")
    return tmp_path / "models" / "public"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    source = tmp_path / "source.pth"
    torch.save({"state_dict": published(small("upernet"))}, source)
    server = Hub(source.read_bytes())
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.close()


def entry_for(content: bytes, **changes: Any) -> PublicCheckpoint:
    return public_checkpoint("upernet-vrwkv-tiny-ade20k").model_copy(
        update={"sha256": hashlib.sha256(content).hexdigest()} | changes
    )


def test_a_segmentation_network_is_fetched_and_described(hub: Hub) -> None:
    seen: list[tuple[int, int]] = []
    fetched = fetch(
        entry_for(hub.content), progress=lambda done, total: seen.append((done, total))
    )
    assert fetched.verified and fetched.path.read_bytes() == hub.content
    assert seen[-1] == (len(hub.content), len(hub.content))
    # Nobody is asked: what is known of it lies beside it.
    (known,) = catalogue()
    assert known.name == "upernet-vrwkv-tiny-ade20k"
    assert load_model(known.name).card.licence == "Apache-2.0"
    # The second time nothing is fetched, with or without a network.
    asked = len(hub.ranges)
    assert fetch(entry_for(hub.content), offline=True).path == fetched.path
    assert len(hub.ranges) == asked


def test_cancelled_and_resumed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 4096)
    done: list[int] = []
    with pytest.raises(CancelledError, match="goes on from there"):
        fetch(
            entry_for(hub.content),
            progress=lambda n, total: done.append(n),
            cancel=lambda: len(done) >= 3,
        )
    assert not (public_folder() / entry_for(hub.content).file).exists()
    assert 0 < done[-1] < len(hub.content)
    fetched = fetch(entry_for(hub.content))
    assert fetched.path.read_bytes() == hub.content
    assert hub.ranges[-1] == "bytes=12288-"
    assert [p.suffix for p in public_folder().iterdir()].count(".part") == 0


def test_what_is_not_what_was_published_is_deleted(hub: Hub) -> None:
    entry = entry_for(b"something else")
    with pytest.raises(CheckpointError, match="not what was published"):
        fetch(entry)
    assert not (public_folder() / entry.file).exists()


def test_a_file_that_is_gone(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match="no longer at"):
        fetch(entry_for(b"", file="missing.pth"))


def test_no_network(hub: Hub) -> None:
    entry = entry_for(hub.content)
    hub.close()
    with pytest.raises(CheckpointError, match="the network does not answer"):
        fetch(entry)


def test_offline() -> None:
    with pytest.raises(CheckpointError, match="not on this computer"):
        fetch(entry_for(b""), offline=True)


def test_a_licence_that_forbids_is_shown_first() -> None:
    entry = public_checkpoint("rwkv-unet-base-synapse")
    with pytest.raises(CheckpointError, match=r"may not be passed on.*accept-licence"):
        fetch(entry)
    assert "nobody gave permission" in licence_notice(entry)
    with pytest.raises(CheckpointError, match=r"by hand from https://github\.com"):
        fetch(entry, accept_licence=True)


def test_the_list_is_sound() -> None:
    entries = public_checkpoints()
    assert len({entry.name for entry in entries}) == len(entries) == 20
    assert {entry.architecture for entry in entries} <= set(list_models())
    for entry in entries:
        assert entry.fetchable == entry.redistributable
        assert entry.address.startswith("https://")
        if entry.sha256:
            assert entry.size_bytes
    with pytest.raises(CheckpointError, match="no public checkpoint 'x'"):
        public_checkpoint("x")
