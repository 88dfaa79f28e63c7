"""The options of a run."""

from __future__ import annotations

from napari_medurwkv.widgets.run_options import RunOptions
from napari_medurwkv.widgets.settings import Preferences


def test_options_offer_what_the_model_can(qtbot, models):
    options = RunOptions(Preferences(device="cpu", overlap=0.75))
    qtbot.addWidget(options)
    assert (options.device, options.overlap) == ("cpu", 0.75)
    options.show_card(models.entries[0].card)
    options.set_instances(True)
    assert not options.instances
    options.show_card(models.entries[1].card)
    assert options.instances
