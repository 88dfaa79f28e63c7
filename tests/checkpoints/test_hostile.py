"""Hostile and foolish files: one sentence, quickly, without memory, nothing run."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medurwkv.checkpoints import find, load_model
from napari_medurwkv.checkpoints.examine import examine
from napari_medurwkv.checkpoints.identify import identify
from napari_medurwkv.errors import CheckpointError

from .networks import SMALL, published, small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECONDS = 2.0


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def zipped(
    path: Path,
    content: bytes,
    *,
    names: tuple[str, ...] = (),
    packed: bool = False,
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        archive.writestr("net/data.pkl", content, kind)
        for name in names:
            archive.writestr(name, b"x")
    return path


def pickle_attack(path: Path) -> None:
    torch.save({"state_dict": {"a": Evil(path.with_name("ran"))}}, path)


def bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(path.with_name("ran"))))


def truncated_zip(path: Path) -> None:
    torch.save(published(small("vrwkv")), path)
    path.write_bytes(path.read_bytes()[:-300])


def half_a_zip(path: Path) -> None:
    torch.save(published(small("vrwkv")), path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def zip_bomb(path: Path) -> None:
    """195 kB that unpack to 200 MB, as PyTorch alone loads them."""
    whole = io.BytesIO()
    torch.save({"a": torch.zeros(50_000_000)}, whole)
    with (
        zipfile.ZipFile(whole) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    assert path.stat().st_size < 300_000


def overlapping_zip(path: Path) -> None:
    """Many entries of the directory that are one and the same megabyte."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps({}, 2))
        archive.writestr("net/data/0", bytes(1_000_000))
        one = archive.getinfo("net/data/0")
        for number in range(1, 500):
            other = copy.copy(one)
            other.filename = f"net/data/{number}"
            archive.filelist.append(other)
            archive.NameToInfo[other.filename] = other


def traversal(path: Path) -> None:
    zipped(path, pickle.dumps({}, 2), names=("../../ran",))


def absolute(path: Path) -> None:
    zipped(path, pickle.dumps({}, 2), names=("/ran",))


def odd_entry(path: Path) -> None:
    zipped(path, pickle.dumps({}, 2), names=("net/extra.sh",))


def torchscript(path: Path) -> None:
    zipped(path, pickle.dumps({}, 2), names=("net/code/net.py", "net/constants.pkl"))


def not_a_checkpoint(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")


def huge_pickle(path: Path) -> None:
    zipped(path, b"\x80\x02" + b"]" * 5_000_000 + b".")


def nested_pickle(path: Path) -> None:
    zipped(path, b"\x80\x02" + b"(" * 3_000_000 + b".")


def setitem_pickle(path: Path) -> None:
    """Sets an item on what is no dictionary."""
    zipped(path, b"\x80\x02]K\x01K\x02s.")


def huge_header(path: Path) -> None:
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")


def overlapping_tensors(path: Path) -> None:
    tensor = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    text = json.dumps({"a": tensor, "b": tensor}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))


def uncovered_tensor(path: Path) -> None:
    tensor = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    text = json.dumps({"a": tensor}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def directory(path: Path) -> None:
    path.mkdir()


def empty(path: Path) -> None:
    path.touch()


def nifti(path: Path) -> None:
    header = bytearray(352)
    header[:4] = (348).to_bytes(4, "little")
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + bytes(1000))


def not_numbers(path: Path) -> None:
    state = published(small("rwkv_unet"))
    state["final_conv.bias"].fill_(float("nan"))
    torch.save(state, path)


def expanded(path: Path) -> None:
    """One stored number that claims to be many."""
    state = published(small("vrwkv"))
    state["pos_embed"] = torch.zeros(1).expand(1, 10**8, 10**3)
    torch.save(state, path)


def million_wide(path: Path) -> None:
    dim = 1_000_000
    torch.save(
        {
            "patch_embed.projection.weight": torch.zeros(1).expand(dim, 3, 16, 16),
            "pos_embed": torch.zeros(1).expand(1, 196, dim),
            "layers.0.att.spatial_decay": torch.zeros(1).expand(dim),
        },
        path,
    )


def million_deep(path: Path) -> None:
    state = published(small("vrwkv"))
    state["layers.999999.ln1.weight"] = torch.ones(16)
    torch.save(state, path)


def card_of_a_giant(path: Path) -> None:
    text = json.dumps(
        {"__metadata__": {"medurwkv.card": json.dumps({"config": {"depth": 10**9}})}}
    ).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


ATTACKS: list[tuple[Callable[[Path], None], str]] = [
    (pickle_attack, "names the program part"),
    (bare_pickle, "bare pickle"),
    (truncated_zip, "truncated or damaged"),
    (half_a_zip, "truncated or damaged"),
    (zip_bomb, "compressed or encrypted"),
    (overlapping_zip, "promises more bytes than the file"),
    (traversal, "entries that no checkpoint has"),
    (absolute, "entries that no checkpoint has"),
    (odd_entry, "entries that no checkpoint has"),
    (torchscript, "TorchScript program"),
    (not_a_checkpoint, "entries that no checkpoint has"),
    (huge_pickle, "pickle has 5000003 bytes"),
    (nested_pickle, "damaged or no checkpoint"),
    (setitem_pickle, "refused|damaged"),
    (huge_header, "no checkpoint"),
    (overlapping_tensors, "overlaps"),
    (uncovered_tensor, "truncated"),
    (directory, "is a folder"),
    (empty, "is empty"),
    (nifti, "is an image, in NIfTI format"),
    (not_numbers, "NaN or infinity in final_conv.bias"),
    (expanded, "claims more values than the file has"),
    (million_wide, "claims more values|larger than any"),
    (million_deep, "layers.999999.ln1.weight.* is unexpected|gives features"),
    (card_of_a_giant, "is not valid"),
]


@pytest.mark.parametrize(
    ("attack", "said"), ATTACKS, ids=lambda a: getattr(a, "__name__", "")
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_refused_with_its_sentence(
    tmp_path: Path, attack: Callable[[Path], None], said: str, suffix: str
) -> None:
    path = tmp_path / f"net{suffix}"
    attack(path)
    start = time.perf_counter()
    # What torch wrote, called otherwise, is not even opened.
    other = "|rename it to end in .pth" if suffix == ".safetensors" else ""
    with pytest.raises(CheckpointError, match=said + other) as caught:
        load_model(path)
    assert time.perf_counter() - start < SECONDS
    text = str(caught.value)
    assert path.name in text and len(text) < 700 and "\n" not in text
    assert not (tmp_path / "ran").exists()
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name}


MEASURE = """
import resource, sys
from pathlib import Path
import torch
from napari_medurwkv.checkpoints import load_model
from napari_medurwkv.errors import CheckpointError
import napari_medurwkv.checkpoints.load, napari_medurwkv.checkpoints.fit
import napari_medurwkv.checkpoints.identify
warm = Path(sys.argv[1])
try: load_model(warm)
except CheckpointError: pass
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try: load_model(Path(sys.argv[2]))
except CheckpointError as error: print(error)
else: raise SystemExit("it was loaded")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows counts memory otherwise")
@pytest.mark.parametrize("attack", [zip_bomb, huge_pickle, expanded])
def test_memory_stays_small(tmp_path: Path, attack: Callable[[Path], None]) -> None:
    path, warm = tmp_path / "net.pth", tmp_path / "warm.pth"
    attack(path)
    torch.save({"a": torch.ones(1)}, warm)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, warm, path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr + done.stdout
    grown = int(done.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024)
    # What a few pages more for the interpreter take cannot be told from the file's.
    assert grown <= 2 * path.stat().st_size + 8_000_000


def test_what_is_refused_by_name_too(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    pickle_attack(path)
    for look in (find, examine):
        with pytest.raises(CheckpointError, match="names the program part"):
            look(path)
    with pytest.raises(CheckpointError):
        examine(path, tensors_only=True)
    assert not (tmp_path / "ran").exists()


def test_an_old_torch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pth"
    torch.save(published(small("vrwkv")), path)
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(CheckpointError, match=r"2\.9\.1\+cpu.*update it to 2\.10"):
        examine(path)


fuzz = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FAMILIES = sorted(SMALL)
STATES: dict[str, dict[str, tuple[int, ...]]] = {}


def shapes_of(family: str) -> dict[str, tuple[int, ...]]:
    if family not in STATES:
        state = published(small(family))
        STATES[family] = {key: tuple(value.shape) for key, value in state.items()}
    return STATES[family]


@fuzz
@given(data=st.data())
def test_any_key_set_ends_in_an_identity_or_a_sentence(data: st.DataObject) -> None:
    shapes = dict(shapes_of(data.draw(st.sampled_from(FAMILIES))))
    keys = sorted(shapes)
    for key in data.draw(st.lists(st.sampled_from(keys), max_size=4)):
        shapes.pop(key, None)
    sides = st.integers(0, 2**40)
    shape = st.lists(sides, max_size=5).map(tuple)
    shapes |= data.draw(st.dictionaries(st.sampled_from(keys), shape, max_size=4))
    shapes |= data.draw(st.dictionaries(st.text(max_size=20), shape, max_size=3))
    try:
        identify(shapes, "net.pth")
    except CheckpointError as error:
        assert "net.pth" in str(error) or "two networks" in str(error)


@fuzz
@given(data=st.data())
def test_any_damage_to_a_torch_file_ends_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "net.pth"
    torch.save({"state_dict": {"a": torch.ones(3), "b": torch.zeros(2)}}, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError) as caught:
        load_model(path)  # undamaged it is of no family, so it never loads
    assert "\n" not in str(caught.value)


@fuzz
@given(pickled=st.binary(max_size=200))
def test_any_pickle_ends_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, pickled: bytes
) -> None:
    path = zipped(tmp_path_factory.mktemp("fuzz") / "net.pth", b"\x80\x02" + pickled)
    with pytest.raises(CheckpointError):
        load_model(path)


@fuzz
@given(
    state=st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3),
        ),
        max_size=4,
    )
)
def test_any_content_without_weights_ends_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "net.pth"
    torch.save(state, path)
    with pytest.raises(CheckpointError):
        load_model(path)


def test_nothing_inside_is_said_in_a_whole_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({}, path)
    with pytest.raises(CheckpointError, match=r"no weights; it is empty: save the"):
        examine(path)
    path = tmp_path / "a.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        examine(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.pth"])
def test_an_image_is_called_an_image(tmp_path: Path, name: str) -> None:
    import nibabel
    import numpy as np

    image = nibabel.nifti1.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
    path = tmp_path / name
    nibabel.loadsave.save(image, path if name != "a.pth" else tmp_path / "b.nii")
    if name == "a.pth":
        path.write_bytes((tmp_path / "b.nii").read_bytes())
    with pytest.raises(CheckpointError, match="is an image, in NIfTI format"):
        examine(path)
