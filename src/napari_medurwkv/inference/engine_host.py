"""What must not outlive an engine client: its child process and its private folder."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medurwkv.inference.engine_child import EngineProcess
from napari_medurwkv.inference.engine_protocol import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["EngineHost", "exchanged_files"]


class EngineHost:
    """Holds one child process and the folder in which arrays are exchanged with it.

    Not for several threads at once: `EngineClient` guards it.

    Parameters
    ----------
    command : sequence of str
        What to start.

    Attributes
    ----------
    child : EngineProcess or None
        The child, alive or not.
    folder : Path or None
        For this user's eyes only; made with the first child.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.child: EngineProcess | None = None
        self.folder: Path | None = None
        self._command = tuple(command)

    def living_child(self) -> EngineProcess:
        """Give the child, started if there is none that lives.

        Raises
        ------
        EngineError
            If it cannot be started.
        """
        if self.child is not None and self.child.alive:
            return self.child
        if self.child is not None:
            self.child.kill()
            self.child = None
        try:
            if self.folder is None:
                self.folder = Path(tempfile.mkdtemp(prefix="medurwkv-"))
            self.child = EngineProcess(self._command, self.folder)
        except OSError as error:
            raise EngineError(
                f"The engine process could not be started ({error}); "
                "run `medurwkv doctor` to see what is missing."
            ) from error
        return self.child

    def release(self) -> None:
        """End the child and remove the folder."""
        child, self.child = self.child, None
        folder, self.folder = self.folder, None
        if child is not None:
            child.kill()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def exchanged_files(folder: Path, number: int) -> Iterator[tuple[Path, Path, Path]]:
    """Name the files of one run, and remove them afterwards.

    They are for image, labels and uncertainty.
    """
    image, labels, doubts = (
        folder / f"{what}-{number}.npy" for what in ("image", "labels", "uncertainty")
    )
    paths = image, labels, doubts
    try:
        yield paths
    finally:
        for path in (*paths, *folder.glob(f"part-{number}-*.npy")):
            # Windows keeps a file that the child still maps until `release`.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                path.unlink()
