import random

import numpy as np
import pytest
import torch

from agentlab import lesson, notebooks, show
from agentlab.errors import AgentLabError, UnknownName


@pytest.fixture
def some_bands(monkeypatch):
    monkeypatch.setattr(lesson, "bands", lambda: {"00_x": {"accuracy": {"quick": [0.5, 0.9]}}, "01_y": None})
    monkeypatch.setattr(lesson, "_current", None)


def test_begin_sets_profile_and_seeds(some_bands):
    assert lesson.begin("00_x", "quick", 3) == lesson.Lesson("00_x", "quick", 3)
    first = random.random(), np.random.rand(), torch.rand(1).item()
    lesson.begin("00_x", "quick", 3)
    assert first == (random.random(), np.random.rand(), torch.rand(1).item())
    assert lesson.begin("00_x").profile in ("cpu", "gpu")


def test_unknown_lessons_and_profiles_are_named(some_bands):
    with pytest.raises(UnknownName, match="00_x"):
        lesson.begin("00_z")
    with pytest.raises(UnknownName, match="Did you mean 'quick'"):
        lesson.begin("00_x", "quik")


def test_a_figure_is_recorded_with_its_band(some_bands, monkeypatch):
    shown = []
    monkeypatch.setattr(lesson, "emit", shown.append)
    lesson.begin("00_x", "quick")
    lesson.record("accuracy", 0.7)
    lesson.record("accuracy", 0.95)
    assert shown[0][lesson.FIGURE_MIME] == {"name": "accuracy", "value": 0.7, "low": 0.5, "high": 0.9}
    assert "inside its band" in shown[0]["text/plain"]
    assert "OUTSIDE its band" in shown[1]["text/plain"]


def test_what_cannot_be_recorded(some_bands):
    with pytest.raises(AgentLabError, match=r"begin\(\.\.\.\)"):
        lesson.record("accuracy", 1)
    lesson.begin("00_x", "quick")
    with pytest.raises(AgentLabError, match="not a number"):
        lesson.record("accuracy", float("nan"))
    with pytest.raises(UnknownName, match="figure of lesson"):
        lesson.record("acuracy", 1)
    lesson.begin("00_x", "cpu")
    with pytest.raises(UnknownName, match="profile of figure"):
        lesson.record("accuracy", 1)
    lesson.begin("01_y", "cpu")
    with pytest.raises(UnknownName):
        lesson.record("accuracy", 1)


def test_every_lesson_has_its_bands_and_every_band_makes_sense():
    assert sorted(lesson.bands()) == notebooks.source_names() == notebooks.lesson_names()
    for figures in lesson.bands().values():
        for profiles in (figures or {}).values():
            assert sorted(profiles) == sorted(lesson.PROFILES)
            assert all(low < high for low, high in profiles.values())


def test_outside_a_notebook_nothing_is_displayed(capsys):
    show.emit({"text/plain": "x", "text/html": "<b>x</b>"})
    assert capsys.readouterr().out == "x\n"


def test_what_the_benchmarks_measured_can_be_shown_in_a_lesson():
    rows = lesson.benchmark("retrieval")["neighbours"]["rows"]
    assert {"exact", "HNSW"} <= {row["kind"] for row in rows}
    with pytest.raises(UnknownName, match="Did you mean 'retrieval'"):
        lesson.benchmark("retreival")
