"""The chat panel by its methods, and by what a page sends: clicks, and Enter in the field."""

import base64
import itertools
import json
import re
import time
from types import SimpleNamespace

import pytest

from agentlab import feedback
from agentlab.corpus import Span
from agentlab.errors import AgentLabError, UnknownName
from agentlab.trace import Trace, TurnTrace
from agentlab.ui import ChatPanel
from tests.test_agent import ID, library

HOURS = "when are you open?"
RENEW = f"please renew B101, {ID}"


@pytest.fixture
def panel():
    made = ChatPanel(library(), [HOURS, RENEW], rules={"3.1": "A loan is renewed <twice> at most."})
    assert made.widget is made.widget
    return made


class Odd:
    """An agent that answers what it is told to."""

    def __init__(self, *replies):
        self.replies = list(replies)

    def conversation(self):
        self.trace = Trace("odd")
        return self

    def send(self, text):
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        self.trace.turns.append(TurnTrace(len(self.trace.turns) + 1, text, reply=reply))
        return self.trace.turns[-1]


def inside(widget, css_class):
    """All widgets with a class, in order."""
    found = [widget] if css_class in getattr(widget, "_dom_classes", ()) else []
    return found + [w for child in getattr(widget, "children", ()) for w in inside(child, css_class)]


def the(panel, css_class):
    (one,) = inside(panel.widget, css_class)
    return one


def page(panel):
    """All HTML of the log."""
    return "\n".join(w.value for w in all_html(the(panel, "al-log")))


def all_html(widget):
    found = [widget] if type(widget).__name__ == "HTML" else []
    return found + [w for child in getattr(widget, "children", ()) for w in all_html(child)]


def type_and_enter(panel, text, synced_before=False):
    """What a page sends: the key, then the value; or the value when the field was left, and later the key."""
    field = the(panel, "al-input")
    if synced_before:
        field.value = text
        field._handle_custom_msg({"event": "submit"}, [])
    else:
        field._handle_custom_msg({"event": "submit"}, [])
        field.value = text


# --- a conversation ---


def test_a_message_gets_its_reply_and_what_is_behind_it(panel):
    turn = panel.send(HOURS)
    assert turn.reply == "We are open from 9 to 17."
    shown = page(panel)
    assert "<b>You</b>when are you open?" in shown
    assert "<b>Agent</b>We are open from 9 to 17." in shown
    assert "<summary>Behind reply 1: call, answer;" in shown
    assert "opening_hours()" in shown
    assert "The agent answered: We are open from 9 to 17." in the(panel, "al-status").value


def test_the_message_stands_there_before_the_agent_has_answered():
    class Slow(Odd):
        def send(self, text):
            seen.append((page(panel), the(panel, "al-status").value, the(panel, "al-send").disabled))
            return super().send(text)

    seen, panel = [], ChatPanel(Slow("done"))
    assert panel.widget
    panel.send("are you there?")
    [(shown, status, locked)] = seen
    assert "are you there?" in shown
    assert "The agent is answering" in status
    assert locked
    assert not the(panel, "al-send").disabled


def test_a_reply_comes_piece_by_piece_and_in_the_end_whole():
    words = " ".join(f"word{n}" for n in range(60))
    panel = ChatPanel(Odd(words), pace=0.001)
    assert panel.widget
    values = []

    def seen(change):
        values.append(change["new"])

    import ipywidgets

    made = ipywidgets.HTML.__init__

    def watched(self, *arguments, **options):
        made(self, *arguments, **options)
        self.observe(seen, names="value")

    ipywidgets.HTML.__init__ = watched
    try:
        panel.send("tell me")
    finally:
        ipywidgets.HTML.__init__ = made
    pieces = [v for v in values if "word0" in v]
    assert 15 <= len(pieces) <= 26
    assert all(len(a) < len(b) for a, b in itertools.pairwise(pieces))
    assert pieces[-1].endswith(f"{words}</div>")


@pytest.mark.parametrize("text", ["", "  \n", "x" * 2001])
def test_a_message_that_cannot_be_sent_is_a_sentence_and_stays_in_the_field(panel, text):
    with pytest.raises(AgentLabError, match=r"is empty|2001 characters; at most 2000"):
        panel.send(text)
    the(panel, "al-input").value = text
    the(panel, "al-send").click()
    assert "That did not work: The message" in the(panel, "al-status").value
    assert the(panel, "al-input").value == text
    assert panel.turns == []


def test_what_people_and_tools_write_is_escaped():
    nasty = "<script>alert(1)</script>"
    panel = ChatPanel(library(), [nasty])
    assert panel.widget
    panel.send(f"{nasty} renew B999{nasty}, {ID}")
    panel.send("yes")
    everything = "\n".join(w.value for w in all_html(panel.widget))
    assert "<script>" not in everything
    assert "&lt;script&gt;" in everything


def test_an_agent_that_fails_is_shown_and_the_panel_lives(a_fault_is_expected):
    panel = ChatPanel(Odd(KeyError("a fault of <ours>"), "better"))
    assert panel.widget
    type_and_enter_safely(panel, "first")
    assert "That failed, and it is not your fault (KeyError: &#x27;a fault of &lt;ours&gt;&#x27;)" in the(panel, "al-status").value  # fmt: skip
    assert "(no answer: something failed)" in page(panel)
    assert not the(panel, "al-send").disabled
    type_and_enter(panel, "second")
    assert "<b>Agent</b>better" in page(panel)


def type_and_enter_safely(panel, text):
    with pytest.raises(KeyError):
        type_and_enter(panel, text)


# --- keys and clicks ---


@pytest.mark.parametrize("synced_before", [False, True])
def test_enter_sends_what_was_typed_and_empties_the_field(panel, synced_before):
    type_and_enter(panel, HOURS, synced_before)
    assert [t.trace.message for t in panel.turns] == [HOURS]
    assert the(panel, "al-input").value == ""
    type_and_enter(panel, "hello", synced_before)
    assert len(panel.turns) == 2


def test_leaving_the_field_sends_nothing(panel):
    the(panel, "al-input").value = "not yet"
    assert panel.turns == []


def test_in_a_kernel_the_value_that_comes_after_the_key_is_the_one_that_is_sent(panel):
    import asyncio

    async def page_sends():
        field = the(panel, "al-input")
        field.value = "when are you"  # the field was left once, and then gone on with
        field._handle_custom_msg({"event": "submit"}, [])
        field.value = HOURS
        await asyncio.sleep(0.3)

    asyncio.run(page_sends())
    assert [t.trace.message for t in panel.turns] == [HOURS]


def test_in_a_kernel_enter_alone_sends_what_was_typed_before(panel):
    import asyncio

    async def page_sends():
        field = the(panel, "al-input")
        field.value = HOURS
        field._handle_custom_msg({"event": "submit"}, [])
        assert panel.turns == []
        await asyncio.sleep(0.3)

    asyncio.run(page_sends())
    assert [t.trace.message for t in panel.turns] == [HOURS]


def test_an_example_is_said_with_a_click(panel):
    first, second = inside(panel.widget, "al-example")
    assert (first.description, second.description) == (HOURS, RENEW)
    first.click()
    assert panel.turns[0].trace.message == HOURS


def test_yes_and_no_are_there_only_where_the_agent_waits(panel):
    yes, no = the(panel, "al-yes"), the(panel, "al-no")
    asks = panel._asks.layout
    assert (yes.disabled, no.disabled, asks.display) == (True, True, "none")
    with pytest.raises(AgentLabError, match="nothing to say yes to"):
        panel.yes()
    panel.send(RENEW)
    assert (yes.disabled, no.disabled, asks.display) == (False, False, None)
    yes.click()
    assert panel.turns[-1].reply == "Emma is renewed until 1 August."
    assert (yes.disabled, asks.display) == (True, "none")


def test_no_changes_nothing(panel):
    panel.send(RENEW)
    the(panel, "al-no").click()
    assert panel.turns[-1].reply == "All right, I leave it as it is."
    assert panel.talk.session.books["B101"]["times"] == 0


def test_a_new_conversation_knows_nothing_of_the_old_one(panel):
    panel.send(RENEW)
    the(panel, "al-new").click()
    assert page(panel) == ""
    assert panel.transcript() == []
    assert not panel.waits
    assert panel.send(f"is B101 due? {ID}").reply == "Emma is due on 1 July."


def test_every_control_has_a_label(panel):
    panel.send(RENEW)
    controls = [w for w in everything(panel.widget) if hasattr(w, "disabled")]
    assert len(controls) > 10
    for control in controls:
        assert control.description.strip() or control.tooltip, control


def everything(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from everything(child)


def test_a_panel_shown_late_has_what_was_said_before():
    panel = ChatPanel(library())
    panel.send(HOURS)
    assert "We are open from 9 to 17." in page(panel)
    assert len(inside(panel.widget, "al-trace")) == 1


# --- what is kept ---


def test_the_transcript_has_a_row_per_turn(panel):
    panel.send(RENEW)
    panel.yes()
    rows = panel.transcript()
    assert [r["customer"] for r in rows] == [RENEW, "Yes"]
    assert rows[0]["decided"] == "call check_card(card='1234', pin='777'); confirm renew_loan(book_id='B101')"
    assert rows[1]["agent"] == "Emma is renewed until 1 August."


def test_the_export_as_json_can_be_read_back_as_a_trace(panel):
    panel.send(HOURS)
    data = json.loads(panel.export("json"))
    assert Trace.from_json(data["trace"]).turns[0].reply == "We are open from 9 to 17."
    assert panel.export() == f"Customer: {HOURS}\nAgent: We are open from 9 to 17."
    with pytest.raises(AgentLabError, match="as text or json, not as 'pdf'"):
        panel.export("pdf")


def test_the_links_hold_the_export(panel):
    assert the(panel, "al-export").value == ""
    panel.send("ünïcode <b> open?")
    links = re.findall(r'download="([^"]+)" href="data:[^,]+;base64,([^"]+)"', the(panel, "al-export").value)
    assert {name: base64.b64decode(data).decode() for name, data in links} == {
        "conversation.txt": panel.export("text"),
        "conversation.json": panel.export("json"),
    }


def test_where_nothing_runs_the_examples_are_said_and_the_transcript_stays(capsys):
    ChatPanel(library(), [HOURS, RENEW, "yes"], caption="A talk").show()
    out = capsys.readouterr().out
    assert out.startswith("A talk")
    assert "We are open from 9 to 17." in out
    assert "Emma is renewed until 1 August." in out
    with pytest.raises(AgentLabError, match="give examples, or send a message"):
        ChatPanel(library()).show()


# --- corrections ---


class Marks:
    """An agent that takes any message for a renewal, and marks its first word."""

    def __init__(self):
        self.agent = library()
        self.perceive = SimpleNamespace(understand=lambda texts: [SimpleNamespace(spans=(Span(0, 6, "remedy"),))])

    def conversation(self):
        return self.agent.conversation()


@pytest.fixture
def corrected(monkeypatch, tmp_path):
    monkeypatch.setattr(feedback, "known_intents", lambda: frozenset({"renew", "hours", "cancel_order"}))
    monkeypatch.setattr(feedback, "held_out", dict)
    journal = feedback.Journal(tmp_path / "journal.jsonl")
    panel = ChatPanel(Marks(), journal=journal)
    assert panel.widget
    panel.send(f"extend my book B101 please, {ID}")
    return panel


def test_a_correction_is_checked_and_kept_in_the_journal(corrected):
    made = corrected.correct(1, by="Anna", intent="renew")
    assert [c.intent for c in corrected.journal] == ["renew"]
    assert corrected.corrections == [made]
    with pytest.raises(UnknownName, match="Unknown intent 'renw'"):
        corrected.correct(1, by="Anna", intent="renw")
    assert json.loads(corrected.export("json"))["corrections"][0]["by"] == "Anna"


def test_the_form_opens_for_its_turn_and_makes_the_correction(corrected):
    form = corrected._corrector
    assert form.box.layout.display == "none"
    the(corrected, "al-correct").click()
    assert form.box.layout.display is None
    assert "Turn 1:" in form.title.value
    form.intent.value, form.by.value, form.note.value = "renew", "Anna", "said extend"
    the(corrected, "al-keep").click()
    (kept,) = corrected.journal
    assert (kept.intent, kept.by, kept.note, kept.spans) == ("renew", "Anna", "said extend", None)
    assert form.box.layout.display == "none"
    assert f"Kept correction {kept.id} of turn 1." in the(corrected, "al-status").value


def test_a_form_without_a_name_says_so_and_stays_open(corrected):
    the(corrected, "al-correct").click()
    corrected._corrector.intent.value = "renew"
    the(corrected, "al-keep").click()
    assert "needs the name of the person" in the(corrected, "al-status").value
    assert corrected._corrector.box.layout.display is None
    assert list(corrected.journal) == []


def test_spans_are_corrected_from_what_the_model_marked(corrected):
    the(corrected, "al-correct").click()
    form = corrected._corrector
    form.spans_too.value = True
    assert form.editor.spans == (Span(0, 6, "remedy"),)
    form.editor.mark("book", "product")
    form.intent.value, form.by.value = "renew", "Anna"
    the(corrected, "al-keep").click()
    (kept,) = corrected.journal
    assert [kept.message[s.start : s.end] for s in kept.spans] == ["extend", "book"]


def test_a_customer_has_no_form_to_correct():
    panel = ChatPanel(library(), corrections=False)
    assert panel.widget
    panel.send(HOURS)
    assert inside(panel.widget, "al-correct") == inside(panel.widget, "al-keep") == []


def test_a_turn_costs_the_panel_next_to_nothing(panel):
    began = time.perf_counter()
    for _ in range(20):
        panel.send(HOURS)
    mine = sum(t.trace.ms for t in panel.turns) / 1000
    assert (time.perf_counter() - began - mine) / 20 < 0.1
