"""The catalogue of tools: what each is called, what it asks for, and its key.

Whoever shows tools, a panel or a command, reads names, hints and parameters here.
"""

from __future__ import annotations

from napari_medurwkv.correction import tool_runs as runs
from napari_medurwkv.correction.tools import Parameter, Tool

__all__ = ["TOOLS", "find_tool"]


def _mm(title: str, default: float, high: float = 50.0) -> Parameter:
    return Parameter("mm", title, default, 0.1, high, suffix=" mm")


_UNIT = Parameter("unit", "Counted in", "mm3", choices=("mm3", "voxels"))

TOOLS: tuple[Tool, ...] = (
    Tool(
        "keep_largest",
        "Keep largest",
        "Keep the largest islands of each class and remove the others",
        runs.keep_largest_islands,
        "Shift-K",
        (Parameter("count", "Islands to keep", 1, 1, 100),),
    ),
    Tool(
        "remove_small",
        "Remove small",
        "Remove islands that are smaller than a size",
        runs.remove_small_islands,
        "Shift-R",
        (Parameter("smallest", "Smaller than", 50.0, 0, 1e6), _UNIT),
    ),
    Tool(
        "keep_picked",
        "Keep picked",
        "Click an island: the rest of its class is removed",
        runs.keep_picked_island,
        "Shift-I",
        needs=("point",),
    ),
    Tool(
        "split_islands",
        "Split islands",
        "Give each island of the chosen class a label of its own",
        runs.split_into_labels,
        "Shift-J",
        (Parameter("smallest", "Leave out below (voxels)", 10, 1, 1e6),),
        target=True,
    ),
    Tool(
        "fill_holes",
        "Fill holes",
        "Fill background that a class encloses",
        runs.fill,
        "Shift-F",
        (
            Parameter("largest", "Up to (0: any size)", 0.0, 0, 1e6),
            _UNIT,
            Parameter("per_slice", "Slice by slice", False),
        ),
    ),
    Tool(
        "smooth",
        "Smooth",
        "Smooth surfaces; joint treats all classes together and leaves no gaps",
        runs.smooth_surfaces,
        "Shift-S",
        (
            Parameter(
                "method",
                "Method",
                "median",
                choices=("median", "opening", "closing", "gaussian", "joint"),
            ),
            _mm("Radius", 2.0, 20.0),
        ),
        reach="mm",
        reach_times=3.0,
    ),
    Tool(
        "grow",
        "Grow",
        "Grow classes into background by a distance",
        runs.grow_by,
        "Shift-G",
        (_mm("By", 2.0),),
        reach="mm",
    ),
    Tool(
        "shrink",
        "Shrink",
        "Shrink classes by a distance",
        runs.shrink_by,
        "Shift-D",
        (_mm("By", 1.0),),
        reach="mm",
    ),
    Tool(
        "hollow",
        "Hollow",
        "Turn classes into shells of a thickness",
        runs.hollow_out,
        "Shift-H",
        (
            Parameter(
                "shell",
                "Surface is the shell's",
                "inside",
                choices=("inside", "outside", "middle"),
            ),
            _mm("Thickness", 2.0),
        ),
        reach="mm",
    ),
    Tool(
        "interpolate",
        "Fill between slices",
        "Draw on some slices: those between are filled in by interpolation",
        runs.interpolate,
        "Shift-B",
        flat=False,
    ),
    Tool(
        "grow_scribbles",
        "Grow from strokes",
        "Draw a few strokes per class, and some for background: they spread",
        runs.grow_scribbles,
        "Shift-W",
        (
            Parameter(
                "method",
                "Method",
                "watershed",
                choices=("watershed", "random walker"),
            ),
            Parameter("edges_mm", "Scale of edges", 1.0, 0.2, 10, suffix=" mm"),
        ),
        needs=("image", "scribbles"),
    ),
    Tool(
        "fix_scribbles",
        "Fix by strokes",
        "Stroke what is wrong with the class that is right: what is like it follows",
        runs.fix_scribbles,
        "Shift-Z",
        (
            Parameter("reach", "Reach of a stroke", 8.0, 1, 200, suffix=" pixels"),
            Parameter("everywhere", "Learn for the whole slice", True),
        ),
        needs=("image", "scribbles"),
    ),
    Tool(
        "logical",
        "Combine",
        "Change the chosen class by another layer, or by another class of this mask",
        runs.combine_with,
        "Shift-C",
        (
            Parameter(
                "operation",
                "Operation",
                "add",
                choices=("copy", "add", "subtract", "intersect"),
            ),
            Parameter(
                "source", "With", runs.LAYER, choices=(runs.LAYER, runs.OWN_CLASS)
            ),
            Parameter("label", "Its label", 0, 0, 65535, label="any"),
            Parameter("overwrite", "May take voxels of other classes", False),
        ),
        needs=("layer",),
        needs_if={"layer": ("source", runs.LAYER)},
        target=True,
    ),
    Tool(
        "invert",
        "Invert",
        "Give background to the chosen class, and its voxels to background",
        runs.invert,
        "Shift-N",
        target=True,
    ),
    Tool(
        "merge",
        "Merge into",
        "Turn the selected classes into another one",
        runs.merge,
        "Shift-M",
        (Parameter("into", "Label", 1, 1, 65535, label=""),),
    ),
    Tool(
        "delete",
        "Delete label",
        "Turn the selected classes into background",
        runs.delete,
        "Shift-X",
    ),
    Tool(
        "swap",
        "Swap",
        "Exchange the chosen class with another one",
        runs.swap,
        "Shift-E",
        (Parameter("other", "With label", 2, 1, 65535, label=""),),
        target=True,
    ),
    Tool(
        "split_line",
        "Split by line",
        "Draw a line over an object: the smaller part gets a new label",
        runs.split_by_drawn_line,
        "Shift-Y",
        needs=("line",),
    ),
    Tool(
        "split_waists",
        "Split at waists",
        "Split touching objects of the chosen class where they are narrow",
        runs.split_waists,
        "Shift-U",
        (Parameter("smallest_mm", "Depth of a waist", 1.0, 0.1, 20, suffix=" mm"),),
        target=True,
    ),
    Tool(
        "cut",
        "Cut with polygon",
        "Draw a polygon: what lies inside or outside is removed, through the scope",
        runs.cut_with_polygon,
        "Shift-O",
        (Parameter("side", "Remove", "inside", choices=("inside", "outside")),),
        needs=("polygon",),
    ),
    Tool(
        "take_result",
        "Take over result",
        "Bring a new result of the network into this mask; your edits are protected",
        runs.take_result,
        "Shift-T",
        (
            Parameter(
                "policy",
                "Policy",
                "keep mine",
                choices=("keep mine", "fill only empty", "overwrite"),
            ),
        ),
        needs=("layer",),
    ),
)
"""All tools, in the order in which they are shown."""


def find_tool(name: str) -> Tool:
    """Return a tool by its name."""
    return next(tool for tool in TOOLS if tool.name == name)
