"""A field whose text is answered, and sliders that redraw a figure."""

import re

import pytest

from agentlab import ui
from agentlab.errors import AgentLabError
from agentlab.show import new_figure


def answer(text):
    if text == "bad":
        raise AgentLabError("this text is <b>bad</b>")
    if text == "broken":
        raise KeyError("a fault of ours")
    return f"<i>{text}</i> read"


@pytest.fixture
def parts():
    field, button, status, _ = ui.play_widget("Message", answer, "hello").children
    return field, button, status


def said(status):
    """What a status line says; it has to be one that a screen reader reads out."""
    (text,) = re.findall(r'<div role="status" aria-live="polite"[^>]*>(.*)</div>', status.value)
    return text


def press(parts, text):
    field, button, status = parts
    field.value = text
    button.click()
    return said(status)


def test_the_widget_answers_and_escapes(parts):
    assert parts[0].value == "hello"
    assert press(parts, "hello") == "<b>Result:</b> &lt;i&gt;hello&lt;/i&gt; read"
    assert not parts[1].disabled


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("  \n", "The field is empty"),
        ("x" * 2001, "That is 2001 characters; at most 2000"),
        ("bad", "this text is &lt;b&gt;bad&lt;/b&gt;"),
    ],
)
def test_input_that_cannot_be_answered_is_a_sentence(parts, text, what):
    assert what in press(parts, text)
    assert not parts[1].disabled
    assert "Result" in press(parts, "and on it goes")


def test_a_fault_of_ours_is_not_hidden_and_the_button_lives(parts):
    assert "failed or was stopped" in press(parts, "broken")  # ipywidgets itself logs the traceback
    assert not parts[1].disabled
    assert "Result" in press(parts, "next")


def test_where_nothing_runs_a_table_shows_the_examples(capsys):
    ui.play("Message", answer, ["one", "two"], "What it reads")
    shown = capsys.readouterr().out
    assert "What it reads" in shown
    assert "<i>one</i> read" in shown
    assert "<i>two</i> read" in shown


def draw(height, rate):
    if rate > 3:
        raise AgentLabError("that rate is too large")
    figure, ax = new_figure(2, 2)
    ax.plot([0, height])
    return (
        figure,
        f"Line chart of one line that rises from zero to {height:g} at rate {rate:g}.",
        f"It rises to {height:g}.",
    )


SLIDERS = {"height": ui.Slider(0, 5, 1, 2), "rate": ui.Slider(0, 4, 0.5, 1)}


def test_sliders_redraw_the_figure_and_say_what_it_shows():
    height, rate, picture, status, _ = ui.explore_widget(draw, SLIDERS).children
    assert (height.value, rate.value) == (2, 1)
    assert "rises from zero to 2 at" in picture.value
    height.value = 4
    assert "rises from zero to 4 at" in picture.value
    assert "It rises to 4." in said(status)
    assert [s.description for s in (height, rate)] == ["height", "rate"]


def test_a_value_that_cannot_be_drawn_is_a_sentence_and_the_old_figure_stays():
    _, rate, picture, status, _ = ui.explore_widget(draw, SLIDERS).children
    before = picture.value
    rate.value = 4
    assert "that rate is too large" in said(status)
    assert picture.value == before


def test_where_nothing_runs_the_figure_stands_as_at_the_start(capsys):
    ui.explore(draw, SLIDERS, "One line.")
    assert "from zero to 2" in capsys.readouterr().out
