import json
import subprocess
import sys

import pytest

from agentlab import progress
from agentlab.errors import DataError


def test_no_file_yet():
    assert progress.read_progress() == {}


def test_attempts_and_states_are_noted():
    for state in ("NOT STARTED", "WRONG", "ERROR", "PASSED", "WRONG"):
        progress.note_check("a.b", state)
    entry = progress.read_progress()["a.b"]
    assert (entry["state"], entry["attempts"]) == ("PASSED", 4)
    assert entry["first_passed"]


def test_help_is_noted():
    progress.note_help("a.b", "hints", 2)
    progress.note_help("a.b", "hints", 1)
    progress.note_help("a.b", "solution_seen", True)
    entry = progress.read_progress()["a.b"]
    assert (entry["hints"], entry["solution_seen"], entry["state"]) == (2, True, "NOT STARTED")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"{", "malformed JSON"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "expected format 1"),
        (b'{"format": 9, "exercises": {}}', "expected format 1"),
        (b'{"format": 1, "exercises": {"a.b": {"state": "DONE"}}}', "'a.b' has no known state"),
    ],
)
def test_a_broken_file_is_named_and_set_aside_never_overwritten(private_progress, capsys, content, what):
    private_progress.write_bytes(content)
    with pytest.raises(DataError, match=what):
        progress.read_progress()
    progress.note_check("a.b", "PASSED")
    progress.note_check("a.b", "PASSED")
    aside = private_progress.with_name("progress.broken-1.json")
    assert aside.read_bytes() == content
    assert "set aside as progress.broken-1.json" in capsys.readouterr().err
    assert progress.read_progress()["a.b"]["state"] == "PASSED"
    private_progress.write_bytes(content)
    progress.note_check("a.b", "WRONG")
    assert private_progress.with_name("progress.broken-2.json").exists()


def test_two_processes_lose_nothing(private_progress):
    code = "import sys\nfrom agentlab import progress\nfor n in range(40): progress.note_check(f'{sys.argv[1]}.{n}', 'WRONG')"
    running = [subprocess.Popen([sys.executable, "-c", code, name]) for name in ("a", "b", "c")]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(progress.read_progress()) == 120
    assert json.loads(private_progress.read_text())["format"] == 1


def test_a_file_that_cannot_be_written_is_not_in_the_way(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGENTLAB_PROGRESS", str(tmp_path / "file" / "progress.json"))
    with progress.never_in_the_way():
        progress.note_check("a.b", "PASSED")
    assert "Set AGENTLAB_PROGRESS to a file you may write" in capsys.readouterr().err
