"""Every notebook runs twice: as the learner gets it, and with the solutions in place of the stubs."""

import os

import pytest

from agentlab import course, notebooks
from agentlab.device import usable_cores
from agentlab.lesson import bands

NAMES = notebooks.lesson_names()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("solutions", [False, True], ids=["learner", "solutions"])
def test_the_notebook_runs(name, solutions, monkeypatch):
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    monkeypatch.setenv(
        "OMP_NUM_THREADS", str(max(1, usable_cores() // workers))
    )  # more threads than cores wait on each other
    notebook = notebooks.read_notebook(notebooks.notebook_folder() / f"{name}.ipynb")
    run = course.run_notebook(notebook, name, "quick", solutions=solutions)
    print(f"{name}: {run.seconds:.0f} s, {run.peak_mb:.0f} MB, {run.figures}")
    assert run.ok, run.error
    assert set(run.exercises) == set(notebooks.exercise_ids(notebook))
    assert set(run.exercises.values()) == {"PASSED" if solutions else "NOT STARTED"}
    assert set(run.figures) == set(bands()[name] or {}), "every band has its figure, and every figure its band"
    assert run.peak_mb < 4096
