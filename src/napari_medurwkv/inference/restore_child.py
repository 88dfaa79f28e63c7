"""A process that restores one image: ``python -m ...restore_child FOLDER``.

The folder holds ``request.json`` and ``image.npy``. Progress leaves on the standard
output as JSON lines; the restored image is written to ``restored.npy``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medurwkv.errors import MedurwkvError

if TYPE_CHECKING:
    from napari_medurwkv.inference.result import Progress

__all__ = ["main"]

_TELL_S = 0.2


def main(folder: Path) -> None:
    """Do what the folder asks for, and say how it goes."""
    # Prints of any library go to the error stream.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    told = 0.0

    def say(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    def tell(progress: Progress) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _TELL_S:
            told = now
            say({"fraction": progress.done / progress.total})

    try:
        from napari_medurwkv.geometry import Geometry
        from napari_medurwkv.inference.restoration import restore
        from napari_medurwkv.io import Image

        request = json.loads((folder / "request.json").read_text("utf-8"))
        image = Image(
            array=np.load(folder / "image.npy", mmap_mode="r"),
            geometry=Geometry.from_json(request["geometry"]),
            rgb=request["rgb"],
            name=request["name"],
            notes=(),
        )
        result = restore(
            image,
            Path(request["model"]),
            device=request["device"],
            overlap=request["overlap"],
            progress=tell,
        )
        np.save(folder / "restored.npy", result.array)
    except MedurwkvError as error:
        say({"error": str(error)})
        return
    say({"done": result.device, "seconds": result.seconds})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
