"""Make the pictures of docs/images: the real plugin in a real napari window.

Run it where the package and napari are installed, under a virtual screen:

    xvfb-run -a -s "-screen 0 1280x800x24" python docs/screenshots.py

It opens the bundled samples, presses the real buttons and waits for the real engine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLUGIN = "napari-medurwkv"
SIZE = (1280, 800)
CAPTION_HEIGHT = 40


class Studio:
    """A napari window, a clock and a camera."""

    def __init__(self, folder: Path) -> None:
        import napari

        self.folder = folder
        self.viewer = napari.Viewer(show_welcome_screen=False)
        self.window = self.viewer.window
        _, self.widget = self.window.add_plugin_dock_widget(PLUGIN, "Med-URWKV")
        self.main = self.widget.window()
        self.main.resize(*SIZE)
        self.wait(1)

    def wait(self, seconds: float) -> None:
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)

    def until(self, condition, seconds: float = 1200) -> None:
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(condition)
            QApplication.processEvents()
            time.sleep(0.005)

    def shoot(self, name: str, caption: str) -> None:
        """Photograph the window and write the caption under it."""
        from qtpy.QtGui import QColor, QFont, QPainter, QPixmap

        self.wait(0.6)
        picture = self.main.screen().grabWindow(self.main.winId())
        framed = QPixmap(picture.width(), picture.height() + CAPTION_HEIGHT)
        framed.fill(QColor("white"))
        painter = QPainter(framed)
        painter.drawPixmap(0, 0, picture)
        font = QFont(painter.font())
        font.setPixelSize(17)
        painter.setFont(font)
        painter.setPen(QColor("#222222"))
        painter.drawText(12, picture.height() + 26, caption)
        painter.end()
        path = self.folder / f"{name}.png"
        framed.save(str(path))
        print(path.name)

    def open_sample(self, name: str) -> None:
        self.viewer.layers.clear()
        self.viewer.open_sample(PLUGIN, name)
        self.until(lambda: self.widget.segment.ready)


def photograph(folder: Path) -> None:
    studio = Studio(folder)
    viewer, panel = studio.viewer, studio.widget.segment
    studio.until(lambda: "checking" not in panel.device.text)

    studio.open_sample("brain")
    studio.shoot(
        "segment-idle",
        "An image, a model with its card, one button. The badge says what is known of "
        "the geometry.",
    )

    panel.options.keep.setChecked(True)
    panel.options.doubt.setChecked(True)
    panel.button.click()
    layer = viewer.layers[-1]
    middle = viewer.dims.nsteps[0] // 2
    studio.until(lambda: panel.button.fraction >= 0.5 or not panel.running)
    # Slices are segmented in order: look at one that is done.
    viewer.dims.set_current_step(0, middle - 4)
    studio.shoot(
        "segment-running",
        "While it runs the mask fills in, and the button cancels.",
    )
    studio.until(lambda: not panel.running)
    doubt = viewer.layers[-2]
    doubt.visible = False
    layer.opacity = 0.6
    viewer.dims.set_current_step(0, middle)
    studio.shoot(
        "segment-finished",
        "The finished mask: classes by name and colour, with their volumes.",
    )

    adjust = panel.adjust
    adjust.foldout.unfold()
    studio.until(lambda: not adjust.adjuster.working)
    weight = adjust.weights[2]
    weight.slider.setValue(weight.slider.value() + 40)
    studio.until(lambda: not adjust.adjuster.working)
    studio.wait(1)
    panel._scroll_down()
    studio.shoot(
        "adjust",
        "Adjust: more weight for white matter, without running the model again.",
    )
    adjust.reset.click()
    studio.until(lambda: not adjust.adjuster.working)

    layer.visible, doubt.visible = False, True
    studio.shoot("uncertainty", "Where the model is unsure: the brighter, the more.")
    layer.visible, doubt.visible = True, False

    studio.widget.show_panel(studio.widget.export)
    studio.widget.export.choose(layer)
    studio.until(lambda: studio.widget.export.ready)
    studio.widget.export.formats.choose(["nifti", "seg-nrrd", "stl", "csv"])
    studio.widget.export.target.setText("~/brain_mask")
    studio.shoot(
        "export",
        "Export: the formats that fit, the files that will be written, one button.",
    )

    studio.widget.show_panel(panel)
    studio.open_sample("nuclei")
    panel.options.set_instances(True)
    panel.show_options()
    panel.button.click()
    studio.until(lambda: not panel.running)
    studio.shoot("nuclei-instances", "Nuclei in 2D, told apart and counted.")
    viewer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the docs.")
    parser.add_argument("--output", type=Path, default=HERE / "images")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    # The pictures show a fresh installation, whatever the settings of who makes them.
    os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp()
    photograph(folder)


if __name__ == "__main__":
    main()
