"""The monitor of a training by its methods, and with `fit` itself."""

import re
import signal
import threading

import pytest

from agentlab import ui
from agentlab.errors import AgentLabError
from agentlab.ui import TrainingMonitor
from agentlab.ui.training import loss_svg
from tests.test_finetune import digest, messages, quick_fit, reader
from tests.ui_widgets.test_chat import the


def step(number, steps=100, loss=1.0, **more):
    row = {"step": number, "steps": steps, "epoch": 1, "loss": loss, "learning_rate": 3e-4}
    return row | {"examples": 8 * number, "seconds": 0.1 * number} | more


@pytest.fixture
def monitor():
    made = TrainingMonitor("Our <way>", score="accuracy")
    assert made.widget
    return made


def page(monitor):
    return the(monitor, "al-figures").value


def status(monitor):
    return re.sub(r"<[^>]+>", "", the(monitor, "al-status").value)


def test_it_shows_what_it_is_told(monitor):
    with monitor:
        monitor.on_step(step(1, loss=2.0))
        monitor({"epoch": 1, "train_loss": 1.5, "score": 0.8125})
        monitor._looked = 0
        monitor.on_step(step(2, loss=1.0))
        figures = monitor.figures()
        shown = page(monitor)
    assert figures["step"] == "2 of 100"
    assert figures["loss"] == "1.900"  # 0.9 of what was shown before, 0.1 of the new loss
    assert (figures["accuracy"], figures["learning rate"]) == ("0.812", "0.0003")
    assert figures["examples per second"] == "80"
    assert re.fullmatch(r"\d+ (s|min)", figures["time left"])
    for value in figures.values():
        assert f"<strong>{value}</strong>" in shown
    assert "Our &lt;way&gt;" in shown
    assert "The weights of epoch 1 are kept: accuracy 0.812." in status(monitor)


def test_the_time_left_follows_from_the_pace_of_the_steps(monitor, monkeypatch):
    clock = iter([0.0, *[10.0] * 20])
    monkeypatch.setattr("agentlab.ui.training.time.perf_counter", lambda: next(clock))
    monitor.on_step(step(1))
    for n in (2, 3, 4, 5):
        monitor.on_step(step(n, 25))
    assert monitor.figures()["time left"] == "40 s"  # 5 steps in 10 seconds, 20 to go


def test_the_button_asks_for_a_stop_also_from_another_thread(monitor):
    assert monitor.on_step(step(1)) is False
    thread = threading.Thread(target=the(monitor, "al-stop").click)
    thread.start()
    thread.join()
    assert monitor.on_step(step(2)) is True
    assert "Stopping after this step" in status(monitor)


def test_after_the_training_there_is_nothing_to_stop(monitor):
    with monitor:
        monitor.on_step(step(100))
    assert the(monitor, "al-stop").disabled
    assert monitor.figures()["time left"] == "none"
    monitor.stop()
    assert not monitor.stopped
    assert "nothing to stop" in status(monitor)


def test_fit_stops_and_keeps_the_best_epoch():
    model, kept, score = reader(), {}, iter([3.0, 2.0, 1.0, 0.0])
    monitor = TrainingMonitor("A training")

    def note(row):
        kept[row["epoch"]] = digest(model)
        monitor(row)

    def on_step(row):
        if row["step"] == 6:
            monitor.stop()
        return monitor.on_step(row)

    with monitor:
        history = quick_fit(
            model, messages(32), validation=messages(8, 1), on_epoch=note, on_step=on_step, score=lambda *_: next(score)
        )
    assert (history.steps, history.best_epoch) == (6, 1)
    assert digest(model) == kept[1]
    assert monitor.said == "Stopped in step 6 of 16. The weights of epoch 1 are kept: score 3.000."


def test_an_error_of_the_training_is_said_and_goes_on_up(monitor):
    with pytest.raises(AgentLabError, match="no data"), monitor:
        raise AgentLabError("there is no data")
    assert "The training ended with an error: there is no data" in status(monitor)
    assert the(monitor, "al-stop").disabled


def test_the_handler_of_interrupts_is_as_before_afterwards(monitor):
    def mine(*_):
        raise AssertionError("the first interrupt is for the training, the second breaks off")

    before = signal.signal(signal.SIGINT, mine)
    try:
        with monitor:
            monitor._interrupted()
            assert monitor.on_step(step(1)) is True
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_small_picture_goes_down_with_the_loss_and_says_so():
    svg = loss_svg([(1, 2.0), (50, 1.0), (100, 0.5)], 100)
    heights = [float(p.split(",")[1]) for p in re.search(r'points="([^"]+)"', svg)[1].split()]
    assert heights == [10.0, 60.0, 85.0]
    assert 'aria-label="Line chart of the training loss: 2.00 in step 1, 0.50 in step 100 of 100."' in svg
    assert loss_svg([(1, 2.0)], 100) == ""


def test_where_nothing_runs_the_epochs_are_a_figure_and_the_last_step_a_table(capsys):
    monitor = TrainingMonitor("Our way.", score="accuracy")
    with pytest.raises(AgentLabError, match="nothing to show yet"):
        monitor.show()
    with monitor:
        monitor.on_step(step(100, loss=0.25))
        monitor({"epoch": 1, "train_loss": 0.5, "score": 0.9})
    monitor.show()
    out = capsys.readouterr().out
    assert "the training loss goes from 0.50 to 0.50, the score from 0.900 to 0.900" in out
    assert "Our way: the last step" in out
    assert "100 of 100" in out


def test_the_live_curve_says_what_it_shows(capsys):
    curve = ui.LiveCurve("A training.")
    with pytest.raises(AgentLabError, match="pass the curve as on_epoch"):
        curve.show()
    for epoch, (loss, score) in enumerate([(2.0, 0.5), (1.0, 0.7)], start=1):
        curve({"epoch": epoch, "train_loss": loss, "score": score})
    curve.show()
    said = capsys.readouterr().out
    assert "the training loss goes from 2.00 to 1.00, the score from 0.500 to 0.700" in said
    without = ui.LiveCurve("No validation.")
    without({"epoch": 1, "train_loss": 2.0})
    without.show()
    assert "score" not in capsys.readouterr().out.split("Two line charts")[1]
