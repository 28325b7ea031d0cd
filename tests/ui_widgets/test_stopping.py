"""`fit` stops when its ``on_step`` asks for it, and keeps the best that it has."""

import itertools

import pytest

from tests.test_finetune import PLAIN, digest, messages, quick_fit, reader

STEPS = 4  # of an epoch: 32 messages in batches of 8


@pytest.fixture(scope="module")
def items():
    return messages(32)


def stop_at(step):
    return lambda row: row["step"] >= step


def test_every_step_is_told_with_its_loss_rate_and_place(items):
    rows = []
    quick_fit(reader(), items, on_step=rows.append)
    assert [r["step"] for r in rows] == list(range(1, 4 * STEPS + 1))
    assert [r["epoch"] for r in rows] == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4
    assert {r["steps"] for r in rows} == {4 * STEPS}
    assert rows[-1]["examples"] == 4 * 32
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["learning_rate"] < max(r["learning_rate"] for r in rows)
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(rows))


def test_being_told_changes_no_weight(items):
    one, other = reader(), reader()
    quick_fit(one, items)
    quick_fit(other, items, on_step=lambda row: None)
    assert digest(one) == digest(other)


def test_a_stop_keeps_the_best_epoch_and_says_where_it_was(items):
    stopped, reference = reader(), reader()
    history = quick_fit(stopped, items, validation=messages(8, 1), on_step=stop_at(2 * STEPS + 2), score=falling())
    assert history.stopped == "asked to stop in step 10 of 16; best was epoch 1"
    assert len(history.epochs) == 2
    kept = {}

    def keep(row):
        kept.setdefault(row["epoch"], digest(reference))

    quick_fit(reference, items, validation=messages(8, 1), on_epoch=keep)
    assert digest(stopped) == kept[1]


def falling():
    scores = iter([3.0, 2.0, 1.0, 0.0])
    return lambda *_: next(scores)


def test_a_stop_before_the_first_epoch_is_over_keeps_the_weights_of_now(items):
    model = reader()
    before = digest(model)
    history = quick_fit(model, items, validation=messages(8, 1), on_step=stop_at(2))
    assert (history.steps, history.epochs) == (2, [])
    assert history.stopped == "asked to stop in step 2 of 16; the weights are those of now"
    assert digest(model) != before


def test_a_stop_in_the_last_step_of_an_epoch_finishes_that_epoch(items):
    history = quick_fit(reader(), items, validation=messages(8, 1), on_step=stop_at(STEPS))
    assert (history.steps, len(history.epochs), history.best_epoch) == (STEPS, 1, 1)


@pytest.mark.parametrize("step", [2, STEPS, STEPS + 3])
def test_stopped_and_gone_on_with_gives_the_weights_of_an_undisturbed_training_bit_for_bit(tmp_path, items, step):
    whole, stopped, resumed = reader(), reader(), reader()
    quick_fit(whole, items)
    quick_fit(stopped, items, folder=tmp_path, on_step=stop_at(step))
    rows = []
    history = quick_fit(resumed, items, folder=tmp_path, on_step=rows.append)
    assert [r["step"] for r in rows] == list(range(step + 1, 4 * STEPS + 1)), "it goes on where it was"
    assert digest(stopped) != digest(whole)
    assert digest(resumed) == digest(whole)
    assert (history.steps, history.stopped) == (4 * STEPS, "")


def test_the_best_of_a_stopped_training_is_still_known_when_it_goes_on(tmp_path, items):
    options = {"validation": messages(8, 1), "folder": tmp_path, "config": PLAIN}
    quick_fit(reader(), items, on_step=stop_at(STEPS + 1), score=lambda *_: 5.0, **options)
    history = quick_fit(reader(), items, score=lambda *_: 1.0, **options)
    assert history.best_epoch == 1
