import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentlab import __version__, cli, course, progress
from agentlab.exercises import all_exercises


def call(*arguments):
    return CliRunner().invoke(cli.app, arguments)


def test_help_names_the_commands():
    output = call("--help").output
    for command in ("chat", "course", "lab", "doctor", "evaluate", "mcp", "progress"):
        assert command in output


def test_version():
    assert call("--version").output == f"agentlab {__version__}\n"


@pytest.mark.parametrize("arguments", [["course", "99"], ["course", "--profile", "slow"], ["course", "00_strat_here"]])
def test_a_wrong_name_is_one_sentence_without_traceback(arguments, tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "agentlab.cli", *arguments], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert result.returncode == 1
    assert result.stderr.startswith("Unknown ")
    assert "Traceback" not in result.stderr


def test_the_course_command_reports(monkeypatch, tmp_path):
    good = course.Run(
        "00_start_here", True, 3.0, 500.0, {"a.b": "NOT STARTED"}, {"acc": {"value": 0.5, "low": 0.1, "high": 0.9}}
    )
    bad = course.Run("01_prepare_data", False, 1.0, error="cell 4: ValueError: no [--> 3 f(x)]")
    monkeypatch.setattr(course, "run_course", lambda *a: course.Report("quick", "cpu", 4.0, [good, bad]))
    result = call("course", "--profile", "quick", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "cell 4: ValueError: no [--> 3 f(x)]" in result.output
    assert "1 of 2 lessons green in 4 seconds" in result.output
    monkeypatch.setattr(course, "run_course", lambda *a: course.Report("quick", "cpu", 4.0, [good]))
    assert call("course", "00").exit_code == 0


def test_progress_lists_every_exercise():
    progress.note_check("start.order_number", "PASSED")
    output = call("progress").output
    assert f"1 of {len(all_exercises())} exercises passed" in output
    assert json.loads(call("progress", "--json").output)["start.order_number"]["state"] == "PASSED"


def test_a_broken_progress_file_is_one_sentence(private_progress):
    private_progress.write_text("{")
    result = subprocess.run(
        [sys.executable, "-m", "agentlab.cli", "progress"], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 1
    assert "malformed JSON" in result.stderr
    assert "Traceback" not in result.stderr
    assert private_progress.read_text() == "{"


def test_the_data_check_names_the_floor(capsys):
    result = call("doctor", "--data")
    assert result.exit_code == 0
    assert "no mistakes" in result.output
    assert "Floor on test" in result.output


def test_the_data_check_fails_on_a_mistake(monkeypatch, tmp_path):
    (tmp_path / "support").mkdir()
    monkeypatch.setenv("AGENTLAB_DATA", str(tmp_path))
    result = call("doctor", "--data")
    assert result.exit_code == 1
    assert "labels.yml" in result.output
    assert json.loads(call("doctor", "--data", "--json").output)[0]["file"].endswith("labels.yml")


def test_lab_opens_the_first_lesson_and_asks_nobody(monkeypatch):
    """Further options go on to JupyterLab; its question about news, update checks and extension list are off."""
    seen = {}
    monkeypatch.setattr(cli.subprocess, "call", lambda command, cwd, env: seen.update(c=command, d=cwd, e=env) or 3)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/mine")
    assert call("lab", "--port", "8890").exit_code == 3
    assert seen["c"][3] == "00_start_here.ipynb"
    assert (seen["d"] / seen["c"][3]).is_file()
    assert seen["c"][-2:] == ["--port", "8890"]
    ours, theirs = seen["e"]["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert theirs == "/mine"
    disabled = json.loads((Path(ours) / "labconfig" / "page_config.json").read_text())["disabledExtensions"]
    listed = subprocess.run(
        [sys.executable, "-m", "jupyter", "labextension", "list"], capture_output=True, text=True,
        env={**os.environ, "JUPYTER_CONFIG_PATH": ours}, timeout=60,
    )  # fmt: skip
    assert all(name in listed.stderr.split("Disabled extensions")[1] for name in disabled), listed.stderr
