"""Fetch a public checkpoint from the hub: resumed, counted, cancelled, verified."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from napari_medurwkv.checkpoints import lookup
from napari_medurwkv.checkpoints.digest import file_digest
from napari_medurwkv.checkpoints.sidecar import Sidecar, write_sidecar
from napari_medurwkv.errors import CancelledError, CheckpointError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_medurwkv.checkpoints.public import PublicCheckpoint

__all__ = ["Fetched", "fetch", "licence_notice", "public_folder"]


_HUB = "https://huggingface.co"
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """A public checkpoint on this computer.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the file, hexadecimal.
    verified : bool
        Whether it was compared with a published one.
    """

    path: Path
    sha256: str
    verified: bool


def public_folder() -> Path:
    """Folder of the public checkpoints that were fetched; it need not exist."""
    return lookup.user_folder() / "public"


def licence_notice(entry: PublicCheckpoint) -> str:
    """Say under which licence a file is, and what that means for passing it on."""
    text = f"{entry.file} is by {', '.join(entry.authors)}, licence: {entry.licence}."
    if not entry.redistributable:
        text += (
            " It may not be passed on: nobody gave permission. Using it is between you "
            "and its authors."
        )
    return text


def fetch(
    entry: PublicCheckpoint,
    *,
    accept_licence: bool = False,
    offline: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Fetched:
    """Download a public checkpoint, or find it where an earlier call put it.

    Parameters
    ----------
    entry : PublicCheckpoint
        Of the package's list.
    accept_licence : bool
        The licence was shown and accepted; needed where it forbids passing the file
        on.
    offline : bool
        Use no network.
    progress : callable, optional
        Called with the bytes that are there and the bytes in all (0: not known).
    cancel : callable, optional
        Asked with each piece; True ends the download. What is there stays, and the
        next call goes on from it.

    Returns
    -------
    Fetched

    Raises
    ------
    CancelledError
        If `cancel` said so.
    CheckpointError
        The file lies where programs cannot fetch it, its licence was not accepted,
        there is no network, or what came is not what was published.
    OutputError
        The folder cannot be written to.
    """
    if not entry.redistributable and not accept_licence:
        raise CheckpointError(
            f"{licence_notice(entry)} Accept that first ('--accept-licence')."
        )
    if not entry.fetchable:
        raise CheckpointError(
            f"{entry.file} cannot be fetched by a program: download it by hand from "
            f"{entry.address}, then add it with 'medurwkv models add'."
        )
    folder = public_folder()
    path = folder / entry.file
    if not path.is_file():
        if offline:
            raise CheckpointError(
                f"{entry.file} is not on this computer and the network is not to be "
                f"used: copy it to {folder}, or fetch it when you are online."
            )
        with _alone(entry, folder):
            if not path.is_file():
                _download(entry, folder, progress, cancel or (lambda: False))
    digest = file_digest(path)
    if entry.sha256 and digest != entry.sha256:
        path.unlink()
        raise CheckpointError(
            f"{entry.file} is not what was published (SHA-256 {digest[:16]}… where "
            f"{entry.sha256[:16]}… belongs) and was deleted: fetch it again."
        )
    if entry.task in ("segmentation", "restoration"):
        _describe(entry, path)
    return Fetched(path, digest, bool(entry.sha256))


@contextmanager
def _alone(entry: PublicCheckpoint, folder: Path) -> Iterator[None]:
    """Keep other programs from adding to the same file meanwhile."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / f".{entry.file}.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise CheckpointError(
            f"{entry.file} is being fetched already, by another window or program: "
            "wait for that."
        ) from error
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be written to: {error.strerror}."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _describe(entry: PublicCheckpoint, path: Path) -> None:
    """Write what is known of a file beside it, so that nobody is asked."""
    from napari_medurwkv.checkpoints.answers import assumed_card
    from napari_medurwkv.checkpoints.examine import look_into
    from napari_medurwkv.checkpoints.sidecar import sidecar_path

    if sidecar_path(path).is_file():
        return
    found, _ = look_into(path)
    card = assumed_card(found.identity, path, **entry.card_fields())
    write_sidecar(path, Sidecar(card=card))


def _download(
    entry: PublicCheckpoint,
    folder: Path,
    progress: Callable[[int, int], None] | None,
    cancel: Callable[[], bool],
) -> None:
    endpoint = os.environ.get("HF_ENDPOINT", _HUB)
    if cancel():
        raise CancelledError(f"The download of {entry.file} was stopped.")
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("1", "ON", "YES", "TRUE", "true"):
        _knock(endpoint, entry, folder)
    # Imported here: it takes a while, and most runs fetch nothing.
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        """Hands the count on instead of drawing it."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **(kwargs | {"disable": True}))  # type: ignore[no-untyped-call]
            self.n = kwargs.get("initial", 0) or 0
            self.all = int(kwargs.get("total") or 0)

        def update(self, n: float | None = 1) -> None:
            """Count on, tell, and ask whether to stop."""
            self.n += n or 0
            if cancel():
                raise CancelledError(
                    f"The download of {entry.file} was stopped; the next one goes on "
                    "from there."
                )
            if progress is not None:
                progress(int(self.n), self.all)

    try:
        url = hf_hub_url(
            entry.repository, entry.file, revision=entry.revision, endpoint=endpoint
        )
        facts = get_hf_file_metadata(url)
        # The start of another version is no start of this one.
        mark = hashlib.sha256(str(facts.etag).encode()).hexdigest()[:12]
        part = folder / f".{entry.file}.{mark}.part"
        with part.open("ab") as file:
            http_get(
                facts.location,
                file,
                resume_size=file.tell(),
                expected_size=facts.size,
                tqdm_class=Bar,
            )
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / entry.file)
    except CancelledError:
        raise
    except OfflineModeIsEnabled as error:
        raise CheckpointError(
            f"{entry.file} is not on this computer, and HF_HUB_OFFLINE forbids the "
            "network: unset it, or copy the file to " + f"{folder}."
        ) from error
    except EntryNotFoundError as error:
        if not isinstance(error, LocalEntryNotFoundError):
            raise CheckpointError(
                f"{entry.file} is no longer at {entry.address}: look there what became "
                "of it."
            ) from error
        raise _no_network(entry, folder) from error
    except HfHubHTTPError as error:
        raise CheckpointError(
            f"{entry.file} cannot be fetched: {entry.address} answered "
            f"{error.response.status_code}; try again later."
        ) from error
    except OSError as error:
        if error.errno == 28:
            raise OutputError(f"The disk of {folder} is full: make room.") from error
        raise _no_network(entry, folder) from error
    except Exception as error:
        # The client's own transport errors come from a library of its choice.
        if type(error).__module__.partition(".")[0] not in (
            "httpx",
            "httpx2",
            "requests",
        ):
            raise
        raise _no_network(entry, folder) from error


def _knock(endpoint: str, entry: PublicCheckpoint, folder: Path) -> None:
    """Find out within seconds whether the hub can be reached at all.

    The hub's own client tries for half a minute, and cannot be cancelled meanwhile.
    """
    address = urlsplit(endpoint)
    if address.scheme in getproxies():
        return  # only the proxy knows
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname, port), _PATIENCE).close()
    except OSError as error:
        raise _no_network(entry, folder) from error


def _no_network(entry: PublicCheckpoint, folder: Path) -> CheckpointError:
    return CheckpointError(
        f"{entry.file} cannot be fetched, the network does not answer: check the "
        f"connection, or copy the file from {entry.address} to {folder}. "
        "An interrupted download goes on where it stopped."
    )
