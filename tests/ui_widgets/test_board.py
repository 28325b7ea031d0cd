"""The board of what is passed and what is next."""

import json

import pytest

from agentlab import progress
from agentlab.errors import DataError
from agentlab.exercises import all_exercises
from agentlab.ui import ProgressBoard
from agentlab.ui.board import lesson_of
from tests.ui_widgets.test_chat import all_html

FEW = {"agent.loop": 10, "start.order_number": 5, "prepare.read": 8, "prepare.split": 12, "shop.extra": 3}


def text(board):
    return all_html(board.widget)[1].value


def test_with_nothing_begun_the_first_lesson_is_next():
    board = ProgressBoard()
    assert board.next() == "start.order_number"
    assert board.said == f"0 of {len(all_exercises())} exercises passed. Next: order number, in 00 Start here."


def test_every_exercise_of_the_course_belongs_to_a_lesson_and_they_stand_in_its_order():
    lessons = [r["lesson"] for r in ProgressBoard().rows()]
    assert all(name[:2].isdigit() for name in lessons), lessons
    assert lessons == sorted(lessons)


def test_passing_moves_on_and_what_went_wrong_is_told():
    board = ProgressBoard(FEW)
    assert board.widget
    progress.note_check("start.order_number", "PASSED")
    progress.note_check("prepare.read", "WRONG")
    progress.note_check("prepare.read", "ERROR")
    progress.note_help("prepare.read", "hints", 2)
    board.refresh()
    assert board.said == "1 of 5 exercises passed. Next: read, in 01 Prepare the data, tried 2 times so far."
    assert board.rows()[1] == {"lesson": "01 Prepare the data", "passed": "0 of 2", "minutes left": 20, "next": "read"}
    assert '<span class="al-good">✔ PASSED</span>' in text(board)
    assert '<span class="al-bad">⚠ ERROR</span> (2 tries, 2 hints)' in text(board)
    assert text(board).count("<details open>") == 1


def test_looking_again_shows_what_was_passed_meanwhile():
    board = ProgressBoard(FEW)
    assert board.widget
    progress.note_check("start.order_number", "PASSED")
    assert "1 of 1" not in text(board)
    board._clicked()
    assert "00 Start here: 1 of 1 passed" in text(board)


def test_when_all_is_passed_it_says_so():
    for id in FEW:
        progress.note_check(id, "PASSED")
    board = ProgressBoard(FEW)
    assert board.next() is None
    assert board.said == "5 of 5 exercises passed. That is all of them."
    assert {r["next"] for r in board.rows()} == {"done"}


def test_exercises_of_another_course_come_last_under_their_own_name():
    assert lesson_of("shop.extra") == "shop"
    assert [r["lesson"] for r in ProgressBoard(FEW).rows()] == [
        "00 Start here", "01 Prepare the data", "06 The agent", "shop",
    ]  # fmt: skip


def test_a_broken_file_is_named_and_in_the_widget_a_sentence(tmp_path):
    path = tmp_path / "progress.json"
    board = ProgressBoard(FEW, path)
    assert board.widget
    path.write_text("{")
    with pytest.raises(DataError, match="malformed JSON"):
        ProgressBoard(FEW, path)
    board._clicked()
    assert "malformed JSON" in board.said


def test_another_file_can_be_looked_at(tmp_path):
    path = tmp_path / "theirs.json"
    entry = {"state": "PASSED", "attempts": 1, "hints": 0, "solution_seen": True}
    path.write_text(json.dumps({"format": 1, "exercises": {"start.order_number": entry}}))
    board = ProgressBoard(FEW, path)
    assert board.next() == "prepare.read"
    assert "(solution seen)" in text(board)


def test_where_nothing_runs_a_table_shows_the_lessons(capsys):
    ProgressBoard(FEW).show()
    out = capsys.readouterr().out
    assert "0 of 5 exercises passed. Next: order number" in out
    assert "01 Prepare the data" in out
