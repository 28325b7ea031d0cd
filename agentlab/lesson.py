"""A lesson's beginning and its figures: profile, seeds, and each headline figure against its band.

``begin("01_prepare_data", PROFILE)`` is the first line of a notebook after its parameters. ``record(name, value)``
stores a headline figure in the notebook's output, where `agentlab course` and the tests read it.
The bands stand in one file, ``bands.yml``, per lesson, figure and profile.
"""

from __future__ import annotations

import json
import math
import os
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from agentlab.errors import AgentLabError, UnknownName
from agentlab.show import emit

PROFILES = ("quick", "cpu", "gpu")
FIGURE_MIME = "application/vnd.agentlab.figure+json"


@dataclass(frozen=True)
class Lesson:
    """A running lesson: its notebook's name, its profile (quick, cpu or gpu) and its seed."""

    name: str
    profile: str
    seed: int


_current: Lesson | None = None


def begin(name: str, profile: str = "auto", seed: int = 0) -> Lesson:
    """Start a lesson: choose the profile, set the seeds, keep the notebook quiet and offline by default.

    ``auto`` is ``gpu`` where torch sees one, else ``cpu``. Raises `UnknownName` for another lesson or profile.
    """
    global _current
    if name not in bands():
        raise UnknownName("lesson", name, bands())
    if profile not in (*PROFILES, "auto"):
        raise UnknownName("profile", profile, (*PROFILES, "auto"))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if profile == "auto":
        from agentlab.device import best_device

        profile = "gpu" if best_device().type == "cuda" else "cpu"
    os.environ["AGENTLAB_UNDERSTANDING"] = "quick" if profile == "quick" else "full"  # seconds or minutes of training
    set_seeds(seed)
    _current = Lesson(name, profile, seed)
    return _current


def set_seeds(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@lru_cache(maxsize=1)
def bands() -> dict[str, dict[str, dict[str, list[float]]]]:
    """``{lesson: {figure: {profile: [low, high]}}}`` from ``bands.yml``."""
    import yaml

    return yaml.safe_load((Path(__file__).with_name("bands.yml")).read_text(encoding="utf-8"))


def band(lesson: str, figure: str, profile: str) -> tuple[float, float]:
    """The band of a figure; raises `UnknownName` for a figure or profile that has none."""
    figures = bands().get(lesson) or {}
    if figure not in figures:
        raise UnknownName(f"figure of lesson {lesson}", figure, figures)
    if profile not in figures[figure]:
        raise UnknownName(f"profile of figure {figure}", profile, figures[figure])
    low, high = figures[figure][profile]
    return float(low), float(high)


def record(figure: str, value: float) -> None:
    """Store a headline figure of this lesson and show it beside the band it should lie in."""
    if _current is None:
        raise AgentLabError("record() needs a lesson: run the cell with begin(...) at the top of the notebook first.")
    low, high = band(_current.name, figure, _current.profile)
    value = float(value)
    if not math.isfinite(value):
        raise AgentLabError(f"Figure {figure!r} is {value}, which is not a number that can be recorded.")
    inside = low <= value <= high
    verdict = f"inside its band {low:g} to {high:g}" if inside else f"OUTSIDE its band {low:g} to {high:g}"
    text = f"Recorded {figure} = {value:.4g}, {verdict}."
    data = {"name": figure, "value": value, "low": low, "high": high}
    emit({FIGURE_MIME: data, "text/markdown": text, "text/plain": text})


def benchmark(name: str) -> dict:
    """What ``python -m benchmarks.NAME`` measured, from ``benchmarks/results`` of the checkout or the installed copy.

    Raises `UnknownName` where there is no such result.
    """
    here = Path(__file__).resolve().parent
    folders = [f for f in (here.parent / "benchmarks" / "results", here / "_results") if f.is_dir()]
    files = {path.stem: path for folder in reversed(folders) for path in folder.glob("*.json")}
    if name not in files:
        raise UnknownName("benchmark", name, files)
    return json.loads(files[name].read_text(encoding="utf-8"))
