"""What a program in the sandbox can see and change: nothing that is not its own."""

import os
import subprocess
import sys

import pytest

from agentlab import sandbox

locked_in = pytest.mark.skipif(bool(sandbox.missing()), reason=sandbox.missing() or "sandbox")


def inside(code):
    done = subprocess.run(sandbox.wrap([sys.executable, "-c", code]), capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


@locked_in
def test_files_outside_can_neither_be_read_nor_changed(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    assert "FileNotFoundError" in inside(f"open({str(tmp_path / 'mine.txt')!r})")
    assert "False" in inside(f"import os; print(os.path.exists({str(tmp_path)!r}))")
    for path in (sandbox.__file__, "/etc/new", "/new", os.path.join(sys.prefix, "new")):
        assert "OSError: [Errno 30] Read-only file system" in inside(f"open({path!r}, 'a')")


@locked_in
def test_the_kernels_settings_stay_as_they_are():
    """Root in a sandbox keeps root's right to write there, so the place itself is read-only."""
    path = "/proc/sys/vm/swappiness"
    with open(path) as file:
        assert "Read-only file system" in inside(f"open({path!r}, 'w').write({file.read()!r})")


@locked_in
def test_there_is_no_network_and_no_other_process(monkeypatch):
    monkeypatch.setenv("SECRET", "of the teacher")
    code = "import os, socket; print(len([p for p in os.listdir('/proc') if p.isdigit()]), socket.if_nameindex(), 'SECRET' in os.environ)"
    assert inside(code).strip() == "2 [(1, 'lo')] False"


@locked_in
def test_tmp_is_writable_small_and_gone_afterwards():
    code = "import shutil\nopen('/tmp/probe', 'w').write('x')\nprint(shutil.disk_usage('/tmp').total >> 20, shutil.disk_usage('/dev/shm').total >> 20)"
    assert inside(code).strip() == f"{sandbox.TMP_MB} {sandbox.SHARED_MB}"
    assert "False" in inside("import os; print(os.path.exists('/tmp/probe'))")


@locked_in
def test_the_course_runs_inside():
    assert inside("from agentlab.exercises import all_exercises; print('start.order_number' in all_exercises())") == "True\n"  # fmt: skip


def test_a_machine_without_bubblewrap_is_told_what_is_missing(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assert "apt install bubblewrap" in sandbox.missing()
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    assert "for Linux only (here: darwin)" in sandbox.missing()
    assert "memory" not in sandbox.unprotected_risks()


def test_a_bubblewrap_that_may_not_is_quoted(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "bwrap: No permissions to create new namespace\n")
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: "/usr/bin/bwrap")
    monkeypatch.setattr(sandbox.subprocess, "run", lambda *a, **k: failed)
    monkeypatch.setattr(sandbox.sys, "platform", "linux")
    assert sandbox.missing().endswith("bwrap: No permissions to create new namespace")
