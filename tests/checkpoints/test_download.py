"""Fetching from a hub on this machine: progress, cancel, resume, digest, no network."""

from __future__ import annotations

import hashlib
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

from .hub import Hub
from .networks import published, small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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


def test_two_programs_do_not_fetch_one_file_at_once(hub: Hub, folder: Path) -> None:
    from filelock import FileLock

    entry = entry_for(hub.content)
    folder.mkdir(parents=True)
    with (
        FileLock(folder / f".{entry.file}.lock"),
        pytest.raises(CheckpointError, match="is being fetched already"),
    ):
        fetch(entry)
    assert fetch(entry).verified
