"""A viewer, an engine and models that are quick and do as they are told."""

from __future__ import annotations

import datetime
import itertools
import os
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

# Before napari is imported: the settings of whoever runs the tests stay out.
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

from napari_medurwkv.checkpoints import (
    CatalogueEntry,
    ClassInfo,
    DataSource,
    InputChannel,
    InstanceRecipe,
    IntensityRecipe,
    Metric,
    ModelCard,
)
from napari_medurwkv.errors import CancelledError, DeviceError, ImageError
from napari_medurwkv.inference import Progress, Segmentation
from napari_medurwkv.inference.client import DeviceReport
from napari_medurwkv.inference.engine_protocol import EngineBusyError
from napari_medurwkv.inference.forecast import Foresight
from napari_medurwkv.inference.further import Further
from napari_medurwkv.inference.probabilities import (
    Probabilities,
    Rule,
    new_cache_path,
    write_probabilities,
)
from napari_medurwkv.inference.result import SliceFeatures
from napari_medurwkv.inference.uncertainty import Uncertainty
from napari_medurwkv.provenance import (
    InputRecord,
    ModelRecord,
    RunRecord,
    SoftwareRecord,
    UncertaintyRecord,
)
from napari_medurwkv.widgets.model_picker import ModelList


def make_card(name="brain", dimensions=3, **changes):
    classes = (
        ClassInfo(value=0, name="background", color="#000000"),
        ClassInfo(value=1, name="grey matter", color="#3b82f6"),
        ClassInfo(value=2, name="white matter", color="#f59e0b"),
    )
    fields = {
        "name": name,
        "title": f"{name.capitalize()} model",
        "version": "1",
        "description": f"Finds the parts of a {name}.",
        "limitations": "Anything else.",
        "architecture": "med_urwkv_nano",
        "config": {},
        "dimensions": dimensions,
        "modality": ("MR",),
        "channels": (InputChannel(name="grey"),),
        "intensity": IntensityRecipe(scale="none"),
        "slice_axis": 0 if dimensions == 3 else None,
        "patch_size": (32, 32),
        "activation": "softmax",
        "classes": classes,
        "output_values": (0, 1, 2),
        "training_data": (DataSource(name="toys", licence="CC0-1.0"),),
        "metrics": (Metric(name="Dice", value=0.912, data="toys"),),
        "authors": ("Somebody",),
        "licence": "CC0-1.0",
        "date": datetime.date(2026, 11, 1),
    }
    return ModelCard(**(fields | changes))


def make_entry(folder, card):
    path = Path(folder) / f"{card.name}.safetensors"
    path.write_bytes(b"weights of " + card.name.encode())
    return CatalogueEntry(card.name, path, card, 4_200_000, True)


FORESIGHT = Foresight(9, 12.0, 500_000_000, 0, "Toy CPU")


@dataclass
class FakeEngine:
    """Fills the mask in `windows` steps along the first axis; waits where told to.

    With `gated`, each step takes one permit of `gate`.
    """

    windows: int = 4
    gated: bool = False
    pause: float = 0.0
    error: Exception | None = None
    error_after: int = 0
    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    calls: list = field(default_factory=list)
    answers: list = field(default_factory=list)
    questions: list = field(default_factory=list)
    foresight: Foresight | None = FORESIGHT
    busy: int = 0
    closed: bool = False
    idle: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self._cancel = None
        self.idle.set()

    def device_report(self, device="auto"):
        if device == "cuda":
            raise DeviceError("CUDA was asked for, but there is none; choose cpu.")
        words = "Toy CPU, 2 threads"
        return DeviceReport("cpu", words, device, "2.13", "portable", "it is a toy")

    def foresee(self, geometry, dtype, model, **options):
        self.questions.append((geometry.display_shape, dtype, model, options))
        if self.busy:
            self.busy -= 1
            raise EngineBusyError("The engine is busy.")
        if self.foresight is None:
            raise ImageError("There is no such image.")
        return self.foresight

    def features(self, picture, model, *, spacing=None, rgb=False, device="auto"):
        self.questions.append((picture.shape, model, spacing, rgb))
        if self.error is not None:
            raise self.error
        grey = picture.mean(-1) if rgb else picture
        maps = np.stack([grey, grey > grey.mean()]).astype(np.float16)
        return SliceFeatures(maps, np.stack([-maps[1], maps[1]]), (0, 1))

    def cancel(self, *, keep_partial=True):
        if not self.idle.is_set() and self._cancel is None:
            self._cancel = keep_partial
            self.gate.release()

    def close(self):
        self.closed = True
        self.cancel(keep_partial=False)

    def let(self, steps):
        for _ in range(steps):
            self.gate.release()

    def segment(
        self, image, model, *, out, on_progress=None, on_region=None, **options
    ):
        self.idle.clear()
        self._cancel = None
        self.calls.append((image, model, options))
        try:
            return self._segment(image, out, on_progress, on_region, options)
        finally:
            self.idle.set()

    def _segment(self, image, out, on_progress, on_region, options):
        started = time.monotonic()
        edges = np.linspace(0, out.shape[0], self.windows + 1).astype(int)
        done = 0
        answer = self.answer(image.array[:], options["instances"])
        self.answers.append(answer)
        for first, end in itertools.pairwise(edges):
            if self.gated:
                self.gate.acquire()
            time.sleep(self.pause)
            if self._cancel is not None:
                break
            if self.error is not None and done == self.error_after:
                raise self.error
            out[first:end] = answer[first:end]
            done += 1
            region = (slice(first, end), *(slice(0, n) for n in out.shape[1:]))
            seconds = time.monotonic() - started
            on_region(region)
            on_progress(Progress(done, self.windows, region, seconds))
        if self._cancel is False:
            raise CancelledError("The segmentation was cancelled.")
        card = make_card()
        fraction = done / self.windows
        further = options.get("further") or Further()
        complete = done == self.windows
        record = make_record(image, card, fraction)
        kept = doubts = None
        if further.keep_probabilities and complete:
            kept = self.keep(image.array, options["instances"], record.run_id)
        if further.uncertainty:
            doubts, record = tell_doubts(image.array, further.tta, record)
        return Segmentation(
            labels=out,
            geometry=image.geometry,
            classes=card.classes,
            instances=options["instances"],
            complete=complete,
            fraction=fraction,
            record=record,
            probabilities=kept,
            uncertainty=doubts,
        )

    def keep(self, array, instances, run_id):
        """Probabilities that say what `answer` says."""
        logits = np.stack([0 * array, 4 * array, 8 * array - 4])
        chances = np.exp(logits - logits.max(0))
        steps = np.rint(chances / chances.sum(0) * 255).astype(np.uint8)
        best = self.answer(array)
        for value in range(3):
            tied = (steps[value] == steps.max(0)) & (best != value)
            steps[value][tied] -= 1
        if instances:
            steps = np.concatenate([steps, steps[1:2]])
        rule = Rule(
            run_id,
            array.shape,
            tuple((0, n) for n in array.shape),
            (0, 1, 2),
            "softmax",
            0.5,
            0 if array.ndim == 3 else None,
            array.ndim == 3,
            InstanceRecipe(inside_channel=1, boundary_channel=2).model_dump()
            if instances
            else None,
        )
        path = new_cache_path(Path(tempfile.mkdtemp()))
        with write_probabilities(path, rule) as kept:
            kept[...] = steps
        return Probabilities(path, run_id, temporary=True)

    @staticmethod
    def answer(array, instances=False):
        """The toy model: 1 where the image is above 0, 2 where above 1."""
        grey = array[..., 0] if array.ndim > 2 and array.shape[-1] == 3 else array
        labels = (grey > 0).astype(np.uint8) + (grey > 1)
        if instances:
            return np.where(labels, np.arange(1, labels.shape[-1] + 1), 0)
        return labels


def tell_doubts(array, tta, record):
    """As unsure as the image is close to 0; mirror images agree."""
    entropy = np.rint(255 * np.exp(-np.abs(array))).astype(np.uint8)
    doubts = Uncertainty(entropy, 0 * entropy if tta else None)
    slices = [
        tuple((entropy / 255).sum(tuple({0, 1, 2} - {axis})).tolist())
        for axis in range(array.ndim)
        if array.ndim == 3
    ]
    summary = UncertaintyRecord(mean=float((entropy / 255).mean()), slices=slices)
    return doubts, record.model_copy(update={"uncertainty": summary})


def make_record(image, card, fraction):
    now = datetime.datetime.now(datetime.UTC)
    return RunRecord(
        run_id=uuid.uuid4().hex,
        software=SoftwareRecord.here(),
        model=ModelRecord(
            name=card.name,
            version=card.version,
            file_name="toy.safetensors",
            sha256="0" * 64,
            architecture=card.architecture,
        ),
        input=InputRecord.of(image),
        parameters={"overlap": 0.5},
        device_path=("Toy CPU",),
        started=now,
        finished=now,
        seconds=0.1,
        complete=fraction == 1,
        fraction=fraction,
    )


@pytest.fixture(scope="session", autouse=True)
def plain_colour_lookup():
    """Spare the compiling of napari's colour lookup: the masks here are small."""
    from napari.utils.colormap_backend import ColormapBackend, set_backend

    set_backend(ColormapBackend.pure_python)


@pytest.fixture(autouse=True)
def own_journals(tmp_path_factory, monkeypatch):
    """Keep the journals of whoever runs the tests out, and those of the tests in."""
    from napari_medurwkv.correction import journal

    folder = tmp_path_factory.mktemp("journals")
    monkeypatch.setattr(journal, "journal_folder", lambda: folder)


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def models(tmp_path):
    recipe = InstanceRecipe(inside_channel=1, boundary_channel=2)
    cards = (
        make_card("brain", 3),
        make_card("cells", 2, instances=recipe),
        make_card(
            "stain",
            2,
            channels=tuple(InputChannel(name=c) for c in ("red", "green", "blue")),
        ),
    )
    entries = tuple(make_entry(tmp_path, card) for card in cards)
    return ModelList(entries, {2: "cells", 3: "brain"})


@pytest.fixture
def viewer():
    """A viewer without a window: quick, and all that most of the panels need."""
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def make_panel(viewer, engine, models, qtbot, monkeypatch):
    """Open Segment panels; they are shut down afterwards."""
    from napari_medurwkv.widgets import segment_panel

    # What it prepares is tested for itself, and takes seconds.
    monkeypatch.setattr(segment_panel, "warm_up", lambda: None)
    panels = []

    def make(viewer=viewer, engine=engine):
        panel = segment_panel.SegmentPanel(viewer, engine, lambda: models)
        panels.append(panel)
        qtbot.waitUntil(lambda: not panel.models.listing)
        return panel

    yield make
    for panel in panels:
        panel.shut_down()
        panel.deleteLater()
    engine.gated = False
    engine.let(100)
    assert engine.idle.wait(5)


@pytest.fixture
def panel(make_panel):
    return make_panel()


@pytest.fixture
def segment(qtbot):
    """Press the button when it can be pressed, and wait for the end of the run."""

    def press(panel):
        qtbot.waitUntil(lambda: panel.ready, timeout=5000)
        panel.start()
        qtbot.waitUntil(lambda: not panel.running, timeout=10000)

    return press


@pytest.fixture
def volume():
    """A (8, 20, 24) image whose toy mask is different along every axis."""
    z, y, x = np.ogrid[:8, :20, :24]
    return ((x + 2 * y + 3 * z) / 40 - 0.8).astype(np.float32)


@pytest.fixture
def masks(viewer):
    """Give the labels layers of the viewer, the lowest first."""
    from napari.layers import Labels

    return lambda: [layer for layer in viewer.layers if isinstance(layer, Labels)]
