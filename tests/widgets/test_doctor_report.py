"""The doctor's report shows up, whatever the doctor says."""

from __future__ import annotations

from napari_medurwkv.widgets import doctor_report


def test_report_fills_in(qtbot, monkeypatch):
    monkeypatch.setattr(doctor_report, "run_doctor", lambda: "torch 2.13\nall well")
    dialog = doctor_report.DoctorDialog()
    qtbot.addWidget(dialog)
    assert dialog.report.toPlainText() == "checking…"
    qtbot.waitUntil(lambda: "all well" in dialog.report.toPlainText())


def test_doctor_that_fails_is_reported(qtbot, monkeypatch):
    def fail():
        raise TimeoutError("120 s")

    monkeypatch.setattr(doctor_report, "run_doctor", fail)
    dialog = doctor_report.DoctorDialog()
    qtbot.addWidget(dialog)
    qtbot.waitUntil(lambda: "120 s" in dialog.report.toPlainText())
