"""A process that fetches one public checkpoint: ``python -m ...fetch_child NAME``.

Progress leaves on the standard output as JSON lines, the last of which says what came
of it. Whoever started it closes its standard input to end it; what was fetched so far
stays, and the next one goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from typing import Any

from napari_medurwkv.errors import CancelledError, MedurwkvError

__all__ = ["main"]

_TELL_S = 0.1

_PIECE = 1 << 16
"""Bytes. The client's own ten megabytes are long on a slow line: nothing moves
meanwhile, nothing stops it, and all of them are lost with the process."""


def main(words: list[str] | None = None) -> None:
    """Fetch what the words ask for, and say how it goes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--offline", action="store_true")
    wanted = parser.parse_args(words)
    # Prints of any library go to the error stream.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    ended = threading.Event()
    threading.Thread(target=_until_closed, args=(ended,), daemon=True).start()
    told = 0.0

    def say(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _TELL_S or done == total:
            told = now
            say({"done": done, "total": total})

    try:
        from napari_medurwkv.checkpoints.download import fetch
        from napari_medurwkv.checkpoints.public import public_checkpoint

        if not wanted.offline:
            from huggingface_hub import constants

            constants.DOWNLOAD_CHUNK_SIZE = _PIECE
        fetched = fetch(
            public_checkpoint(wanted.name),
            accept_licence=True,  # the window asked before it started this
            offline=wanted.offline,
            progress=tell,
            cancel=ended.is_set,
        )
    except CancelledError as error:
        say({"stopped": str(error)})
    except MedurwkvError as error:
        say({"error": str(error)})
    else:
        say({"path": str(fetched.path), "verified": fetched.verified})


def _until_closed(ended: threading.Event) -> None:
    sys.stdin.buffer.read()
    ended.set()


if __name__ == "__main__":
    main()
