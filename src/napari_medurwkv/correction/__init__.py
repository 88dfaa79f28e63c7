"""Correct masks: tools that are pure functions, one history, and what guards both.

Every tool takes a block of a mask, the voxel size in mm and its own parameters, and
gives a new block. Nothing here knows Qt or napari.
"""

from __future__ import annotations
