"""Makes ``python -m napari_medurwkv.cli`` the command line."""

from __future__ import annotations

from napari_medurwkv.cli import main

if __name__ == "__main__":
    main()
