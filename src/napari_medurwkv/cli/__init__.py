"""The command line: ``medurwkv``.

Exit codes: 0 all is well, 1 an error that one sentence on stderr explains, 2 wrong
usage, 130 cancelled.
"""

from __future__ import annotations

import io

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit."""
    import os
    import sys

    from napari_medurwkv.inference.heap import keep_freed_memory
    from napari_medurwkv.inference.threads import patient_threads

    # Before anything loads torch, which reads it once.
    os.environ.update(patient_threads(os.environ))
    keep_freed_memory()

    from napari_medurwkv.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A console without a sign for "²" shows "?" instead of failing.
            stream.reconfigure(errors="replace")
    app(prog_name="medurwkv")
