"""A trace as HTML that unfolds, and the viewer of a whole trace."""

import html
import re

import pytest

from agentlab.corpus import Span
from agentlab.errors import AgentLabError
from agentlab.trace import ModelCall, Trace, TurnTrace
from agentlab.ui import TraceViewer
from agentlab.ui.traces import marked_html, slot_spans, turn_html
from tests.test_agent import ID, library, said
from tests.ui_widgets.test_chat import the

RULES = {"3.1": "A loan is renewed twice at most.", "1.1": "Ask for <b>card</b> and pin."}


@pytest.fixture
def trace():
    chat, _ = said(library(), f"renew B202, {ID}", "yes", "when are you open?")
    return chat.trace


def plain(page):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_a_turn_says_what_was_seen_decided_done_and_said(trace):
    page = plain(turn_html(trace.turns[1], RULES))
    assert "Behind reply 2:" in page
    assert "answer: yes" in page
    assert "call renew_loan(book_id='B202')" in page
    assert "rule 3.1: A loan is renewed twice at most." in page
    assert "Rule 3.1: A loan is renewed twice at most." in page  # what the tool said
    assert re.search(r"refused|failed", page)
    assert "Said by" in page


def test_values_are_underlined_where_they_stand_in_the_message(trace):
    page = turn_html(trace.turns[0])
    assert "<mark>B202</mark><sub> book_id </sub>" in page
    assert "<mark>1234</mark><sub> card </sub>" in page


def test_spans_of_a_model_are_underlined_instead_where_they_are_given(trace):
    page = turn_html(trace.turns[0], spans=[Span(0, 5, "remedy")])
    assert "<mark>renew</mark><sub> remedy </sub> B202" in page
    assert "<sub> book_id" not in page


def test_what_a_language_model_wrote_stands_with_its_cost():
    turn = TurnTrace(
        1, "hi", reply="Hello", source="model", models=[ModelCall("reply", "Hello <i>", 7, 12.0)], tokens=7
    )
    page = turn_html(turn)
    assert "reply: Hello &lt;i&gt; (7 tokens, 12 ms)" in page
    assert "by the language model, 7 tokens" in page
    assert "nothing that it could read" in page


@pytest.mark.parametrize(
    ("message", "slots", "found"),
    [
        ("it is 20411", {"order_id": "W20411"}, [(6, 11, "order_id")]),
        ("mail A@B.nl now", {"email": "a@b.nl"}, [(5, 11, "email")]),
        ("send 2 to 2b", {"quantity": 2}, [(5, 6, "quantity")]),
        ("Kerk  straat 9", {"street": "Kerk straat 9"}, [(0, 14, "street")]),
        ("nothing here", {"order_id": "W1", "opened": False, "address": {"city": "here"}, "empty": " "}, []),
        ("W1 W1", {"order_id": "W1", "other": "W1"}, [(0, 2, "order_id")]),
    ],
)
def test_values_are_found_in_the_message_as_people_write_them(message, slots, found):
    assert slot_spans(message, slots) == [Span(*f) for f in found]


def test_everything_is_escaped():
    page = marked_html("<1> <a> <b>", [Span(4, 7, "x<y")])
    assert page == "&lt;1&gt; <mark>&lt;a&gt;</mark><sub> x&lt;y </sub> &lt;b&gt;"


# --- the viewer ---


def test_the_viewer_goes_from_turn_to_turn(trace):
    viewer = TraceViewer(trace, RULES)
    assert viewer.widget
    assert "B202" in the(viewer, "al-trace").value
    viewer.go(3)
    assert "We are open from 9 to 17." in the(viewer, "al-trace").value
    assert viewer.said == "Turn 3 of 3."
    viewer._choice.value = 1
    assert viewer.number == 1
    with pytest.raises(AgentLabError, match="no turn 9: this trace has turns 1 to 3"):
        viewer.go(9)


def test_where_nothing_runs_a_table_shows_the_decisions(trace, capsys):
    TraceViewer(trace, caption="What it decided").show()
    out = capsys.readouterr().out
    assert "What it decided" in out
    assert "renew_loan" in out


def test_a_trace_without_a_turn_is_an_error():
    with pytest.raises(AgentLabError, match="no turn yet"):
        TraceViewer(Trace("c1"))
