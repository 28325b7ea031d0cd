"""Grading: the right table, whatever the notebooks do to the machine that grades them."""

import contextlib
import csv
import json
import os
import subprocess
import sys

import nbformat
import psutil
import pytest

from agentlab import grading, notebooks, sandbox
from agentlab.errors import DataError
from agentlab.grading import Limits, grade

locked_in = pytest.mark.skipif(bool(sandbox.missing()), reason=sandbox.missing() or "sandbox")

HEAD = 'from agentlab.exercises import ____, exercise, quiz\n\nex = exercise("start.order_number")'
FUNCTION = "def order_number(text):\n"
RIGHT = FUNCTION + "    return 'W' + ''.join(c for c in text if c.isdigit())"


def hand_in(path, *cells, head=HEAD):
    path.parent.mkdir(parents=True, exist_ok=True)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (head, *cells)])
    nbformat.write(book, path)


def states(grades, exercise="start.order_number"):
    return {learner: grades.state(learner, exercise) for learner in grades.learners}


# Thirty answers to lesson 00's exercise, as a class hands them in; three of them do harm.
CLASS = {
    "ada": ("PASSED", RIGHT),
    "ali": ("PASSED", FUNCTION + '    return "W" + text.strip(" #Ww")'),
    "bea": ("PASSED", "import re\n" + FUNCTION + "    return 'W' + re.search(r'\\d+', text)[0]"),
    "bo": ("PASSED", "order_number = lambda text: 'W' + ''.join(filter(str.isdigit, text))"),
    "carl": ("PASSED", FUNCTION + "    return 'W' + text[-5:] if text[-1] != ' ' else 'W' + text[-6:-1]"),
    "cleo": ("PASSED", "DIGITS = '0123456789'\n" + FUNCTION + "    return 'W' + ''.join(c for c in text if c in DIGITS)"),
    "dan": ("PASSED", FUNCTION + "    out = 'W'\n    for c in text:\n        if c.isdigit():\n            out += c\n    return out"),
    "dina": ("PASSED", "def only_digits(t):\n    return [c for c in t if c.isdigit()]\n\n" + FUNCTION + "    return ''.join(['W', *only_digits(text)])"),
    "eli": ("PASSED", FUNCTION + "    print('thinking about', text)\n    return 'W' + text.upper().replace('#', '').replace('W', '').strip()"),
    "eve": ("PASSED", "%time\n" + RIGHT),
    "fay": ("WRONG", FUNCTION + "    return text"),
    "finn": ("WRONG", FUNCTION + "    return 'W' + text"),
    "gil": ("WRONG", FUNCTION + "    return int(''.join(c for c in text if c.isdigit()))"),
    "gus": ("WRONG", FUNCTION + "    print('W' + text)"),
    "hana": ("WRONG", FUNCTION + "    return text.replace('#', '')"),
    "hugo": ("WRONG", FUNCTION + "    return 'w' + ''.join(c for c in text if c.isdigit())"),
    "ida": ("WRONG", "order_number = 'W20417'"),
    "ivo": ("WRONG", FUNCTION + "    return 'W' + str(int(''.join(c for c in text if c.isdigit())))"),
    "jan": ("ERROR", FUNCTION + "    return 'W' + text[99]"),
    "joy": ("ERROR", FUNCTION + "    return w + text"),
    "kim": ("ERROR", FUNCTION + "    return order_number(text)"),
    "kurt": ("ERROR", "def order_number(text)\n    return text"),
    "lea": ("ERROR", FUNCTION + "return text"),
    "leo": ("NOT STARTED", FUNCTION + "    return ____"),
    "mia": ("NOT STARTED", FUNCTION + "    return 'W' + ____"),
    "moe": ("NOT STARTED", "# later"),
    "nina": ("NOT STARTED", "order_number = ____"),
    "otto": ("TIMEOUT", FUNCTION + "    while True:\n        pass"),
    "pia": ("MEMORY", FUNCTION + "    rows = []\n    while True:\n        rows.append(bytearray(10**7))"),
    "quinn": ("ERROR", "import os, shutil\n" + FUNCTION + "    shutil.rmtree(VICTIM)\n    return 'W'"),
}  # fmt: skip


@locked_in
@pytest.mark.slow
def test_thirty_submissions_three_of_them_hostile_get_the_right_table(tmp_path):
    victim = tmp_path / "home"
    victim.mkdir()
    (victim / "thesis.txt").write_text("three years of work")
    for learner, (_, cell) in CLASS.items():
        hand_in(tmp_path / "in" / learner / "00_start_here.ipynb", cell.replace("VICTIM", repr(str(victim))))
    seen = []
    grades = grade(tmp_path / "in", Limits(seconds=8), jobs=2, on_done=seen.append)
    assert states(grades) == {learner: state for learner, (state, _) in CLASS.items()}
    assert len(seen) == 30
    assert grades.skipped == []
    assert (victim / "thesis.txt").read_text() == "three years of work"
    messages = {learner: message for learner, _, _, message in grades.remarks()}
    assert "FileNotFoundError" in messages["quinn"], "the folder should not even be visible"
    assert messages["otto"] == "Not done within 8 seconds: a loop without an end?"
    assert "w + text" in messages["joy"]
    grading.write_reports(grades, tmp_path / "out")
    with open(tmp_path / "out" / "grades.csv", encoding="utf-8-sig", newline="") as file:
        rows = {row["learner"]: row for row in csv.DictReader(file)}
    assert {learner: row["start.order_number"] for learner, row in rows.items()} == states(grades)
    assert rows["ada"]["passed"] == "1 of 1"
    page = (tmp_path / "out" / "grades.html").read_text(encoding="utf-8")
    assert "30 learners, 1 exercises" in page
    assert "✘ WRONG" in page


@locked_in
@pytest.mark.slow
def test_every_lesson_can_be_graded_solved_and_untouched(tmp_path):
    """What an exercise needs of its notebook is found for all of them: solutions pass, stubs are not started."""
    for lesson in notebooks.lesson_names():
        source = notebooks.read_source(notebooks.notebook_folder() / "src" / f"{lesson}.py")
        for who, book in (("solved", notebooks.with_solutions(source)), ("untouched", source)):
            (tmp_path / who).mkdir(exist_ok=True)
            nbformat.write(book, tmp_path / who / f"{lesson}.ipynb")
    grades = grade(tmp_path, jobs=2)
    assert grades.skipped == []
    assert len(grades.exercises) >= 50
    wanted = {"solved": "PASSED", "untouched": "NOT STARTED"}
    odd = {(who, id): grades.learners[who][id] for who in wanted for id in grades.exercises if grades.state(who, id) != wanted[who]}  # fmt: skip
    assert odd == {}


def left_behind():
    """Processes of submissions that still run, but for those of other test workers beside this one."""
    me, found = psutil.Process(), []
    others = {p.pid for p in me.parent().children()} - {me.pid}
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "agentlab.submission" in (process.info["cmdline"] or []) and not others & {
                p.pid for p in process.parents()
            }:
                found.append(process)
    return found


SECOND = 'ex = exercise("prepare.pad_batch")\n\ndef pad_batch(sequences, pad):\n    return ____'
HARM = {
    "ends its process": ("import os\n" + FUNCTION + "    os._exit(0)", "ERROR", "ended before the check"),
    "ends the grader": (
        "import os, signal\n" + FUNCTION + "    os.kill(os.getppid(), signal.SIGKILL)\n    import time\n    time.sleep(5)",
        "ERROR", "ended the process that graded it",
    ),
    "crashes": ("import os\n" + FUNCTION + "    os.abort()", "ERROR", "ended by SIGABRT"),
    "starts many": (
        "import os, time\n" + FUNCTION + "    for _ in range(80):\n        if os.fork() == 0:\n            time.sleep(60)\n    time.sleep(30)",
        "ERROR", "More than 64 processes",
    ),
    "shares out its memory": (
        "import os, time\n" + FUNCTION + "    for _ in range(12):\n        if os.fork() == 0:\n            kept = bytearray(250 << 20)\n"
        "            time.sleep(60)\n    time.sleep(30)",
        "MEMORY", "More than 300 MB",
    ),
    "fills the disk": (
        FUNCTION + "    with open('/tmp/big', 'wb') as f:\n        while True:\n            f.write(bytes(10**6))",
        "ERROR", "File too large",
    ),
    "leaves a process behind": (
        "import os, time\n" + FUNCTION + "    if os.fork() == 0:\n        os.setsid()\n        time.sleep(600)\n    return 'W'",
        "WRONG", "",
    ),
    "calls home": (
        "import socket\n" + FUNCTION + "    return socket.create_connection(('198.51.100.7', 80), 3)", "ERROR", "NetworkBlocked",
    ),
    "floods": (
        "import os\n" + FUNCTION + "    for pid in (2, os.getppid()):\n        with open(f'/proc/{pid}/fd/3', 'wb') as out:\n"
        "            while True:\n                out.write(b'x' * 10**5)",
        "ERROR", "",
    ),
    "talks like a terminal": (FUNCTION + "    raise ValueError('\\x1b[2J\\x07' * 3)", "ERROR", "ValueError"),
}  # fmt: skip


@locked_in
@pytest.mark.slow
@pytest.mark.parametrize("name", HARM)
def test_harm_stays_in_its_own_cell(tmp_path, name):
    """The exercise that does it gets the mark; the next one in the same notebook is graded as if nothing had been."""
    cell, state, message = HARM[name]
    hand_in(tmp_path / "in" / "x.ipynb", cell, SECOND)
    grades = grade(tmp_path / "in", Limits(seconds=15, memory_mb=300 if name.startswith("shares") else 1000))
    got, said = grades.learners["x"]["start.order_number"]
    assert (got, grades.learners["x"]["prepare.pad_batch"][0]) == (state, "NOT STARTED"), said
    assert message in said
    assert said.isprintable()
    assert left_behind() == []


@locked_in
def test_files_that_are_no_notebooks_are_named_and_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "MAX_BYTES", 50_000)
    hand_in(tmp_path / "in" / "good.ipynb", RIGHT)
    hand_in(tmp_path / "in" / "nothing.ipynb", head="print('hello')")
    (tmp_path / "in" / "broken.ipynb").write_text("{")
    (tmp_path / "in" / "deep.ipynb").write_text("[" * 40_000)
    (tmp_path / "in" / "huge.ipynb").write_bytes(b" " * 60_000)
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "in" / "link.ipynb").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "in" / "pipe.ipynb")
    (tmp_path / "in" / "folder.ipynb").mkdir()
    (tmp_path / "in" / ".ipynb_checkpoints").mkdir()
    hand_in(tmp_path / "in" / ".ipynb_checkpoints" / "good-checkpoint.ipynb", RIGHT)
    grades = grade(tmp_path / "in")
    assert states(grades) == {"good": "PASSED"}
    why = dict(grades.skipped)
    assert sorted(why) == ["broken.ipynb", "deep.ipynb", "huge.ipynb", "link.ipynb", "nothing.ipynb", "pipe.ipynb"]
    assert why["nothing.ipynb"] == "holds no exercise of this course"
    assert "not a readable notebook" in why["broken.ipynb"]
    assert "not a readable notebook" in why["deep.ipynb"]
    assert why["huge.ipynb"] == "larger than 0 MB."
    assert "cannot be read" in why["link.ipynb"]
    assert why["pipe.ipynb"] == "no ordinary file."


def test_of_two_notebooks_for_a_lesson_the_better_result_counts(tmp_path):
    made = [
        grading.Submission("ada", tmp_path / "a.ipynb", {"prepare.pad_batch": ("WRONG", "no")}),
        grading.Submission("ada", tmp_path / "b.ipynb", {"prepare.pad_batch": ("PASSED", "")}),
        grading.Submission("ada", tmp_path / "c.ipynb", {"prepare.pad_batch": ("ERROR", "no")}),
        grading.Submission("bo", tmp_path / "d.ipynb", {"start.order_number": ("PASSED", "")}),
    ]
    grades = grading.collect(made, tmp_path, 1.0)
    assert grades.state("ada", "prepare.pad_batch") == "PASSED"
    assert grades.state("ada", "prepare.word_pieces") == "NOT STARTED"
    assert grades.state("ada", "start.order_number") == "-"
    assert grades.counts("ada") == "1 of 7"


def test_a_room_is_not_believed_what_it_was_not_asked():
    """Lines may be written by a learner: other exercises, unknown states and odd types change nothing."""

    class Silent:
        running = ""

        def begin(self, id):
            self.running = id

    room, it = Silent(), grading.Submission("x", None)
    found = grading._note({"found": ["start.order_number", "no.such", 3, "prepare.pad_batch"]}, it, None, room)
    assert found == ["start.order_number", "prepare.pad_batch"]
    for line in (
        {"id": "prepare.pad_batch", "state": "PASSED"},
        {"start": "no.such"},
        {"start": ["x"]},
        {"found": []},
        {"unreadable": "x"},
    ):
        assert grading._note(line, it, found, room) == found
    grading._note({"start": "start.order_number"}, it, found, room)
    for line in (
        {"id": "prepare.pad_batch", "state": "PASSED"},
        {"id": "start.order_number", "state": "GREAT"},
        {"id": []},
    ):
        grading._note(line, it, found, room)
    assert (it.results, it.fault) == ({}, "")
    grading._note({"id": "start.order_number", "state": "WRONG", "message": "\x1b[2J" + "x" * 999}, it, found, room)
    state, message = it.results["start.order_number"]
    assert state == "WRONG"
    assert message.isprintable()
    assert len(message) == grading.MAX_MESSAGE


# --- without a sandbox ---


def test_without_a_sandbox_the_command_says_what_is_open_and_asks(tmp_path, monkeypatch):
    hand_in(tmp_path / "x.ipynb", RIGHT)
    monkeypatch.setattr(sandbox, "missing", lambda: "Bubblewrap is not here.")
    with pytest.raises(grading.NoSandbox) as error:
        grade(tmp_path)
    assert str(error.value).startswith("Bubblewrap is not here. Without it, what learners hand in runs as you")
    assert str(error.value).endswith("If you trust everyone who handed in, add --unprotected.")


def test_on_demand_it_grades_without_a_sandbox_and_ends_loops(tmp_path):
    hand_in(tmp_path / "in" / "good_00_start_here.ipynb", RIGHT, SECOND)
    hand_in(tmp_path / "in" / "loop.ipynb", CLASS["otto"][1], SECOND)
    command = [sys.executable, "-m", "agentlab.cli", "grade", str(tmp_path / "in"), "--unprotected", "--seconds", "6", "--out", str(tmp_path / "out")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "good, good_00_start_here.ipynb: 1 of 2" in done.stdout
    assert "Marks: ✔ PASSED, ✘ WRONG" in done.stdout
    with open(tmp_path / "out" / "grades.csv", encoding="utf-8-sig", newline="") as file:
        rows = {row["learner"]: (row["start.order_number"], row["prepare.pad_batch"]) for row in csv.DictReader(file)}
    assert rows == {"good": ("PASSED", "NOT STARTED"), "loop": ("TIMEOUT", "NOT STARTED")}


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_notebooks_is_said(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        grade(tmp_path / name)


def test_lines_that_are_no_json_are_nothing():
    assert [grading._as_line(text) for text in (b"{", b"\xff", b"3", b"[" * 99_999, json.dumps({"a": 1}).encode())] == [None] * 4 + [{"a": 1}]  # fmt: skip
