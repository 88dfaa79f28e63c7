from __future__ import annotations

import pytest
from torch import nn

from napari_medurwkv.models import create_model
from napari_medurwkv.training.config import BudgetSettings, OptimiserSettings
from napari_medurwkv.training.schedule import Budget, learning_rate, parameter_groups


def test_the_rate_rises_falls_and_ends_at_nothing() -> None:
    settings = OptimiserSettings(lr=1.0, warmup=0.1, power=0.9)
    assert learning_rate(0.0, settings) == pytest.approx(0.01)
    assert learning_rate(0.05, settings) == pytest.approx(0.5)
    assert learning_rate(0.1, settings) == pytest.approx(1.0)
    assert learning_rate(0.55, settings) == pytest.approx(0.5**0.9)
    assert learning_rate(1.0, settings) == 0


def test_whichever_limit_is_nearer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    budget = Budget(BudgetSettings(steps=100, minutes=10), spent=60)
    assert budget.fraction(5) == pytest.approx(0.1)
    assert budget.fraction(30) == pytest.approx(0.3)
    now[0] += 240
    assert budget.seconds == 300
    assert budget.fraction(30) == pytest.approx(0.5)
    now[0] += 10_000
    assert budget.fraction(30) == 1
    assert Budget(BudgetSettings(steps=4)).fraction(0) == 0


def test_vectors_and_the_operators_own_are_not_decayed() -> None:
    network = create_model("med_urwkv_nano")
    decayed, free = parameter_groups(network, 0.05)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    names = {id(p): name for name, p in network.named_parameters()}
    kept = {names[id(p)] for p in free["params"]}  # type: ignore[attr-defined]
    shrunk = {names[id(p)] for p in decayed["params"]}  # type: ignore[attr-defined]
    assert kept | shrunk == set(names.values())
    assert {n for n in names.values() if n.endswith(("decay", "first"))} <= kept
    assert {n for n in names.values() if "spatial_mix" in n} <= kept
    assert "encoder.pos_embed" in kept and "encoder.level_embed" in kept
    linear = {
        f"{name}.weight"
        for name, part in network.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d)
    }
    assert linear <= shrunk
