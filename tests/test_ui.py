import pytest

from agentlab import ui
from agentlab.errors import AgentLabError


def answer(text):
    if text == "bad":
        raise AgentLabError("this text is <b>bad</b>")
    if text == "broken":
        raise KeyError("a fault of ours")
    return f"<i>{text}</i> read"


@pytest.fixture
def parts():
    field, button, status = ui.play_widget("Message", answer, "hello").children
    return field, button, status


def press(parts, text):
    field, button, status = parts
    field.value = text
    button.click()
    return status.value


def test_the_widget_answers_and_escapes(parts):
    assert parts[0].value == "hello"
    assert press(parts, "hello") == '<div role="status"><b>Result:</b> &lt;i&gt;hello&lt;/i&gt; read</div>'
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
