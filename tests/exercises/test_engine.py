import copy

import pytest

from agentlab import progress
from agentlab.errors import AgentLabError, UnknownName
from agentlab.exercises import ____, engine, exercise
from agentlab.exercises.engine import ERROR, NOT_STARTED, PASSED, WRONG, Card, Choice, Exercise, Mistake, Quiz, Wrong


def double(x):
    return 2 * x


def check_double(double):
    for x in (0, 3, -5):
        answer = double(x)
        engine.expect_type(answer, int, "The result")
        engine.expect(answer == 2 * x, f"{x} gave {answer}.")


EXERCISE = Exercise(
    "demo.double", "Double it.", 1, 1, ("Use *.", "2 * x."), double, check_double,
    (Mistake(lambda x: x, "3 gave 3"), Mistake(lambda x: None, "`return` missing"), Mistake(lambda x: x * x, "3 gave 9")),
)  # fmt: skip


def swallow_everything(x):
    try:
        return ____ + x
    except Exception:
        return 0


@pytest.mark.parametrize(
    ("answer", "state", "message"),
    [
        (double, PASSED, "Right."),
        (lambda x: x + x, PASSED, "Right."),
        (lambda x: ____, NOT_STARTED, "ex.hint()"),
        (lambda x: ____ + 1, NOT_STARTED, "____"),
        (lambda x: [1, (____,)], NOT_STARTED, "____"),
        (lambda x: {"a": ____}, NOT_STARTED, "____"),
        (swallow_everything, NOT_STARTED, "____"),
        (____, NOT_STARTED, "____"),
        (lambda x: x, WRONG, "3 gave 3"),
        (lambda x: None, WRONG, "is a `return` missing?"),
        (6, WRONG, "without calling it"),
        (None, WRONG, "without calling it"),
        (lambda x: 1 / 0, ERROR, "ZeroDivisionError"),
        (lambda: 3, ERROR, "TypeError"),
        (lambda x: exec("raise SystemExit(0)"), ERROR, "SystemExit"),
        (lambda x: (_ for _ in ()).throw(engine.AnswerRaised("sly")), ERROR, "sly"),
    ],
)
def test_the_four_results(answer, state, message):
    result = EXERCISE.judge(answer)
    assert (result.state, message in result.message) == (state, True), result


def test_endless_recursion_is_an_error_not_a_crash():
    def forever(x):
        return forever(x)

    assert EXERCISE.judge(forever).state == ERROR


def test_an_error_names_the_learners_own_line():
    def answer(x):
        y = x + 1
        return y.digits()  # the line

    message = EXERCISE.judge(answer).message
    assert "AttributeError" in message
    assert "`return y.digits()  # the line`" in message


def test_an_answer_that_the_check_did_not_expect_is_wrong_not_a_traceback():
    strange = Exercise("demo.s", "?", 1, 1, (), double, lambda f: f(1)["key"], ())
    assert "unexpected form" in strange.judge(double).message


def test_an_allowed_exception_reaches_the_check():
    def check(f):
        with f.may_raise(ValueError):
            try:
                f(-1)
            except ValueError:
                return
        raise Wrong("It should have raised ValueError.")

    strict = Exercise("demo.strict", "?", 1, 1, (), double, check, ())

    def refuses(x):
        raise ValueError

    assert strict.judge(refuses).state == PASSED
    assert strict.judge(double).state == WRONG


def test_the_placeholder_can_be_shown_and_copied_but_not_used():
    assert repr(____) == "____"
    assert copy.copy([____]) is not None
    for use in (
        lambda: ____ + 1,
        lambda: ____(),
        lambda: ____[0],
        lambda: len(____),
        lambda: ____.x,
        lambda: f"{____}",
        lambda: bool(____),
    ):
        with pytest.raises(engine.NotStarted):
            use()


def test_a_card_notes_progress_and_gives_hints_in_order(capsys):
    card = Card(EXERCISE)
    assert card.check(lambda x: x).state == WRONG
    card.hint(), card.hint(), card.hint()
    card.solution()
    assert card.check(double).passed
    out = capsys.readouterr().out
    assert out.index("Hint 1 of 2") < out.index("Hint 2 of 2: 2 * x. That was the last")
    assert "def double(x):\n    return 2 * x" in out
    entry = progress.read_progress()["demo.double"]
    assert (entry["state"], entry["attempts"], entry["hints"], entry["solution_seen"]) == ("PASSED", 2, 2, True)
    with pytest.raises(AgentLabError, match="hints 1 to 2"):
        card.hint(7)


def test_use_takes_the_learners_only_if_it_passes(capsys):
    def mine(x):
        return x + x

    card = Card(EXERCISE)
    assert card.use(mine) is mine
    assert card.use(lambda x: ____) is double
    assert card.use(lambda x: 7) is double
    out = capsys.readouterr().out
    assert "Going on with your `double`" in out
    assert out.count("reference `double`") == 2


def test_the_solution_shown_is_the_solution_run():
    space = {}
    exec(EXERCISE.solution_source, space)
    assert EXERCISE.judge(space["double"]).passed
    value = Exercise("demo.v", "?", 1, 1, (), 0.5, lambda v: engine.expect(v == 0.5, "no"), (), name="half")
    assert value.solution_source == "half = 0.5"
    assert value.judge(0.5).passed


def test_an_unknown_exercise_is_named():
    with pytest.raises(UnknownName, match="Did you mean "):
        exercise("prepare.read_markups")


QUIZ = Quiz("demo.quiz", "Which?", (Choice("a", False, "No, since."), Choice("b", True, "Yes, since.")))


def test_a_quiz_explains_every_choice(capsys):
    assert QUIZ.answer(1) == engine.Result(WRONG, "No, since.")
    assert QUIZ.answer(2).passed
    with pytest.raises(AgentLabError, match="choices 1 to 2"):
        QUIZ.answer(3)
    engine.show_quiz(QUIZ)
    out = capsys.readouterr().out
    assert "No, since." in out
    assert "Yes, since." in out


def test_the_quiz_widget_answers_at_once():
    box = engine.quiz_widget(QUIZ)
    _, buttons, feedback = box.children
    buttons.value = 1
    assert "WRONG" in feedback.value
    assert "No, since." in feedback.value
    buttons.value = 2
    assert "PASSED" in feedback.value
    assert 'role="status"' in feedback.value
    assert progress.read_progress()["demo.quiz"]["state"] == "PASSED"
    assert buttons.description or box.children[0].value
