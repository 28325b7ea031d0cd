import numpy as np
import pytest
import torch

from agentlab.exercises.derivation import compare, gradient_of
from agentlab.exercises.engine import Card, Exercise, Mistake, Wrong
from agentlab.show import draw_comparison

TRUTH = np.array([[0.5, -1.0], [2.0, 0.25], [0.1, -0.7]])


def message(theirs, truth=TRUTH, **options):
    with pytest.raises(Wrong) as wrong:
        compare(theirs, truth, **options)
    return str(wrong.value)


def test_autograd_and_finite_differences_agree_on_a_known_gradient():
    gradient, apart = gradient_of(lambda x: (x**3).sum(), np.array([1.0, 2.0]))
    assert gradient.tolist() == [3.0, 12.0]
    assert 0 < apart < 1e-6


def test_exact_and_approximate_answers_are_told_apart():
    assert compare(TRUTH, TRUTH).startswith("Exact: the largest difference is 0.0e+00")
    assert compare(torch.tensor(TRUTH), TRUTH).startswith("Exact")
    assert compare(TRUTH + 1e-6, TRUTH).startswith("Approximate: the largest difference is 1.0e-06")


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (-TRUTH, "The sign is wrong: everything else is right."),
        (TRUTH * 7, "A sum stands where the mean belongs: 1/N is missing."),
        (-TRUTH * 7, "The sign is wrong, and a sum stands where"),
        (TRUTH / 7, "It was divided by N twice"),
        (TRUTH * 3, "Everything is 3 times the right number"),
        (TRUTH.T, "The factors are transposed"),
        (TRUTH + 1, "no slip that is known here. The largest difference is 1."),
        (np.where(TRUTH > 0, TRUTH, np.nan), "2 of your 6 numbers are not finite"),
        (TRUTH[:, 0], "The shape should be (3, 2); yours is (3,)"),
        (TRUTH[None], "An axis is still to be summed over"),
        (None, "is a `return` missing?"),
        ("text", "Numbers are needed"),
        ([[1], [2, 3]], "Numbers are needed"),
    ],
)
def test_slips_are_named(theirs, words):
    assert words in message(theirs, rows=7)


def test_a_slip_of_the_exercise_comes_before_the_general_ones():
    assert message(-TRUTH, slips={"the mask is forgotten": -TRUTH}) == "the mask is forgotten"
    assert compare(TRUTH, TRUTH, slips={"no slip at all here": TRUTH}).startswith("Exact")


def test_a_missing_mean_over_the_rows_is_named():
    assert "the mean over the rows is missing" in message(np.ones(4), np.array(1.0))


def test_what_a_check_says_is_added_to_the_praise_and_a_comparison_is_kept(capsys):
    e = Exercise(
        "x.y", "`f`", 1, 1, ("hint",), lambda: TRUTH, lambda f: compare(f(), TRUTH), (Mistake(lambda: -TRUTH, "sign"),)
    )
    assert e.judge(e.solution).message.startswith("Right. Exact")
    theirs, truth = e.judge(lambda: -TRUTH).compared
    assert (theirs == -TRUTH).all()
    assert (truth == TRUTH).all()
    assert Card(e).check(lambda: -TRUTH).state == "WRONG"
    assert "✘ WRONG" in capsys.readouterr().out


def test_the_comparison_is_drawn_with_its_largest_difference(capsys):
    draw_comparison(np.array([1.0, np.nan, 3.0]), np.array([1.0, 2.0, 2.5]))
    shown = capsys.readouterr().out
    assert "largest difference is 0.5" in shown
    assert "1 of yours are not finite" in shown
