"""Models are found by name, and what is wrong in the folders is told."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_medurwkv.checkpoints import (
    catalogue,
    default_for,
    find,
    unusable,
    user_folder,
)
from napari_medurwkv.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    own, user = tmp_path / "own", tmp_path / "user"
    own.mkdir()
    user.mkdir()
    monkeypatch.setattr(
        "napari_medurwkv.checkpoints.lookup.embedded_folder", lambda: own
    )
    monkeypatch.setattr("napari_medurwkv.checkpoints.lookup.user_folder", lambda: user)
    return own, user


@pytest.fixture
def put(fields: dict[str, Any]) -> Callable[..., Path]:
    """Write a file that has a card and no tensors: enough for a catalogue."""

    def write(folder: Path, name: str, stem: str | None = None) -> Path:
        text = json.dumps(fields | {"name": name})
        header = json.dumps({"__metadata__": {"medurwkv.card": text}}).encode()
        path = folder / f"{stem or name}.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        return path

    return write


def test_own_models_come_first(
    folders: tuple[Path, Path], put: Callable[..., Path]
) -> None:
    own, user = folders
    put(user, "alpha")
    paths = [put(own, "nuclei"), put(own, "brain-tissue")]
    (user / "notes.txt").write_text("not a model")
    (user / "._alpha.safetensors").write_text("left by another system")
    entries = catalogue()
    assert [e.name for e in entries] == ["brain-tissue", "nuclei", "alpha"]
    assert [e.embedded for e in entries] == [True, True, False]
    assert entries[1].path == paths[0]
    assert entries[1].card.title == "Tiny"
    assert entries[1].size_bytes == paths[0].stat().st_size
    assert unusable() == ()


def test_digest_follows_the_file(
    folders: tuple[Path, Path], put: Callable[..., Path]
) -> None:
    path = put(folders[0], "nuclei")
    entry = find("nuclei")
    first = hashlib.sha256(path.read_bytes()).hexdigest()
    assert entry.sha256 == entry.sha256 == first
    data = path.read_bytes().replace(b"Tiny", b"Tony")
    path.write_bytes(data)
    assert find("nuclei").sha256 == hashlib.sha256(data).hexdigest() != first


def test_folders_that_are_not_there(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        folder.rmdir()
    assert catalogue() == ()
    assert unusable() == ()


def test_folder_that_may_not_be_read(
    folders: tuple[Path, Path],
    put: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, user = folders
    put(own, "nuclei")
    is_dir = Path.is_dir

    def guarded(path: Path) -> bool:
        if path == user:
            raise PermissionError(13, "Permission denied")
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", guarded)
    assert [e.name for e in catalogue()] == ["nuclei"]
    assert "cannot be read: Permission denied" in str(unusable()[0])


def test_broken_files_do_not_hide_the_others(
    folders: tuple[Path, Path], put: Callable[..., Path]
) -> None:
    own, user = folders
    put(own, "nuclei")
    (user / "broken.safetensors").write_bytes(b"")
    put(user, "nuclei", stem="mine")
    assert [e.name for e in catalogue()] == ["nuclei"]
    assert find("nuclei").path.parent == own
    empty, taken = map(str, unusable())
    assert "broken.safetensors is empty" in empty
    assert "mine.safetensors has the name 'nuclei' of another model" in taken
    with pytest.raises(CheckpointError, match=r"broken\.safetensors is empty"):
        find("lungs")


def test_find_by_path(folders: tuple[Path, Path], put: Callable[..., Path]) -> None:
    own, user = folders
    path = put(user.parent, "somewhere")
    assert find(path).name == find(str(path)).name == "somewhere"
    assert not find(path).embedded
    assert find(put(own, "nuclei")).embedded


def test_names_win_over_files(
    folders: tuple[Path, Path],
    put: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, user = folders
    put(own, "nuclei")
    (user / "nuclei").mkdir()
    monkeypatch.chdir(user)
    assert find("nuclei").embedded
    with pytest.raises(CheckpointError, match="is a folder"):
        find(Path("nuclei"))


def test_home_is_expanded(
    folders: tuple[Path, Path],
    put: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(folders[1], "mine")
    monkeypatch.setenv("HOME", str(folders[1]))
    monkeypatch.setenv("USERPROFILE", str(folders[1]))
    assert find("~/mine.safetensors").name == "mine"


def test_unknown_names_list_the_known(
    folders: tuple[Path, Path], put: Callable[..., Path]
) -> None:
    with pytest.raises(CheckpointError, match="the models here are none"):
        find("lungs")
    put(folders[0], "nuclei")
    put(folders[1], "mine")
    with pytest.raises(
        CheckpointError, match=r"'lungs': the models here are nuclei, m"
    ):
        find("lungs")
    with pytest.raises(CheckpointError, match="There is no checkpoint file"):
        find("lungs.safetensors")
    with pytest.raises(CheckpointError, match="There is no checkpoint file"):
        find("models/lungs")


def test_defaults(folders: tuple[Path, Path], put: Callable[..., Path]) -> None:
    put(folders[0], "nuclei")
    put(folders[0], "brain-tissue")
    assert default_for(2, rgb=False).name == "nuclei"
    assert default_for(2, rgb=True).name == "nuclei"
    assert default_for(3, rgb=False).name == "brain-tissue"
    with pytest.raises(CheckpointError, match="3D colour images"):
        default_for(3, rgb=True)
    with pytest.raises(CheckpointError, match="4D grey images"):
        default_for(4, rgb=False)


def test_user_folder_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_folder().name == "models"
    assert "napari-medurwkv" in str(user_folder())
    assert user_folder().is_absolute()


def test_embedded_folder_is_inside_the_package() -> None:
    from napari_medurwkv.checkpoints.lookup import embedded_folder

    assert embedded_folder().parts[-3:] == (
        "napari_medurwkv",
        "checkpoints",
        "embedded",
    )


@pytest.mark.parametrize("name", ["nuclei", "brain-tissue"])
def test_embedded_checkpoints(name: str) -> None:
    entries = {entry.name: entry for entry in catalogue() if entry.embedded}
    if name not in entries:
        pytest.skip(f"the checkpoint {name} is not trained yet")
    assert entries[name].size_bytes < 8_000_000
    assert entries[name].card.metrics
    assert entries[name].card.training_data
