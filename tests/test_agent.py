"""The agent's loop with a small domain of its own, a library: nothing of the shop is needed."""

import json
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentlab.agent import build_agent
from agentlab.decisions import Call, Confirm
from agentlab.domain import Domain
from agentlab.errors import AgentLabError, DataError, UnknownName
from agentlab.language import Scripted
from agentlab.perceive import Perceiver, Slot, choose_among, read_answer, segments
from agentlab.toolkit import WRITE, Retry, Toolbox, tool
from agentlab.trace import Trace

LIBRARY = {
    "name": "a library",
    "intents": {
        "find_loan": {"title": "see a loan", "steps": ["book_id", "find_loan()"], "done": "loan"},
        "renew": {"title": "renew a loan", "steps": ["book_id", "renew_loan()"], "done": "renewed", "refused": "renewal_refused"},
        "hours": {"title": "know the hours", "general": True, "steps": ["opening_hours()"], "done": "hours"},
    },
    "slots": {
        "card": {"pattern": r"\bcard (\d{4})\b", "shared": True, "ask": {"situation": "which_card"}},
        "pin": {"pattern": r"\bpin (\d{3})\b", "shared": True},
        "book_id": {"pattern": r"\b(B\d{3})\b", "upper": True, "ask": {"situation": "which_book"}},
    },
    "policy": {
        "hand_over": "call_librarian",
        "open_tools": ["check_card", "opening_hours", "call_librarian"],
        "without_yes": ["call_librarian"],
        "verification": {
            "tool": "check_card", "needs": ["card"], "one_of": ["pin"], "rule": "1.1", "failed_rule": "1.2",
            "facts": {k: {"situation": "which_card"} for k in ("first", "missing_need", "missing_proof", "again", "failed")},
        },
        "people": [{"rule": "5.1", "why": "asked", "reason": "Whoever asks for a librarian gets one.", "when": r"\blibrarian\b"}],
    },
    "small_talk": {"greeting": {"situation": "hello"}},
    "phrases": {
        "hello": "Hello, this is the library.",
        "loan": "{title} is due on {due}.",
        "renewed": "{title} is renewed until {due}.",
        "renewal_refused": "It cannot be renewed: {reason}.",
        "hours": "We are open {answer}.",
        "which_card": "Please give me your card and pin.",
        "which_book": "Which book do you mean?",
        "handed_over": "A librarian goes on.",
    },
}  # fmt: skip
WORDS = {"renew": "renew", "due": "find_loan", "loan": "find_loan", "open": "hours", "hello": "greeting", "moon": ""}


def understand(texts):
    """An understanding by keywords."""
    found = []
    for text in texts:
        intent = next((i for word, i in WORDS.items() if word in text.lower()), "hours")
        sure = 0.95 if any(w in text.lower() for w in WORDS) else 0.2
        scope = 0.0 if "moon" in text.lower() else 1.0
        found.append(
            SimpleNamespace(intent=intent, confidence=sure, scope=scope, in_scope=scope > 0.5, spans=(), others=())
        )
    return found


@dataclass
class Desk:
    """A library's books, and who is asking."""

    customer_id: str | None = None
    failed_attempts: int = 0
    books: dict = field(default_factory=lambda: {"B101": {"title": "Emma", "due": "1 July", "times": 0}, "B202": {"title": "Dune", "due": "3 July", "times": 2}})  # fmt: skip
    done: dict = field(default_factory=dict)
    tickets: list = field(default_factory=list)


def library_tools(desk):
    @tool
    def check_card(card: str, pin: str) -> dict:
        """Check who is asking.

        Args:
            card: the card's number
            pin: its pin
        """
        if (card, pin) != ("1234", "777"):
            desk.failed_attempts += 1
            raise Retry("They do not belong together. attempts left: 1.")
        desk.customer_id = card
        return {"verified": True}

    @tool(cached=False)
    def find_loan(book_id: str) -> dict:
        """Show a loan.

        Args:
            book_id: the book, such as B101
        """
        if book_id not in desk.books:
            raise Retry(f"There is no loan of {book_id}.")
        return desk.books[book_id]

    @tool(effect=WRITE)
    def renew_loan(book_id: str) -> dict:
        """Renew a loan.

        Args:
            book_id: the book, such as B101
        """
        from agentlab.toolkit import current_call

        key = current_call.get().idempotency_key
        if key in desk.done:
            return desk.done[key]
        book = desk.books[book_id]
        if book["times"] >= 2:
            raise AgentLabError("Rule 3.1: A loan is renewed twice at most.")
        book["times"] += 1
        book["due"] = "1 August"
        desk.done[key] = {"title": book["title"], "due": book["due"]}
        return desk.done[key]

    @tool
    def opening_hours() -> str:
        """Say when the library is open."""
        return "from 9 to 17"

    @tool(effect=WRITE)
    def call_librarian(reason: str, summary: str) -> dict:
        """Call a person.

        Args:
            reason: why
            summary: what was said
        """
        desk.tickets.append((reason, summary))
        return {"ticket": len(desk.tickets)}

    return Toolbox([check_card, find_loan, renew_loan, opening_hours, call_librarian])


def library(planner="rules", language=None, tools=library_tools, **options):
    return build_agent(tools, Domain.from_data(LIBRARY), understand, language, planner, new_session=Desk, **options)


def said(agent, *messages, session=None):
    chat = agent.conversation(session)
    return chat, [chat.send(m) for m in messages]


ID = "card 1234 and pin 777"


def test_a_question_that_needs_nobody_is_answered_at_once():
    _, [turn] = said(library(), "when are you open?")
    assert turn.reply == "We are open from 9 to 17."
    assert turn.asks is None
    assert not turn.handed_over


def test_nothing_personal_is_looked_up_before_the_card_was_checked():
    _, turns = said(library(), "when is B101 due?", ID)
    assert turns[0].asks == "card"
    assert [c.name for c in turns[0].trace.calls] == []
    assert turns[1].reply == "Emma is due on 1 July."
    assert [c.name for c in turns[1].trace.calls] == ["check_card", "find_loan"]


def test_a_write_is_read_back_and_done_only_after_a_yes():
    chat, turns = said(library(), f"please renew B101, {ID}", "yes")
    assert turns[0].asks == "confirm"
    assert turns[0].reply == "Please say yes if I should renew loan (book id B101)."
    assert chat.session.books["B101"]["times"] == 1
    assert turns[1].reply == "Emma is renewed until 1 August."


@pytest.mark.parametrize(
    "answer", ["no", "yes but another one", "hm", "what would it cost?", "ok if it is free", "yesterday", ""]
)
def test_what_is_no_clear_yes_changes_nothing(answer):
    chat, _ = said(library(), f"renew B101, {ID}", answer)
    assert chat.session.books["B101"]["times"] == 0


def test_a_changed_argument_is_read_back_again():
    chat, turns = said(library(), f"renew B202, {ID}", "sorry, B101, not B202", "yes")
    assert "B101" in turns[1].reply
    assert turns[1].asks == "confirm"
    assert chat.session.books["B101"]["times"] == 1


def test_a_yes_with_another_book_is_no_yes():
    chat, turns = said(library(), f"renew B202, {ID}", "yes, B101")
    assert turns[1].asks == "confirm"
    assert chat.session.books["B101"]["times"] == 0


def test_a_digression_is_answered_and_the_wish_taken_up_again():
    chat, turns = said(library(), f"renew B101, {ID}", "by the way, when are you open?", "yes")
    assert turns[1].reply == "We are open from 9 to 17. Please say yes if I should renew loan (book id B101)."
    assert chat.session.books["B101"]["times"] == 1


def test_never_mind_drops_the_wish():
    chat, turns = said(library(), f"renew B101, {ID}", "never mind", "yes")
    assert turns[1].reply == "All right, I leave it as it is."
    assert chat.session.books["B101"]["times"] == 0


def test_two_wishes_in_a_message_are_both_served():
    _, turns = said(library(), f"{ID}. When is B101 due, and when are you open?")
    assert "Emma is due on 1 July." in turns[0].reply
    assert "We are open from 9 to 17." in turns[0].reply


def test_a_refusal_gives_the_rules_words():
    _, turns = said(library(), f"renew B202, {ID}", "yes")
    assert turns[1].reply == "It cannot be renewed: a loan is renewed twice at most."
    assert turns[1].trace.decisions[-1].rules == ("3.1",)


def test_who_asks_for_a_person_gets_one_with_a_summary():
    chat, turns = said(library(), "I want to see a librarian")
    assert turns[0].handed_over
    assert turns[0].reply == "A librarian goes on."
    assert "I want to see a librarian" in chat.session.tickets[0][1]


def test_what_is_not_the_librarys_business_is_declined():
    _, turns = said(library(), "how far is the moon from here?")
    assert turns[0].reply == "I am sorry, but I cannot help with this."


def test_an_agent_that_gets_nowhere_says_so_and_hands_over():
    _, turns = said(library(), "when is it due?", *["dunno really"] * 6)
    assert any(t.handed_over for t in turns)
    assert all(t.reply for t in turns)


def test_conversations_in_parallel_do_not_mix():
    agent = library()
    results = {}

    def run(n):
        book = "B101" if n % 2 else "B202"
        _, turns = said(agent, "hello", f"when is {book} due? {ID}")
        results[n] = turns[-1].reply

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert results == {n: "Emma is due on 1 July." if n % 2 else "Dune is due on 3 July." for n in range(8)}


def test_a_tool_that_raises_or_hangs_ends_in_a_sentence():
    def broken(desk):
        @tool
        def opening_hours() -> str:
            """Say when the library is open."""
            time.sleep(30)

        others = [t for t in library_tools(desk) if t.name != "opening_hours"]
        return Toolbox([*others, opening_hours])

    began = time.perf_counter()
    _, turns = said(library(tools=broken, max_seconds=0.3), "when are you open?")
    assert time.perf_counter() - began < 5
    assert turns[0].reply


# --- trace ---


def test_a_trace_survives_json_and_decides_the_same_again():
    agent = library()
    chat, _ = said(agent, "hello", f"renew B101, {ID}", "when are you open?", "yes")
    trace = Trace.from_json(json.loads(json.dumps(chat.trace.to_json())))
    assert trace == chat.trace
    assert agent.replay(trace) == []
    assert "renew_loan" in trace.text()


def test_a_fork_says_what_another_threshold_would_have_done():
    agent = library()
    chat, _ = said(agent, "when are you open?")
    other = agent.fork(chat.trace, 1, {"threshold": 0.99})
    assert chat.trace.decisions[0].kind == "call"
    assert other.decisions[0].kind != "call"
    with pytest.raises(UnknownName, match="threshold"):
        agent.fork(chat.trace, 1, {"treshold": 1})


def test_a_conversation_goes_on_from_its_saved_trace(tmp_path):
    agent = library()
    chat, _ = said(agent, f"renew B101, {ID}")
    chat.trace.save(tmp_path / "talk.json")
    desk = Desk(books=chat.session.books)
    again = library().resume(Trace.load(tmp_path / "talk.json"), desk)
    turn = again.send("yes")
    assert turn.reply == "Emma is renewed until 1 August."
    assert desk.books["B101"]["times"] == 1


def test_a_write_that_was_done_before_the_process_died_is_not_done_twice(tmp_path):
    agent = library()
    chat, _ = said(agent, f"renew B101, {ID}")
    before = Trace.from_json(chat.trace.to_json())
    chat.send("yes")  # and the process dies before the trace was saved
    again = library().resume(before, Desk(books=chat.session.books, done=chat.session.done))
    assert again.send("yes").reply == "Emma is renewed until 1 August."
    assert chat.session.books["B101"]["times"] == 1


def test_a_broken_trace_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(DataError, match=r"t\.json: the trace cannot be read"):
        Trace.load(tmp_path / "t.json")
    with pytest.raises(DataError, match="this is no trace"):
        Trace.from_json({"a": 1})


# --- planners with a language model ---


def test_a_language_model_chooses_the_tool_and_the_policy_still_asks_for_a_yes():
    script = Scripted({"name": "renew_loan", "arguments": {"book_id": "B101"}})
    chat, turns = said(library("language", script), f"keep B101 a bit longer for me, {ID}", "yes")
    assert [type(d) for d in turns[0].trace.decisions] == [Call, Confirm]
    assert chat.session.books["B101"]["times"] == 1
    script.assert_used_up()


def test_an_identifier_that_the_model_invents_is_asked_for():
    script = Scripted({"name": "renew_loan", "arguments": {"book_id": "B999"}})
    _, turns = said(library("language", script), f"keep my book longer, {ID}", "B101", "yes")
    assert turns[0].asks == "book_id"
    assert "B101" in turns[1].reply
    assert turns[2].reply == "Emma is renewed until 1 August."


def test_the_hybrid_asks_the_model_only_where_the_understanding_is_unsure():
    with Scripted({"name": "opening_hours", "arguments": {}}) as script:
        _, turns = said(library("hybrid", script), "when are you open?", "can I come by at noon tomorrow?")
    assert [len(t.trace.models) for t in turns] == [0, 1]
    assert turns[1].reply == "We are open from 9 to 17."


def test_a_model_that_fails_leads_to_a_question():
    _, turns = said(library("hybrid", Scripted(RuntimeError("no memory"))), "can I come by at noon?")
    assert turns[0].reply == "I am sorry, I did not understand that. Could you say in other words what you need?"


def test_a_replay_needs_no_model():
    agent = library("hybrid", Scripted({"name": "opening_hours", "arguments": {}}))
    chat, _ = said(agent, "can I come by at noon tomorrow?")
    assert agent.replay(chat.trace) == []


def test_unknown_planners_and_settings_are_refused_by_name():
    with pytest.raises(UnknownName, match="planner 'hybird'"):
        library("hybird")
    with pytest.raises(UnknownName, match="setting 'treshold'"):
        library(treshold=1)


# --- reading ---


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("yes", ("yes", False)), ("Yes please!", ("yes", False)), ("YES", ("yes", False)), ("yep, do it", ("yes", False)),
        ("go ahead", ("yes", False)), ("ok", ("yes", False)), ("ok, go ahead", ("yes", False)), ("yes but not today", ("yes", True)),
        ("yes, if it is free", ("yes", True)), ("no", ("no", False)), ("no thanks", ("no", False)), ("nah", ("no", False)),
        ("I don't know", ("unknown", False)), ("yesterday it came", ("", False)), ("okay so where is it?", ("", False)),
        ("I said yes to the other thing", ("", False)), ("", ("", False)), ("nothing works", ("", False)),
    ],
)  # fmt: skip
def test_yes_and_no(text, answer):
    assert read_answer(text) == answer


def test_choices_are_found_by_value_place_and_words():
    choices = {"black TV": "P1", "white TV": "P2"}
    assert choose_among("P2 please", choices) == (True, "P2")
    assert choose_among("the first", choices) == (True, "P1")
    assert choose_among("not the black one, the white", choices) == (True, "P2")
    assert choose_among("the TV", choices) == (False, None)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_any_text_can_be_read(text):
    perceive = Perceiver(understand, {"a": Slot("a", pattern=r"\d+"), "b": Slot("b", values={"x": "x"})})
    assert perceive(text).text == text
    assert isinstance(segments(text), list)


WORDINGS = st.sampled_from(["yes", "no", "renew B101", "renew B202", "when is B101 due?", ID, "card 1", "never mind", "open?", "yes but no", "the other one", "B101", "dunno", "moon", "librarian", "", "\ud800\x00", "a" * 25_000])  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDINGS | st.text(max_size=40), max_size=9))
def test_whatever_is_said_no_write_comes_without_its_yes_and_every_turn_has_a_reply(messages):
    agent = library()
    chat, turns = said(agent, *messages)
    before = None
    for turn in turns:
        assert turn.reply
        writes = [c for c in turn.trace.calls if c.name == "renew_loan"]
        for call in writes:
            assert before is not None
            assert before.trace.decisions[-1].arguments == call.arguments
            assert turn.trace.percept.answer == "yes"
            assert not turn.trace.percept.hedged
        before = turn if turn.asks == "confirm" else None
    assert agent.replay(chat.trace) == []


# --- what leads nowhere ---


def test_a_question_that_the_customer_cannot_answer_asks_what_is_meant_and_the_wish_in_other_words_is_served():
    chat = library().conversation(Desk("1234"))
    assert chat.send("renew it please").asks == "book_id"
    chat.send("hm hm hm hm")
    turn = chat.send("hm hm hm hm")
    assert turn.asks == "intent"
    assert "misunderstood" in turn.reply
    assert "9 to 17" in chat.send("when do you open").reply


def test_what_is_meant_is_asked_once_for_a_wish_and_then_a_person_comes():
    chat = library().conversation(Desk("1234"))
    turns = [chat.send(text) for text in ("renew it please", *["hm hm hm hm"] * 4)]
    assert [t.asks for t in turns].count("intent") == 1
    assert any(t.handed_over for t in turns)


def test_a_wish_for_a_person_waits_for_the_other_wish_of_its_message():
    desk = Desk("1234")
    turn = library().conversation(desk).send("When is my loan of B101 due? And can a librarian tell me when you open?")
    assert "Emma is due on 1 July." in turn.reply
    assert turn.handed_over
    assert len(desk.tickets) == 1


def test_a_wish_for_a_person_does_not_wait_for_what_was_open_before():
    chat = library().conversation(Desk("1234"))
    assert chat.send("renew it please").asks == "book_id"
    assert chat.send("I want the librarian").handed_over
