"""Many progress files in one table: what is kept, what is left out and why, who counts as stuck."""

import csv
import json
import os
import random
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from agentlab import classroom, cli
from agentlab.errors import DataError


def entry(state="PASSED", attempts=1, hints=0, seen=False, updated="2026-03-01T09:00:00+00:00"):
    return {"state": state, "attempts": attempts, "hints": hints, "solution_seen": seen, "first_passed": "", "updated": updated}  # fmt: skip


def hand_in(path, **entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    exercises = {id.replace("__", "."): e for id, e in entries.items()}
    path.write_text(json.dumps({"format": 1, "exercises": exercises}), encoding="utf-8")


def test_names_come_from_files_or_folders_and_classes_from_the_folders_above(tmp_path):
    hand_in(tmp_path / "anna.json", start__order_number=entry(attempts=1))
    hand_in(tmp_path / "ben" / "progress.json", start__order_number=entry(attempts=2))
    hand_in(tmp_path / "7b" / "cem.json", start__order_number=entry(attempts=3))
    hand_in(tmp_path / "7b" / "dora" / "progress (2).json", start__order_number=entry(attempts=4))
    report = classroom.merge(tmp_path)
    assert [(l.group, l.name) for l in report.learners] == [("", "anna"), ("", "ben"), ("7b", "cem"), ("7b", "dora")]  # noqa: E741
    assert report.skipped == []


@pytest.mark.parametrize(
    ("made", "standing"),
    [
        (entry(), "PASSED"),
        (entry(seen=True, attempts=9), "PASSED"),
        (entry("WRONG", 2), "TRYING"),
        (entry("NOT STARTED", 0, hints=1), "TRYING"),
        (entry("ERROR", 3), "STUCK"),
        (entry("NOT STARTED", 0, seen=True), "STUCK"),
        (entry("NOT STARTED", 0), "NOT STARTED"),
    ],
)
def test_who_is_stuck(tmp_path, made, standing):
    hand_in(tmp_path / "a.json", loss__dl_dz=made)
    assert classroom.merge(tmp_path).learners[0].standing("loss.dl_dz") == standing


def test_what_says_nothing_is_named_and_left_out(tmp_path):
    hand_in(tmp_path / "anna.json", start__order_number=entry())
    hand_in(tmp_path / "anna copy.json", start__order_number=entry())
    hand_in(tmp_path / "ben.json", start__order_number=entry("WRONG", updated="2026-03-02T09:00:00+00:00"))
    hand_in(tmp_path / "ben" / "progress.json", start__order_number=entry(updated="2026-03-05T09:00:00+00:00"))
    hand_in(tmp_path / "foreign.json", other__task=entry())
    hand_in(tmp_path / "odd.json", start__order_number={**entry(), "attempts": "many"})
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "report.json").write_text('{"format": 2}')
    (tmp_path / "notes.txt").write_text("not ours, not named")
    (tmp_path / "link.json").symlink_to(tmp_path / "anna.json")
    report = classroom.merge(tmp_path)
    assert [learner.file for learner in report.learners] == ["anna copy.json", "ben/progress.json"]
    why = dict(report.skipped)
    assert sorted(why) == ["anna.json", "ben.json", "broken.json", "deep.json", "foreign.json", "link.json", "odd.json", "report.json"]  # fmt: skip
    assert why["anna.json"] == "the same as anna copy.json"
    assert why["ben.json"] == "older than ben/progress.json, of the same learner"
    assert why["foreign.json"] == "holds no exercise of this course."
    assert "malformed JSON" in why["broken.json"]
    assert "attempts of 'start.order_number'" in why["odd.json"]


def test_two_who_have_done_nothing_are_two(tmp_path):
    hand_in(tmp_path / "anna.json")
    hand_in(tmp_path / "ben.json")
    assert len(classroom.merge(tmp_path).learners) == 2


def test_quizzes_and_other_versions_exercises_are_no_columns(tmp_path):
    made = {"start__order_number": entry(), "start__quiz_parts": entry(), "start__gone": entry()}
    hand_in(tmp_path / "anna.json", **made)
    report = classroom.merge(tmp_path)
    assert report.unknown == {"start.gone"}
    assert list(report.learners[0].entries) == ["start.order_number"]


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_files_is_said(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="folder"):
        classroom.merge(tmp_path / name)


def test_the_table_counts(tmp_path):
    hand_in(tmp_path / "anna.json", loss__dl_dz=entry(attempts=2, hints=1))
    hand_in(tmp_path / "ben.json", loss__dl_dz=entry("WRONG", 5, hints=2, seen=True))
    hand_in(tmp_path / "cem.json", loss__dl_dz=entry("ERROR", 1))
    report = classroom.merge(tmp_path)
    row = next(row for row in report.exercise_rows() if row[0] == "loss.dl_dz")
    assert row == ["loss.dl_dz", "02_derive_the_loss", "1", "1", "1", "0", "2.7", "3", "1"]
    assert report.hardest() == ("loss.dl_dz", 1)
    assert report.learner_rows()[0][:4] == ["ben", "-", "0", "loss.dl_dz"]


def test_the_reports_escape_what_learners_named(tmp_path):
    for attempts, name in enumerate(("=cmd()", "<b>x", "a$b$c", "normal"), 3):
        hand_in(tmp_path / "in" / f"{name}.json", loss__dl_dz=entry("WRONG", attempts))
    classroom.write_reports(classroom.merge(tmp_path / "in"), tmp_path / "out")
    page = (tmp_path / "out" / "class.html").read_text(encoding="utf-8")
    assert "<b>x" not in page
    assert "&lt;b&gt;x" in page
    caption = re.search(r"<caption>([^<]+)</caption>", page)[1]
    assert caption.startswith("Learners by exercises (✔ passed, ✘ stuck,")
    assert caption.endswith("most learners, 4 of 4, are stuck at loss.dl_dz")
    assert 'title="a$b$c, loss.dl_dz: stuck">✘</td>' in page
    assert 'title="normal, start.order_number: not started">·</td>' in page
    with open(tmp_path / "out" / "class.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["learner"] for row in rows} == {"'=cmd()", "<b>x", "a$b$c", "normal"}
    assert rows[0]["loss.dl_dz"] == "STUCK"
    assert rows[0]["start.order_number"] == "NOT STARTED"


def made_up_classes(folder, classes, learners):
    rng, ids = random.Random(4), list(classroom.course_exercises())
    for c in range(classes):
        for n in range(learners):
            entries = {}
            for k, id in enumerate(ids[: rng.randint(1, len(ids))]):
                state = rng.choice(["PASSED", "PASSED", "PASSED", "WRONG", "ERROR", "NOT STARTED"])
                when = f"2026-03-{c % 28 + 1:02d}T10:{n:02d}:{k % 60:02d}+00:00"
                entries[id.replace(".", "__")] = entry(state, rng.randint(0, 6), rng.randint(0, 2), rng.random() < 0.1, when)  # fmt: skip
            hand_in(folder / f"class {c:02d}" / f"learner {n:02d}.json", **entries)


def test_thirty_classes_of_thirty_are_merged_in_two_seconds(tmp_path):
    """The whole command, from the start of Python to the picture; in seconds of computing, since machines are shared."""
    made_up_classes(tmp_path / "in", 30, 30)
    command = [sys.executable, "-m", "agentlab.cli", "class", "merge", str(tmp_path / "in"), "--out", str(tmp_path / "out")]  # fmt: skip
    seconds = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        after = os.times()
        assert done.returncode == 0, done.stderr
        seconds.append(after.children_user - before.children_user + after.children_system - before.children_system)
    print(f"class merge, 900 files: {min(seconds):.2f} s of computing")
    assert "900 learners; most are stuck at" in done.stdout
    page = (tmp_path / "out" / "class.html").read_text(encoding="utf-8")
    assert "Per cent of each class that is stuck: most learners, " in page
    stuck = re.search(r'title="class 00, start.order_number: (\d+) of 30 are stuck">(\d+)<', page)
    assert int(stuck[2]) == round(int(stuck[1]) / 30 * 100)
    assert min(seconds) < 2


def test_the_command_prints_where_people_are_stuck_and_what_was_left_out(tmp_path):
    hand_in(tmp_path / "in" / "anna.json", loss__dl_dz=entry("WRONG", 4))
    (tmp_path / "in" / "bad.json").write_text("nothing")
    result = CliRunner().invoke(cli.app, ["class", "merge", str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "Left out: bad.json: malformed JSON" in result.output
    assert "1 learners; most are stuck at loss.dl_dz: 1." in result.output
