"""Every exercise against its solution, its stub, its typical mistakes and an answer that raises."""

import inspect

import pytest

from agentlab.exercises import ____, all_exercises, all_quizzes
from agentlab.exercises.engine import ERROR, NOT_STARTED, PASSED, WRONG

ROUNDS = 10  # checks draw fresh random inputs, so a mistake must be caught every time
CASES = [(e, m) for e in all_exercises().values() for m in e.mistakes]


def test_every_exercise_is_complete():
    assert all_exercises()
    for e in all_exercises().values():
        assert len(e.mistakes) >= 3, f"{e.id} has only {len(e.mistakes)} mistakes"
        assert e.hints, e.id
        assert 1 <= e.difficulty <= 3
        assert e.minutes > 0
        assert f"`{e.answer_name}" in e.question, f"{e.id}: the question must name {e.answer_name}"


@pytest.mark.parametrize("e", all_exercises().values(), ids=all_exercises())
def test_solution_stub_and_error(e):
    for _ in range(ROUNDS):
        assert e.judge(e.solution).state == PASSED
    assert e.judge(____).state == NOT_STARTED
    if callable(e.solution):
        assert e.judge(lambda *args: ____).state == NOT_STARTED

        def raises(*args):
            raise RuntimeError("from the learner")

        result = e.judge(raises)
        assert result.state == ERROR
        assert 'raise RuntimeError("from the learner")' in result.message


@pytest.mark.parametrize(("e", "mistake"), CASES, ids=[f"{e.id}-{n}" for n, (e, _) in enumerate(CASES)])
def test_every_mistake_is_caught_with_its_message(e, mistake):
    for _ in range(ROUNDS):
        result = e.judge(mistake.answer)
        assert result.state == WRONG, result
        assert mistake.message in result.message, result


def test_the_kill_count(capsys):
    rows = [
        (e.id, sum(e.judge(m.answer).state == WRONG for m in e.mistakes), len(e.mistakes))
        for e in all_exercises().values()
    ]
    with capsys.disabled():
        print("\nKill count: mistakes caught")
        for id, caught, total in rows:
            print(f"  {id:32} {caught} of {total}")
        print(f"  {'all':32} {sum(c for _, c, _ in rows)} of {sum(t for *_, t in rows)}")
    assert all(caught == total for _, caught, total in rows)


@pytest.mark.parametrize(
    "junk", [None, 3, "text", [], {}, object(), print, lambda *a, **k: None, lambda *a, **k: object(), int]
)
def test_no_answer_breaks_a_check(junk):
    for e in all_exercises().values():
        assert e.judge(junk).state in (WRONG, ERROR), e.id


def test_solutions_read_as_the_learner_would_write_them():
    for e in all_exercises().values():
        if inspect.isfunction(e.solution):
            assert len(e.solution_source.split("\n")) <= 30, e.id


def test_quizzes_have_one_right_choice_and_explain_each():
    assert all_quizzes()
    for q in all_quizzes().values():
        assert sum(c.right for c in q.choices) == 1, q.id
        assert len(q.choices) >= 3
        assert all(len(c.why.split()) >= 5 for c in q.choices), q.id
