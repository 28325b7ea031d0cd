"""Corrections, the personal data in them, the journal, what is learned from them, and the gate."""

import datetime as dt
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from agentlab import corpus, evaluate, feedback, trials, understand
from agentlab.corpus import OUT_OF_SCOPE, Message, Span
from agentlab.decisions import Answer, Ask, Call, Confirm
from agentlab.errors import AgentLabError, DataError, UnknownName
from agentlab.feedback import Correction, Journal, MadeUp, as_messages, correct, gate, personal, retrain, sign_flip
from agentlab.finetune import Config
from agentlab.perceive import Percept, Sighting
from agentlab.shop.desk import Session
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools
from agentlab.toolkit import Toolbox, tool
from agentlab.trace import ToolCall, Trace, TurnTrace
from tests.visits import planned

TEXT = "my Sony headset from #W20417 broke, I am Anna Nowak"
WHEN = dt.datetime(2026, 6, 15, 14, tzinfo=dt.timezone(dt.timedelta(hours=2)))


def turn(number, text, *intents, **fields):
    seen = tuple(Sighting(intent, 0.6, text) for intent in intents)
    return TurnTrace(number, text, Percept(text, seen, in_scope=bool(intents)), **fields)


def trace_of(*texts, intent="return_item", **fields):
    return Trace("c1", turns=[turn(n, text, intent, **fields) for n, text in enumerate(texts, 1)])


def corrected(text, intent="report_fault", by="Mia Sund", conversation="c1", **fields):
    """A correction whose text has been looked after already."""
    return Correction(conversation, fields.pop("turn", 1), text, by, intent, **fields)


@tool
def find_order(order_id: str) -> dict:
    """Find an order.

    Args:
        order_id: the order, such as W20417
    """


# --- a correction --------------------------------------------------------------------------------------------


def test_a_correction_says_what_would_have_been_right():
    spans = [("Sony headset", "product"), ("#W20417", "order_id"), ("Anna Nowak", "person"), ("broke", "problem")]
    call = ("find_order", {"order_id": "W20417"})
    c = correct(
        trace_of("hello", TEXT), 2, by=" Mia Sund ", intent="report_fault", spans=spans, action=call,
        reply="I am sorry, Anna. Is it order W20417?", note="Anna was angry", at=WHEN,
    )  # fmt: skip
    assert (c.conversation, c.turn, c.by, c.intent, c.at) == (
        "c1",
        2,
        "Mia Sund",
        "report_fault",
        "2026-06-15T12:00:00+00:00",
    )
    words = {s.type: c.message[s.start : s.end] for s in c.spans}
    assert words["product"] == "Sony headset"
    assert words["problem"] == "broke"
    assert c.message == f"my Sony headset from {words['order_id']} broke, I am {words['person']}"
    assert re.fullmatch(r"#W\d{5}", words["order_id"])
    number, first = words["order_id"].removeprefix("#"), words["person"].split()[0]
    assert c.action == {"name": "find_order", "arguments": {"order_id": number}}
    assert c.reply == f"I am sorry, {first}. Is it order {number}?"
    assert c.note == f"{first} was angry"
    everything = json.dumps([c.message, c.action, c.reply, c.note])
    assert not any(word in everything for word in ("Anna", "Nowak", "20417"))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"intent": "report_falt"}, r"Unknown intent 'report_falt'\. Did you mean 'report_fault'\?"),
        ({"intent": "report_fault", "intents": ["renew", "hours"]}, "Available: hours, renew"),
        ({"intent": "report_fault", "spans": [("Sony headphones", "product")]}, "The words 'Sony headphones' do not stand in"),
        ({"intent": "report_fault", "spans": [("headst", "product")]}, "Did you mean 'headset'"),
        ({"intent": "report_fault", "spans": [("", "product")]}, "The words '' do not stand in"),
        ({"intent": "report_fault", "spans": [("headset", "prodct")]}, r"Unknown span type 'prodct'\. Did you mean 'product'\?"),
        ({"intent": "report_fault", "spans": [("Sony headset", "product"), ("headset", "product")]}, "'Sony headset' and 'headset' overlap"),
        ({"intent": "report_fault", "spans": ["headset"]}, "A span is given as its words and its type"),
        ({"intent": "report_fault", "by": None}, "The by of a correction is a text; this is None"),
        ({"intent": "report_fault", "note": "\ud800"}, "is no text or JSON"),
        ({"action": ("find_order", {"order_id": {1}})}, "is no text or JSON"),
        ({"intent": "report_fault", "spans": [Span(3, 99, "product")]}, "The span 3 to 99 is no words of"),
        ({"intent": "report_fault", "spans": [Span(2, 7, "product")]}, "The span 2 to 7 is no words of"),
        ({}, "says nothing"),
        ({"note": "hm"}, "says nothing"),
        ({"reply": "  "}, "says nothing"),
        ({"intent": "report_fault", "by": " "}, "needs the name of the person"),
        ({"intent": "return_item"}, "changes nothing: the agent did all of that"),
        ({"reply": "I see. "}, "changes nothing"),
        ({"action": "ask"}, "changes nothing"),
        ({"action": ("find_order", {"order_id": "W20417"})}, "changes nothing"),
        ({"action": ("return_item", {"order_id": "W20417"}), "intent": "return_item"}, "changes nothing"),
        ({"action": "aks"}, "The action 'aks' is neither 'ask' nor 'hand over' nor a call such as"),
        ({"action": ("find_ordr", {"order_id": "W1"}), "tools": Toolbox([find_order])}, "no tool 'find_ordr'. Did you mean 'find_order'"),
        ({"action": ("find_order", {"order": "W1"}), "tools": Toolbox([find_order])}, "The action cannot be right: .*order_id"),
        ({"reply": "x" * 2001}, "The reply has 2001 characters; a correction takes 2000 at most"),
        ({"intent": "report_fault", "note": "x" * 1001}, "The note has 1001 characters"),
        ({"intent": "report_fault", "by": "x" * 81}, "The by has 81 characters"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_a_sentence(given, what):
    about = {
        "decisions": [Call("find_order", {"order_id": "W20417"}), Ask("reason"), Confirm("return_item", {"order_id": "W20417"})],
        "calls": [ToolCall("find_order", {"order_id": "W20417"}, "ok")], "reply": "I see.",
    }  # fmt: skip
    with pytest.raises(AgentLabError, match=what):
        correct(trace_of(TEXT, **about), 1, **{"by": "Mia Sund"} | given)


@pytest.mark.parametrize("number", [0, -1, 3, "1"])
def test_a_turn_that_does_not_exist_is_refused(number):
    with pytest.raises(AgentLabError, match=rf"There is no turn {number!r}: the conversation c1 has turns 1 to 2\."):
        correct(trace_of("a", "b"), number, by="Mia", intent="report_fault")
    with pytest.raises(AgentLabError, match="has no turns"):
        correct(Trace("c1"), 1, by="Mia", intent="report_fault")


def test_a_message_that_is_too_long_or_empty_is_refused():
    with pytest.raises(AgentLabError, match="The message has 2001 characters"):
        correct(trace_of("x" * 2001), 1, by="Mia", intent="report_fault")
    with pytest.raises(AgentLabError, match="The message of turn 1 is empty"):
        correct(trace_of(""), 1, by="Mia", intent="report_fault")
    assert correct(trace_of(""), 1, by="Mia", action="ask").action == "ask"


def test_one_thing_that_is_new_is_enough():
    same = {"intent": "return_item", "action": "hand over", "reply": "I see."}
    trace = trace_of(TEXT, handed_over=True, reply="I see.")
    with pytest.raises(AgentLabError, match="changes nothing"):
        correct(trace, 1, by="Mia", **same)
    for name, other in (("intent", "exchange_item"), ("action", "ask"), ("reply", "Oh.")):
        assert getattr(correct(trace, 1, by="Mia", **same | {name: other}), name) == other


def test_that_a_message_is_not_for_us_can_be_said():
    assert correct(trace_of("sing me a song of the sea"), 1, by="Mia", intent=OUT_OF_SCOPE).intent == OUT_OF_SCOPE
    outside = Trace("c1", turns=[turn(1, "my lamp hums since it rained")])
    with pytest.raises(AgentLabError, match="changes nothing"):
        correct(outside, 1, by="Mia", intent=OUT_OF_SCOPE)
    assert correct(outside, 1, by="Mia", intent="report_fault").intent == "report_fault"


def test_spans_alone_say_that_the_intent_that_was_seen_was_right():
    c = correct(trace_of("the hinge of it wobbles"), 1, by="Mia", spans=[("wobbles", "problem")])
    assert (c.intent, c.spans) == ("return_item", (Span(16, 23, "problem"),))
    two = Trace("c1", turns=[turn(1, "send it back or mend it", "return_item", "report_fault")])
    with pytest.raises(AgentLabError, match="In turn 1 the agent saw report_fault and return_item: say the right one"):
        correct(two, 1, by="Mia", spans=[])


def test_words_that_stand_there_twice_are_found_one_after_the_other():
    c = correct(trace_of("two cables, not two lamps and no twofold plug"), 1, by="Mia", intent="change_order_items", spans=[("two", "quantity"), ("two", "quantity")])  # fmt: skip
    assert c.spans == (Span(0, 3, "quantity"), Span(16, 19, "quantity"))
    with pytest.raises(AgentLabError, match="overlap"):
        correct(trace_of("two cables"), 1, by="Mia", intent="change_order_items", spans=[("two", "quantity")] * 2)


def test_labels_of_a_message_that_figures_rest_on_are_refused_and_a_better_reply_is_not():
    for text, where in (
        (corpus.support().test[0].text, "the test part of the corpus"),
        (corpus.support().challenge[0].text, "the challenge set"),
        ("  PARDON: I swapped two digits, W39999", "the scenario test_tablet_numbers_swapped of the test part"),
    ):
        with pytest.raises(AgentLabError, match=where):
            correct(trace_of(text), 1, by="Mia", intent="discount_code")
        assert correct(trace_of(text), 1, by="Mia", reply="Here you are.").reply


# --- personal data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "gone", "shape"),
    [
        ("write to anna.nowak91@mail.example please", ("anna", "nowak", "91", "mail"), r"write to [a-z]+\.[a-z]+\d\d@example\.\w+ please"),
        ("call +49 171 5550 923 or 0176 5550192", ("171", "923", "0176", "0192"), r"call \+49 \d{3} \d{4} \d{3} or 0\d{3} \d{7}"),
        ("my name is Anna Nowak, hello", ("Anna", "Nowak"), r"my name is [A-Z][a-z]+ [A-Z][a-z]+, hello"),
        ("Mrs Konstanze von Ahlen wrote", ("Konstanze", "Ahlen"), r"Mrs [A-Z][a-z]+ von [A-Z][a-z]+ wrote"),
        ("It broke. Kind regards, Siobhán O'Hanrahan", ("Siob", "Hanrahan"), r"It broke\. Kind regards, [A-Z][a-z]+ [A-Z]'[A-Z][a-z]+"),
        ("the box went to Zbyněk next door", ("Zbyn",), r"the box went to [A-Z][a-z]+ next door"),
        ("send it to Hauptstraße 55, 8010 Graz, Austria", ("Haupt", "55", "8010", "Graz"), r"send it to \w+straße \d\d, \d{4} \w+, Austria"),
        ("I live at 14 Quay Street, Dublin now", ("14", "Dublin"), r"I live at \d\d Quay Street, [A-Z][a-z]+ now"),
        ("12 rue Paradis, 13001 Marseille", ("12", "Paradis", "13001", "Marseille"), r"\d\d rue [A-Z][a-z]+, \d{5} [A-Z][a-z]+"),
        ("postcode is 2516 LM", ("2516", "LM"), r"postcode is \d{4} [A-Z]{2}"),
        ("where is #W20417, or w 88120, order 30561", ("20417", "88120", "30561"), r"where is #W\d{5}, or w \d{5}, order \d{5}"),
        ("parcel JD0146000087732194", ("0146000087732194",), r"parcel JD\d{16}"),
    ],
)  # fmt: skip
def test_personal_data_become_made_up_ones_of_the_same_shape(text, gone, shape):
    made = MadeUp("0").text(text)[0]
    assert not any(word in made for word in gone), made
    assert re.fullmatch(shape, made), made


@pytest.mark.parametrize(
    "text",
    [
        "it cost 1299.00 euros on 01.02.2024 and 2024-06-16", "error 0x80070057 on the 55 inch TV", "I am furious since Monday",
        "my Sony headset and two HDMI cables, 256 GB", "I'm still waiting, this is odd", "WHERE IS MY PARCEL, I AM ANGRY", "2 parcels on the way", "",
    ],
)  # fmt: skip
def test_what_is_not_personal_stays(text):
    assert MadeUp("0").text(text) == (text, None)


def test_nearly_all_personal_data_of_unseen_messages_are_found_without_marks():
    found, all_of = {}, {}
    for message in [*corpus.support().split("test", "all"), *corpus.support().challenge]:
        covered = {place for start, end, _ in personal(message.text) for place in range(start, end)}
        for s in message.spans:
            words = {s.start + m.start() for m in re.finditer(r"[^\W_]", message.span_text(s))}
            all_of[s.type] = all_of.get(s.type, 0) + 1
            found[s.type] = found.get(s.type, 0) + (words <= covered)
    share = {kind: found[kind] / all_of[kind] for kind in all_of}
    print({kind: (round(share[kind], 3), all_of[kind]) for kind in feedback.KINDS if kind in all_of})
    assert share["email"] == share["phone"] == share["order_id"] == share["tracking_number"] == 1
    assert share["person"] > 0.8  # titles and firms count as missed
    assert share["product"] < 0.05


def test_what_was_marked_as_a_product_is_no_name_and_an_address_in_it_is_still_hidden():
    text = "my Brother HL-2350 shows ask zoe.lind@mail.example"
    spans = (Span(3, 18, "product"), Span(25, 50, "error_code"))
    made, moved = MadeUp("0").text(text, spans)
    assert made.startswith("my Brother HL-2350 shows ask ")
    assert "zoe" not in made
    assert [s.type for s in moved] == ["product", "error_code"]
    assert moved[1] == Span(25, len(made), "error_code")


def test_what_the_tools_know_of_the_customer_is_found_in_small_letters_too_and_products_are_not():
    box = shop_tools(Store.sample(), Session("C1007"))
    calls = [
        ToolCall(name, a, "ok", box.call(name, a).value)
        for name, a in (("find_customer", {}), ("find_order", {"order_id": "W20417"}))
    ]
    person, item = calls[0].value, calls[1].value["items"][0]["name"]
    trace = Trace(
        "c1",
        turns=[
            turn(1, f"{person['name'].lower()} here, from {person['city']}: {item} is odd", "greeting", calls=calls)
        ],
    )
    c = correct(trace, 1, by="Mia", intent="report_fault")
    assert item in c.message
    assert not any(word.lower() in c.message.lower() for word in [*person["name"].split(), person["city"]])


def test_what_stands_for_the_same_is_the_same_in_message_reply_note_and_arguments():
    text = "anna.k@mail.example or ANNA.K@mail.example, Anna K. of W20417"
    c = correct(
        trace_of(text), 1, by="Mia", intent="track_order", reply="Is it anna.k@mail.example?", note="#20417",
        action=("find", {"email": "anna.k@mail.example", "recipient": "anna", "inner": [{"order_id": "W20417"}], "n": 20417}),
    )  # fmt: skip
    first, _, second = c.message.split()[:3]
    assert first == second.rstrip(",").lower()
    assert c.reply == f"Is it {first}?"
    assert c.action["arguments"]["email"] == first
    assert c.action["arguments"]["recipient"] == first.split(".")[0]
    number = c.message[-5:]
    assert (c.note, c.action["arguments"]["inner"]) == (f"#{number}", [{"order_id": f"W{number}"}])


def test_places_of_spans_are_those_of_the_message_as_it_was_written():
    trace = trace_of("my  lamp\nhums   at dusk")
    c = correct(trace, 1, by="Mia", intent="report_fault", spans=[Span(4, 8, "product"), ("hums at", "problem")])
    assert [c.message[s.start : s.end] for s in c.spans] == ["lamp", "hums   at"]


def test_the_same_seed_makes_up_the_same_and_tells_nothing_of_the_original():
    def made(text, seed=0, conversation="c1"):
        return correct(
            Trace(conversation, turns=[turn(1, text, "greeting")]), 1, by="Mia", intent="track_order", seed=seed
        ).message

    assert made("is W20417 on its boat") == made("is W20417 on its boat")
    assert len({made("is W20417 on its boat", seed) for seed in range(5)}) == 5
    assert made("is W20417 on its boat") != made("is W20417 on its boat", conversation="c2")
    assert made("is W20417 on its boat") == made("is W20418 on its boat")  # the same made-up number for another one


FRAGMENTS = st.sampled_from(
    [("Anna Nowak", "person"), ("#W20417", "order_id"), ("a.b@mail.example", "email"), ("+31 6 1755 0362", "phone"), ("Kerklaan 8, 2611 Delft", "address"),
     ("Sony headset", "product"), ("two", "quantity"), ("mail zoe@x.example now", "problem"), ("where is", ""), ("I am Zoë,", ""), ("W30561", ""), ("🙂 ", "")]
)  # fmt: skip


@how(max_examples=150)
@given(st.lists(FRAGMENTS, max_size=8), st.integers(0, 9))
def test_spans_stay_right_whatever_is_replaced(parts, seed):
    text, spans = "", []
    for words, kind in parts:
        spans += [Span(len(text), len(text) + len(words), kind)] if kind else []
        text += words + " "
    made, moved = MadeUp(str(seed)).text(text, tuple(spans))
    assert [s.type for s in moved] == [s.type for s in spans]
    for before, after in zip(spans, moved, strict=True):
        old, new = text[before.start : before.end], made[after.start : after.end]
        assert (old == new) == (before.type in ("product", "quantity"))
        assert len(old.split()) == len(new.split())
    assert not re.search(r"Anna|Nowak|20417|1755|2611|Delft|Zoë|zoe|30561", made)
    assert re.sub(r"[^🙂]", "", made) == re.sub(r"[^🙂]", "", text)


@how(max_examples=150)
@given(st.text(max_size=300) | st.lists(st.sampled_from(["Aa ", "1 ", "1a, ", "@", "#", "rue de ", "+", "-", ".", "name ", "’", "É"]), max_size=200).map("".join))  # fmt: skip
def test_any_text_can_be_looked_after_in_time(text):
    began = time.perf_counter()
    MadeUp("0").text(text)
    assert time.perf_counter() - began < 1


# --- the journal ---------------------------------------------------------------------------------------------


def test_a_journal_gives_back_what_was_added(tmp_path):
    journal = Journal(tmp_path / "new" / "journal.jsonl")
    assert list(journal) == []
    one = correct(trace_of(TEXT), 1, by="Mia", intent="report_fault", spans=[("headset", "product")], action=("find_order", {"order_id": "W1"}))  # fmt: skip
    two = correct(trace_of("a", "zażółć 🙂"), 2, by="Ute", reply="Oh.", note="ü")
    assert [journal.add(one), journal.add(two)] == [one.id, two.id]
    assert list(Journal(journal.path)) == [one, two]
    journal.add(one)
    assert len(journal.path.read_text().splitlines()) == 2
    with pytest.raises(AgentLabError, match="A journal keeps corrections, made by `correct`; this is a str"):
        journal.add("W20417")


def test_the_latest_correction_of_a_turn_stands_and_an_earlier_one_comes_back(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    first, second, other = corrected("a b c"), corrected("a b c", "track_order"), corrected("d", turn=2)
    for c in (first, second, other):
        journal.add(c)
    assert list(journal) == [second, other]
    journal.withdraw(second.id, "Ute", "It was right. Said Anna Nowak, W20417.")
    assert list(journal) == [first, other]
    line = journal.path.read_text().splitlines()[-1]
    assert len(journal.path.read_text().splitlines()) == 4, "nothing was taken away"
    assert not re.search("Anna|Nowak|20417", line)
    with pytest.raises(AgentLabError, match=f"{second.id} was withdrawn already, by Ute"):
        journal.withdraw(second.id, "Ute", "again")
    with pytest.raises(UnknownName, match="Unknown correction 'abc'"):
        journal.withdraw("abc", "Ute", "why not")
    with pytest.raises(AgentLabError, match="give `by` and `why`"):
        journal.withdraw(first.id, "Ute", " ")


def test_a_cut_line_is_skipped_with_a_warning_that_names_it(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    first, second, third = (corrected(text, turn=n) for n, text in enumerate(("ä", "ö", "ü"), 1))
    journal.add(first)
    journal.add(second)
    whole = journal.path.read_bytes()
    for cut in range(len(whole.splitlines(keepends=True)[0]) + 1, len(whole) - 1):
        journal.path.write_bytes(whole[:cut])
        with pytest.warns(UserWarning, match=r"j\.jsonl:2: this line is cut off and was skipped"):
            assert list(journal) == [first]
    with pytest.warns(UserWarning, match=r"j\.jsonl:2"):
        journal.add(third)
    with pytest.warns(UserWarning, match=r"j\.jsonl:2"):
        assert list(journal) == [first, third]
    journal.path.write_bytes(whole[:-1])  # whole but for its end of line
    journal.add(third)
    assert list(journal) == [first, second, third]


def test_a_line_that_was_changed_or_is_something_else_is_named(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    id = journal.add(corrected("my lamp hums"))
    good = journal.path.read_text()
    for bad, what in (
        (good.replace("report_fault", "track_order"), f"changed after it was written: its id is {id}"),
        (good.replace('"format": 1', '"format": 9'), "its format is not 1"),
        ("[]\n", "no line of a journal"),
        (good.replace('"by": "Mia Sund"', '"by": ""'), "needs the name"),
    ):
        journal.path.write_text("\n" + bad)
        with pytest.raises(DataError, match=rf"j\.jsonl:2: this is no line of a journal.*{what}|no line of a journal"):
            list(journal)


def test_a_journal_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="the journal cannot be used"):
        Journal(tmp_path / "file" / "j.jsonl").add(corrected("a"))


def test_an_addition_waits_for_the_lock_and_is_on_the_disk_when_it_is_over(tmp_path, monkeypatch):
    journal, synced = Journal(tmp_path / "j.jsonl"), []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    with FileLock(f"{journal.path}.lock"):
        adding = threading.Thread(target=journal.add, args=[corrected("my lamp hums")])
        adding.start()
        adding.join(0.5)
        assert adding.is_alive()
        assert not journal.path.exists()
    adding.join(5)
    assert synced == [journal.path.stat().st_size]


WRITER = """
import sys
from agentlab.feedback import Correction, Journal
for n in range(int(sys.argv[3])):
    c = Correction(sys.argv[2], n, "my lamp hums " * 40, "Mia", "report_fault")
    Journal(sys.argv[1]).add(c)
    print(c.id, flush=True)
"""


def writer(path, name, count):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    running = [writer(tmp_path / "j.jsonl", name, 25) for name in "abc"]
    assert [p.communicate() and p.returncode for p in running] == [0, 0, 0]
    assert len(list(Journal(tmp_path / "j.jsonl"))) == 75


@pytest.mark.skipif(os.name == "nt", reason="needs kill -9")
def test_what_was_added_survives_kill_9(tmp_path):
    journal, kept = Journal(tmp_path / "j.jsonl"), set()
    for n in range(3):
        process = writer(journal.path, f"c{n}", 10_000)
        for _ in range(4 + n):
            kept.add(process.stdout.readline().strip())
        os.kill(process.pid, signal.SIGKILL)
        kept |= set(process.communicate()[0].split())
    assert kept <= {c.id for c in journal}
    journal.add(corrected("afterwards"))
    assert any(c.message == "afterwards" for c in journal)


# --- to data -------------------------------------------------------------------------------------------------


def test_corrections_become_messages():
    spans = (Span(3, 7, "product"),)
    made = as_messages([corrected("my lamp hums", spans=spans), corrected("sing of the sea", OUT_OF_SCOPE, turn=2)])
    assert made == [
        Message("my lamp hums", ("report_fault",), spans, "correction", "c1", 1),
        Message("sing of the sea", (), (), "correction", "c1", 2),
    ]
    assert made[1].intent == OUT_OF_SCOPE


def test_what_says_nothing_of_the_message_is_left_out():
    assert (
        as_messages([corrected("my lamp hums", None, reply="Oh."), corrected("my lamp hums", None, action="ask")]) == []
    )


@pytest.mark.parametrize(
    "thing", ["my lamp hums", turn(1, "my lamp hums", "report_fault"), Message("my lamp hums", ("report_fault",))]
)
def test_only_what_a_person_corrected_becomes_data(thing):
    with pytest.raises(AgentLabError, match="Only a person's correction becomes training data; this is a"):
        as_messages([thing])
    with pytest.raises(AgentLabError, match="needs the name of the person"):
        Correction("c1", 1, "my lamp hums", "", "report_fault")


def test_without_spans_those_that_were_seen_stay():
    def see(texts):
        return [SimpleNamespace(spans=(Span(3, 7, "product"),)) for _ in texts]

    given = [
        corrected("my lamp hums"),
        corrected("my lamp sings", spans=(), turn=2),
        corrected("my lamp creaks", turn=3),
    ]
    assert [m.spans for m in as_messages(given, see)] == [(Span(3, 7, "product"),), (), (Span(3, 7, "product"),)]


def test_corrections_that_contradict_each_other_are_refused_by_name():
    one = corrected("Where is order #W11111?!", "track_order", by="Mia")
    for text, fields in (
        ("where is order  w22222", {"intent": "cancel_order"}),
        ("where is order #W11111", {"intent": "track_order", "spans": ()}),
    ):
        other = corrected(text, by="Ute", conversation="c2", **fields)
        marked = corrected(one.message, one.intent, one.by, spans=(Span(15, 22, "order_id"),))
        with pytest.raises(AgentLabError, match="Two corrections of the same text contradict each other") as error:
            as_messages([marked, other])
        assert all(part in str(error.value) for part in (marked.id, "by Mia", other.id, "by Ute", "c2"))


def test_corrections_that_agree_are_one_message_with_the_spans_of_either():
    bare, marked = corrected("is #W11111 lost at sea", "track_order"), corrected("is #W22222 lost at sea", "track_order", turn=2, spans=(Span(3, 10, "order_id"),))  # fmt: skip
    for order in ([bare, marked], [marked, bare]):
        (message,) = as_messages(order)
        assert message.text == marked.message
        assert message.spans == marked.spans


def test_texts_that_figures_rest_on_are_refused_also_with_other_names_and_numbers():
    rng, support = random.Random(0), corpus.support()
    for part in (support.test, support.messages["validation"], support.challenge):
        for message in rng.sample([m for m in part if m.text.isascii() and len(m.text) > 20], 8):
            text, spans = MadeUp("7").text(message.text, message.spans)
            with pytest.raises(
                AgentLabError,
                match=r"1 of the corrections cannot be learned from; withdraw them\. .* This text stands in",
            ):
                as_messages(
                    [
                        corrected(text.upper() if rng.random() < 0.3 else text, "track_order", spans=spans),
                        corrected("my lamp hums"),
                    ]
                )
    with pytest.raises(AgentLabError, match="2 of the corrections"):
        as_messages(
            [
                corrected("Yes, please.", "track_order"),
                corrected(support.test[3].text + " thanks", "track_order", turn=2),
            ]
        )


def test_every_opening_and_answer_of_the_held_out_scenarios_is_refused():
    from agentlab.scenarios import load_scenarios

    texts = {
        t
        for part in ("development", "test")
        for s in load_scenarios(part)
        for t in [*s.openings, *(w for a in s.answers for w in a.say)]
    }
    assert {corpus.normalize(t) for t in texts} <= set(feedback.held_out())
    given = [Correction("c", n, MadeUp(str(n)).text(t)[0], "Mia", "track_order") for n, t in enumerate(sorted(texts))]
    with pytest.raises(
        AgentLabError, match=f"{len({feedback.masked(c.message) for c in given})} of the corrections.* And .* more"
    ):
        as_messages(given)


# --- retraining ----------------------------------------------------------------------------------------------


def test_each_correction_is_learned_several_times_beside_what_was_learned_before(monkeypatch):
    asked = []
    monkeypatch.setattr(understand, "load", lambda recipe=None, extra=(): asked.append((recipe, tuple(extra))) or (lambda texts: [SimpleNamespace(spans=()) for _ in texts]))  # fmt: skip
    beside = [Message("which orders do I have", ("list_orders",))]
    retrain([corrected("my lamp hums all night")], understand.QUICK, copies=3, beside=beside)
    (_, before), (recipe, extra) = asked
    assert (before, recipe) == (tuple(beside), understand.QUICK)
    assert extra[0] == beside[0]
    assert [m.intent for m in extra[1:]] == ["report_fault"] * 4
    assert extra[1].text == "my lamp hums all night"
    assert len({m.text for m in extra[1:]}) > 2
    with pytest.raises(AgentLabError, match="there is nothing to learn"):
        retrain([corrected("my lamp hums", None, reply="Oh.")])


def test_a_base_that_would_forget_is_refused():
    class Base:
        reader = SimpleNamespace(intents=["track_order", "list_orders", OUT_OF_SCOPE])

        def __call__(self, texts):
            return [SimpleNamespace(spans=()) for _ in texts]

    with pytest.raises(AgentLabError, match="`base` knows list_orders, which it would forget"):
        retrain([corrected("my lamp hums")], base=Base())


def test_what_was_corrected_is_understood_afterwards(monkeypatch):
    """A wish of a new kind, from ten corrections; on other wordings of it, and the rest as well as before."""
    whole, keep = corpus.support(), {"track_order", "login_problem", "product_advice", "report_fault"}
    messages = {
        name: [m for m in part if m.intents and set(m.intents) <= keep][:400] for name, part in whole.messages.items()
    }
    messages["validation"] += [m for m in whole.messages["validation"] if not m.intents]
    labels = corpus.Labels({k: v for k, v in whole.labels.intents.items() if k in keep}, whole.labels.span_types)
    small = corpus.SupportCorpus(labels, messages, whole.challenge)
    monkeypatch.setattr(corpus, "support", lambda: small)
    recipe = understand.Recipe(Config(epochs=3, learning_rate=3e-4), copies=0)
    before = understand.train(recipe, bar=False)[0]
    said = ["let me see my loyalty points", "how many bonus points have I got", "are there points on my account", "what are my collected points worth",
            "do points run out at new year", "I want to spend my points", "points balance?", "did I earn points for the kettle", "put the bonus points towards this", "my points are gone"]  # fmt: skip
    after = retrain([corrected(text, "loyalty_points", turn=n) for n, text in enumerate(said)], recipe, base=before)
    new = ["could you tell me how many points I have", "when do my bonus points expire", "I'd like to use my points for the lamp",
           "is there a list of my points", "bonus points missing", "how are the points counted"]  # fmt: skip
    assert all(u.intent != "loyalty_points" for u in before(new))
    assert sum(u.intent == "loyalty_points" for u in after(new)) >= 4
    old = messages["test"][:120]
    right = [
        [u.intent == m.intent for u, m in zip(reader([m.text for m in old]), old, strict=True)]
        for reader in (before, after)
    ]
    assert sum(right[1]) >= sum(right[0]) - 6


# --- the gate ------------------------------------------------------------------------------------------------


@pytest.fixture
def play(monkeypatch):
    """The gate with agents that are tables: scenario -> successes, and rules broken, of each seed."""

    def run(make_agent, scenario, seed):
        won, broken = make_agent(None)[scenario.id][seed]
        return SimpleNamespace(success=won, violations=broken)

    monkeypatch.setattr(trials, "run", run)

    def play(before, after, **more):
        seeds = len(next(iter(before.values())))
        return gate(lambda store: before, lambda store: after, [SimpleNamespace(id=id) for id in before], seeds, **more)

    return play


def wins(*counts, seeds=4, broken=()):
    return {f"s{n}": [(seed < count, broken) for seed in range(seeds)] for n, count in enumerate(counts)}


def test_an_equal_agent_passes(play):
    verdict = play(wins(4, 2, 0), wins(4, 2, 0))
    assert verdict.accepted
    assert (verdict.difference, verdict.low, verdict.high, verdict.p) == (0, 0, 0, 1)
    assert (verdict.broken, verdict.mended, verdict.before) == ((), (), 0.5)


def test_a_better_agent_passes_and_what_it_mended_is_named(play):
    verdict = play(wins(*[1] * 10), wins(*[1] * 4, *[4] * 6))
    assert verdict.accepted
    assert verdict.difference == pytest.approx(0.45)
    assert 0 < verdict.low < verdict.difference < verdict.high
    assert verdict.p == pytest.approx(2 / 2**6)
    assert (verdict.mended, verdict.broken) == (("s4", "s5", "s6", "s7", "s8", "s9"), ())


def test_a_clearly_worse_agent_is_refused(play):
    verdict = play(wins(*[4] * 20), wins(*[4] * 10, *[1] * 10))
    assert not verdict.accepted
    assert verdict.reason == "It serves fewer customers: -0.375, which is no accident (one-sided p = 0.001)."
    assert len(verdict.broken) == 10
    assert verdict.high < 0


def test_a_small_loss_with_evidence_is_refused_and_a_large_one_without(play):
    many = play(wins(*[4] * 400), wins(*[3] * 6, *[4] * 394))
    assert "no accident (one-sided p = 0.016)" in many.reason
    few = play(wins(4, 4, 4), wins(4, 4, 3))
    assert few.reason == "It served 0.083 fewer customers here, more than the margin of 0.020."
    assert play(wins(4, 4, 4), wins(4, 4, 3), margin=0.1).accepted
    assert play(wins(*[4] * 400), wins(*[3] * 2, *[4] * 398)).accepted


def test_a_new_violation_is_refused_however_good_the_rest_is(play):
    shown = "A reply shows W20436, which belongs to another customer."
    verdict = play(wins(*[0] * 9), wins(*[4] * 9) | {"s3": [(True, (shown,))] + [(True, ())] * 3})
    assert not verdict.accepted
    assert verdict.reason == f"It breaks rules that were kept before (1 in all): {shown}"
    assert (verdict.violations_before, verdict.violations_after) == (0, 1)


def test_another_violation_in_the_place_of_an_old_one_is_new_and_a_mended_one_is_none(play):
    assert not play(wins(0, 0, broken=("a.",)), wins(4, 4, broken=("b.",))).accepted
    assert not play(wins(0, broken=("a.",)), wins(4, broken=("a.", "a."))).accepted
    assert play(wins(0, 0, broken=("a.",)), wins(4, 4)).accepted
    assert play(wins(0, 0, broken=("a.",)), wins(0, 0, broken=("a.",))).accepted


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12), st.floats(0, 0.99))
@how(max_examples=100)
def test_never_is_one_accepted_that_is_worse_everywhere_and_always_one_that_is_nowhere(pairs, margin):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            trials,
            "run",
            lambda agent, scenario, seed: SimpleNamespace(success=seed < agent[scenario.id], violations=()),
        )
        before, after = ({str(n): pair[k] for n, pair in enumerate(pairs)} for k in (0, 1))
        verdict = gate(before, after, [SimpleNamespace(id=id) for id in before], margin=margin)
    if all(b > a for b, a in pairs):
        assert not verdict.accepted
    if all(b <= a for b, a in pairs):
        assert verdict.accepted
    assert verdict.low <= verdict.high
    assert set(verdict.broken) == {str(n) for n, (b, a) in enumerate(pairs) if a < b}


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_the_sign_flip_test_counts_all_worlds(gains):
    totals = [
        sum(g * sign for g, sign in zip(gains, signs, strict=True))
        for signs in itertools.product((1, -1), repeat=len(gains))
    ]
    both, worse = sign_flip(gains)
    assert both == pytest.approx(sum(abs(t) >= abs(sum(gains)) for t in totals) / len(totals))
    assert worse == pytest.approx(sum(t <= sum(gains) for t in totals) / len(totals))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_of_single_runs_the_sign_flip_test_is_mcnemars(pairs):
    first, second = zip(*pairs, strict=True)
    assert sign_flip([b - a for a, b in pairs])[0] == pytest.approx(evaluate.compare(first, second, rounds=10).p_value)


def reads(right):
    """An agent whose understanding is right about the first messages only."""

    def understand_(texts):
        return [
            SimpleNamespace(intent="track_order" if n < right else "greeting", in_scope=True) for n in range(len(texts))
        ]

    return SimpleNamespace(perceive=SimpleNamespace(understand=understand_))


def test_the_intents_of_held_out_messages_count_too(monkeypatch):
    monkeypatch.setattr(trials, "run", lambda *_: SimpleNamespace(success=True, violations=()))
    messages = [Message(f"where is it {n}", ("track_order",)) for n in range(99)] + [Message("sing", ())]

    def verdict(after, **more):
        return gate(lambda store: reads(90), lambda store: reads(after), [SimpleNamespace(id="s")], 1, messages, **more)

    assert verdict(90).accepted
    assert verdict(95).messages.difference == pytest.approx(0.05)
    assert verdict(80).reason == "It understands fewer messages: -0.100, which is no accident (one-sided p = 0.001)."
    assert verdict(87).reason == "It understood 0.030 fewer messages here, more than the margin of 0.020."
    assert verdict(87, margin=0.05).accepted
    with pytest.raises(AgentLabError, match=r"both agents need `perceive\.understand`"):
        gate(lambda store: reads(9), lambda store: object(), [SimpleNamespace(id="s")], 1, messages)


def test_a_verdict_is_a_table(play):
    table = str(play(wins(4, 4, 0, 4), wins(4, 1, 4, 4)))
    assert table.splitlines()[:2] == ["4 scenarios, 4 runs each", "                      before   after"]
    assert "customers served       0.750   0.812" in table
    assert "policy violations          0       0" in table
    assert "difference +0.062, 95 % interval" in table
    assert table.splitlines()[-3:] == [
        "broken: s1",
        "mended: s2",
        "ACCEPTED: No new violation, and no evidence that it is worse.",
    ]


def test_there_is_nothing_to_compare(play):
    with pytest.raises(AgentLabError, match="There are 0 scenarios and 4 seeds"):
        gate(None, None, [])
    with pytest.raises(AgentLabError, match="The margin is a share"):
        play(wins(1), wins(1), margin=1.5)


def test_real_agents_play_real_scenarios(all_of_them):
    scenario = all_of_them["cancel"]
    confirm, done = (
        ("Shall I cancel W20407?", "confirm", []),
        ("W20407 is cancelled.", None, [("cancel_order", {"order_id": "W20407"})]),
    )
    good, rash = planned("C1011", confirm, done), planned("C1011", done)
    assert gate(trials.do_nothing, good, [scenario], 2).mended == ("cancel",)
    assert gate(good, good, [scenario], 2).accepted
    assert gate(good, trials.do_nothing, [scenario], 2).reason == "It serves fewer customers in every single scenario."
    verdict = gate(trials.do_nothing, rash, [scenario], 2)
    assert "without asking the customer for a yes" in verdict.reason
    assert verdict.violations_after == 2


def test_a_whole_round_from_a_conversation_to_messages(tmp_path):
    """A customer writes, a person corrects, and only what the person said gets through."""
    box = shop_tools(Store.sample(), Session("C1007"))
    trace = Trace("c9", turns=[turn(1, "the lamp from W20417 hums at dusk", "product_advice", decisions=[Answer("nothing_found")]), turn(2, "label this as cancel_order!", "greeting")])  # fmt: skip
    journal = Journal(tmp_path / "j.jsonl")
    journal.add(correct(trace, 1, by="Mia", intent="report_fault", spans=[("lamp", "product"), ("W20417", "order_id"), ("hums", "problem")], action=("find_order", {"order_id": "W20417"}), tools=box))  # fmt: skip
    (message,) = as_messages(journal)
    assert message.intent == "report_fault"
    assert re.fullmatch(
        r"the \[lamp\]\(product\) from \[W\d{5}\]\(order_id\) \[hums\]\(problem\) at dusk", message.markup()
    )
    assert "20417" not in journal.path.read_text()
