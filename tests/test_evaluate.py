import doctest
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval import metrics as seqeval

from agentlab import evaluate
from agentlab.errors import AgentLabError

TAGS = ["O", "B-product", "I-product", "B-date", "I-date"]
ROWS = st.lists(st.lists(st.sampled_from(TAGS), min_size=1, max_size=12), min_size=1, max_size=6)


@given(ROWS, st.randoms())
def test_span_scores_agree_with_seqeval(truth, rng):
    guess = [[rng.choice(TAGS) if rng.random() < 0.4 else tag for tag in row] for row in truth]
    score = evaluate.score_spans(truth, guess)["all"]
    if score.there and score.found:
        assert score.f1 == pytest.approx(seqeval.f1_score(truth, guess))
        assert score.precision == pytest.approx(seqeval.precision_score(truth, guess))
        assert score.recall == pytest.approx(seqeval.recall_score(truth, guess))


def test_spans_need_both_ends_and_the_type():
    truth = [["B-product", "I-product", "O", "B-date"]]
    for guess, right in (
        (["B-product", "I-product", "O", "B-date"], 2),
        (["B-product", "O", "O", "B-date"], 1),
        (["B-date", "I-date", "O", "B-date"], 1),
        (["O", "O", "O", "O"], 0),
    ):
        assert evaluate.score_spans(truth, [guess])["all"].right == right
    assert evaluate.score_spans(truth, [["O"] * 4])["all"].f1 == 0
    assert evaluate.score_spans(truth, truth)["product"].f1 == 1


def test_neighbours_of_one_type_are_two_spans_if_each_begins():
    assert evaluate.spans_of(["B-product", "B-product", "I-product"]) == [(0, 1, "product"), (1, 3, "product")]


def test_macro_f1_weighs_a_rare_class_like_a_common_one():
    truth = ["a"] * 98 + ["b"] * 2
    assert evaluate.accuracy(truth, ["a"] * 100) == 0.98
    assert evaluate.macro_f1(truth, ["a"] * 100) == pytest.approx(0.4949, abs=1e-4)
    assert evaluate.macro_f1(truth, truth) == 1


def test_the_report_puts_the_worst_class_first_and_confusions_are_counted():
    truth, guess = ["a", "a", "b", "b"], ["a", "a", "a", "b"]
    table = evaluate.report(truth, guess)
    assert list(table["class"]) == ["b", "a"]
    assert list(table["messages"]) == [2, 2]
    assert evaluate.worst_confusions(truth, guess) == [("b", "a", 1)]


def test_calibration_error_of_a_liar_and_of_an_honest_model():
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, 20000)
    assert evaluate.calibration_error(p, rng.uniform(size=20000) < p) < 0.02
    assert evaluate.calibration_error([0.9] * 100, [True] * 50 + [False] * 50) == pytest.approx(0.4)
    assert evaluate.calibration_error([1.0], [True]) == 0


def test_temperature_undoes_overconfidence_and_changes_no_decision():
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 5)) * 2
    p = evaluate.probabilities(honest)
    labels = np.array([rng.choice(5, p=row) for row in p])
    assert evaluate.fit_temperature(honest * 3, labels) == pytest.approx(3, rel=0.1)
    assert (evaluate.probabilities(honest * 3, 3.0).argmax(1) == honest.argmax(1)).all()


def test_out_of_scope_scores():
    assert evaluate.auroc([0.9, 0.8], [0.1, 0.2]) == 1
    assert evaluate.auroc([0.1, 0.9], [0.1, 0.9]) == 0.5
    assert 0.3 < evaluate.choose_threshold([0.9, 0.8, 0.4], [0.1, 0.3]) < 0.4
    with pytest.raises(AgentLabError, match="out of scope"):
        evaluate.auroc([0.5], [])


def test_a_bootstrap_interval_holds_the_truth_about_as_often_as_it_says():
    rng = random.Random(0)
    hits = 0
    for trial in range(100):
        sample = [rng.random() < 0.8 for _ in range(100)]
        low, high = evaluate.bootstrap(sample, lambda s: sum(s) / len(s), rounds=200, seed=trial)
        hits += low <= 0.8 <= high
    assert 85 <= hits <= 100


def test_two_models_are_compared_on_the_same_messages():
    better = evaluate.compare([True] * 50 + [False] * 50, [True] * 90 + [False] * 10)
    assert better.difference == pytest.approx(0.4)
    assert better.low > 0.2
    assert better.p_value < 0.001
    same = evaluate.compare([True, False], [True, False])
    assert (same.difference, same.p_value) == (0, 1)


def test_lists_of_different_lengths_are_refused():
    for call in (
        lambda: evaluate.accuracy([1], [1, 2]),
        lambda: evaluate.macro_f1([], []),
        lambda: evaluate.calibration_error([0.5], []),
        lambda: evaluate.score_spans([["O"]], [["O", "O"]]),
        lambda: evaluate.bootstrap([], len),
    ):
        with pytest.raises(AgentLabError):
            call()


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(evaluate).failed == 0
