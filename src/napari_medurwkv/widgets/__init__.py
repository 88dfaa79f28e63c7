"""The napari side: Qt widgets, reader, writer, commands; thin, and without torch.

Nothing is imported here: napari loads the module that its manifest names.
"""

from __future__ import annotations

__all__: list[str] = []
