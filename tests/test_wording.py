"""Replies keep to their facts: what they state is found, what is invented is caught, and the templates speak in its place."""

import datetime as dt
import re
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agentlab import wording
from agentlab.corpus import data_folder
from agentlab.errors import DataError, UnknownName
from agentlab.wording import (
    MONTHS,
    UNITS,
    claims,
    faithful,
    load_replies,
    load_tickets,
    names,
    reply_prompt,
    rewrite_prompt,
    rouge,
    summary_prompt,
    template,
    unsupported,
    word,
)

REPLIES = load_replies()
DEVELOPMENT = [r for r in REPLIES if r.part == "development"]
FACTS = {"situation": "order_on_its_way", "order_id": "W20417", "carrier": "Boxline", "last_seen": "Poznań", "last_scan": "15 June", "expected": "2026-06-16", "item": "Emberly Pour kettle", "amount": "€49.90", "takes": "3 to 5 working days", "parcels": 2, "discount": "8 per cent", "between": "8:00 and 18:00"}  # fmt: skip


def read(text):
    return [(c.kind, c.value) for c in claims(text)]


# --- data ---


def test_replies_and_tickets_are_read_by_part():
    assert {p: len(load_replies(p)) for p in wording.PARTS} == {"train": 400, "development": 60, "test": 80}
    assert {p: len(load_tickets(p)) for p in wording.PARTS} == {"train": 110, "development": 30, "test": 40}
    assert all(r.facts["situation"] for r in REPLIES)
    with pytest.raises(UnknownName, match="Did you mean 'development'"):
        load_replies("developement")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reply": None}, r"entry 1: `reply` must be a text that is not empty"),
        ({"message": "  "}, r"entry 1: `message` must be a text that is not empty"),
        ({"part": "dev"}, r"unknown part 'dev'\. Expected train, development, test"),
        ({"facts": {}}, r"facts must be a table with a `situation`"),
        ({"facts": "none"}, r"facts must be a table with a `situation`"),
        ({"colour": "red"}, r"needs exactly the keys message, facts, reply, part; found .*colour"),
    ],
)
def test_a_malformed_reply_is_named_with_its_file(tmp_path, change, message):
    entry = {"message": "hi", "facts": {"situation": "greeting"}, "reply": "Hello.", "part": "train"} | change
    file = tmp_path / "broken.yml"
    file.write_text(yaml.safe_dump([entry]))
    with pytest.raises(DataError, match=message) as error:
        load_replies(file=file)
    assert "broken.yml" in str(error.value)


@pytest.mark.parametrize("content", ["just: a table", "- only text", "- {kind: letter}"])
def test_a_file_of_another_shape_is_refused(tmp_path, content):
    (tmp_path / "odd.yml").write_text(content)
    with pytest.raises(DataError, match=r"odd\.yml"):
        load_tickets(file=tmp_path / "odd.yml")


# --- prompts ---


def test_a_reply_prompt_is_short_and_holds_facts_and_message():
    for reply in REPLIES:
        system, user = reply_prompt(reply.message, reply.facts)
        assert (system["role"], user["role"]) == ("system", "user")
        assert len(system["content"].split()) <= 20
        assert user["content"].endswith(f"Customer: {reply.message}")
        assert all(str(v) in user["content"] for k, v in reply.facts.items() if k not in wording.SITUATIONS)
        assert not re.search(r"\w_\w", user["content"].split("Customer:")[0]), "keys are written with spaces"


def test_summary_and_rewrite_prompts_hold_the_text_as_it_is():
    assert summary_prompt("A letter.")[-1] == {"role": "user", "content": "A letter."}
    system, user = rewrite_prompt("It left.", "friendly")
    assert "friendly" in system["content"]
    assert user["content"] == "It left."


# --- claims ---


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["€49.90", "49.90 euros", "EUR 49,90", "49,90 €", "49.9 Euro", "EUR49.90"], [("money", "49.9 EUR")]),
        (["€5", "5.00 euros", "five euros", "EUR 5,-", "500 cents"], [("money", "5 EUR")]),
        (["€1,049.00", "1.049,00 €", "1049 euros", "€1.049"], [("money", "1049 EUR")]),
        (["15 June", "June 15", "15th of June", "June 15th", "15/06", "15 Jun.", "15/6"], [("date", "06-15")]),
        (["2026-06-15", "15 June 2026", "June 15, 2026", "15/06/2026", "15.06.2026", "06/15/26"], [("date", "06-15"), ("year", "2026")]),
        (["14:00", "2 pm", "2 p.m.", "2:00 PM", "14h00"], [("time", "14:00")]),
        (["noon", "12:00", "midday", "12 pm"], [("time", "12:00")]),
        (["midnight", "0:00", "12 am"], [("time", "00:00")]),
        (["8%", "8 per cent", "eight percent", "8.0 %"], [("percent", "8")]),
        (["two weeks", "14 days", "14-day", "fourteen days"], [("duration", "14 day")]),
        (["two years", "24 months"], [("duration", "24 month")]),
        (["24 hours", "one day", "1 day"], [("duration", "1 day")]),
        (["5 working days", "five business days"], [("duration", "5 working day")]),
        (["two parcels", "2 parcels"], [("number", "2")]),
        (["twenty-four pieces", "24 pieces"], [("number", "24")]),
        (["w20417", "W20417", "#20417"], [("id", "W20417")]),
        (["SPRING-10", "spring10"], [("id", "SPRING10")]),
        (["+353 20 911 6604", "+353 (20) 911-6604"], [("phone", "353209116604")]),
        (["https://www.brightwire.example/help/", "brightwire.example/help"], [("url", "brightwire.example/help")]),
        (["Fridays", "on friday", "Fri, "], [("weekday", "friday")]),
        (["by tomorrow", "Tomorrow"], [("day", "tomorrow")]),
        (["in May", "In May"], [("date", "05")]),
    ],
)  # fmt: skip
def test_a_fact_is_the_same_however_it_is_written(texts, value):
    assert {text: read(text) for text in texts} == dict.fromkeys(texts, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3 to 5 working days", [("duration", "3 working day"), ("duration", "5 working day")]),
        ("between 3 and 5 June", [("date", "06-03"), ("date", "06-05")]),
        ("June 3-5", [("date", "06-03"), ("date", "06-05")]),
        ("on the 16th", [("date", "16th")]),
        ("Thursday 11 June", [("weekday", "thursday"), ("date", "06-11")]),
        ("within a week or in an hour", [("duration", "7 day"), ("duration", "1 hour")]),
        ("a few days", [("duration", "few day")]),
        ("BX4490217DE, T-4410 and BW-SORRY101", [("id", "BX4490217DE"), ("id", "T4410"), ("id", "BWSORRY101")]),
        ("1.5 litres, 65W and 2.4 GHz", [("number", "1.5"), ("number", "65"), ("number", "2.4")]),
        ("ask help@brightwire.example.", [("email", "help@brightwire.example")]),
        ("Dear [Name], your {order} <|im_end|>", [("placeholder", "[name]"), ("placeholder", "{order}"), ("placeholder", "<|im_end|>")]),
        ("We may be late. You may march on, one of us, the other one.", []),
        ("No fact here, just words.", []),
        ("", []),
    ],
)  # fmt: skip
def test_hard_facts_are_found(text, value):
    assert read(text) == value


def test_a_claim_knows_where_it_stands():
    text = "Order W20417 costs €49.90 and comes on 15 June 2026."
    assert [c.text for c in claims(text)] == ["W20417", "€49.90", "15 June", "2026"]
    assert all(text[c.start : c.end] == c.text for c in claims(text))


def test_names_are_words_with_a_capital_but_not_ordinary_beginnings():
    text = "Thank you. Your parcel left Poznań with Hermes. GLS has it, I'm told! It’s an iPhone from Brightwire."
    assert [n.text for n in names(text)] == ["Poznań", "Hermes", "GLS", "iPhone"]


@settings(max_examples=300, deadline=None)
@given(st.text() | st.lists(st.sampled_from("€ 5 , . - / 15 June W20417 may 2026 a week % [ ] { } < > 2 pm @ x.de + 0 one hundred".split())).map(" ".join))  # fmt: skip
def test_any_text_can_be_read(text):
    for claim in [*claims(text), *names(text)]:
        assert 0 <= claim.start < claim.end <= len(text)
        assert text[claim.start : claim.end] == claim.text
    plain = " ".join(text.split())
    assert unsupported(plain, {"note": plain}) == [], "what stands in the facts is supported"


@pytest.mark.parametrize("text", ["1.2.3 cents", "9" * 6000 + " days", "99.99.9999", "0/0", "31/31/31", "a-" * 5000, "1," * 5000, "x." * 5000, "@" * 5000, "A " * 3000, "\0€5\0"])  # fmt: skip
def test_odd_texts_are_read_without_an_error_and_without_delay(text):
    started = time.perf_counter()
    assert all(text[c.start : c.end] == c.text for c in [*claims(text), *names(text)])
    assert time.perf_counter() - started < 5


def test_reading_takes_about_a_quarter_of_a_millisecond():
    started = time.perf_counter()
    for reply in REPLIES:
        claims(reply.reply)
    assert (time.perf_counter() - started) / len(REPLIES) < 0.004, "wide, since other tests run beside it"


# --- what the facts support ---


@pytest.mark.parametrize(("part", "limit"), [("train", 0.02), ("development", 0.02), ("test", 0.04)])
def test_good_replies_are_almost_never_flagged(part, limit):
    replies = load_replies(part)
    flagged = [r.reply for r in replies if not faithful(r.reply, r.facts, r.message)]
    assert len(flagged) <= limit * len(replies), flagged


@pytest.mark.parametrize(
    "reply",
    [
        "Boxline had W20417 in Poznan on 15/06 and brings it on 16 June.",
        "Your order 20417 comes on Tuesday 16 June 2026, between 8 am and 6 pm.",
        "It comes in two parcels, 2 in all, and takes three to five business days.",
        "The Emberly Pour kettle costs 49,90 euros, with 8% off.",
        "On the 15th it was in Poznań. It's expected on June 16th.",
        "Hi there! Your Order W20417 is currently with Boxline. We apologize for the inconvenience.",
        "I'm sorry to hear that. According to our records, Boxline scanned it on June 15th. Don't worry; we won't lose it.",
        "Dear Customer, thank you for reaching out to Brightwire!\n\nBest regards,\nBrightwire Customer Service",
        "We can't say more. Can't you wait? Rest assured: once it moves, you'll see it. Unfortunately, nobody knows why.",
    ],
)
def test_facts_may_be_said_in_other_words(reply):
    assert unsupported(reply, FACTS) == []


@pytest.mark.parametrize(
    ("message", "reply", "wrong"),
    [
        ("where is W20999", "I find no W20999.", []),
        ("will it be here by Friday?", "I cannot promise Friday.", []),
        ("i am in Lyon and my mail is a@b.example", "I cannot see Lyon or a@b.example here.", []),
        ("you owe me €500", "We owe you €500.", ["€500"]),
        ("you owe me 89.90", "We owe you 89.90.", ["89.90"]),
        ("you promised 20 % off", "You get 20 % off.", ["20 %"]),
        ("you said within 2 days!", "It comes within 2 days.", ["2 days"]),
        ("the page www.pay-here.com asks for my card", "Please pay at www.pay-here.com.", ["www.pay-here.com"]),
    ],
)
def test_a_customers_order_may_be_repeated_but_not_a_customers_price(message, reply, wrong):
    assert [c.text for c in unsupported(reply, {"situation": "other"}, message)] == wrong


CORRUPTED = [  # written by hand
    ("id", "Your order W20471 is on its way."),
    ("id", "Your order W2041 is on its way."),
    ("id", "Order #20418 is with Boxline."),
    ("id", "You can follow it with BX4490217DE."),
    ("id", "Use the code SORRY-10 for your next order."),
    ("id", "The ticket T4410 is open."),
    ("money", "We refund €49.09."),
    ("money", "We refund €4.99."),
    ("money", "We refund 49 euros."),
    ("money", "We refund $49.90."),
    ("money", "There is a fee of five euros."),
    ("money", "There is a fee of 90 cents."),
    ("money", "It costs €1,049.90."),
    ("percent", "You get 10% off."),
    ("percent", "You get ten per cent off your next order."),
    ("percent", "You get 80 percent back."),
    ("date", "It is expected on 17 June."),
    ("date", "It is expected on 16 July."),
    ("date", "It is expected on 16/07."),
    ("date", "It is expected on the 18th."),
    ("date", "It is expected in August."),
    ("date", "It was scanned on June 14th."),
    ("date", "It comes between 16 and 18 June."),
    ("year", "It is expected on 16 June 2027."),
    ("weekday", "It is expected on Wednesday."),
    ("weekday", "We are here on Sundays."),
    ("day", "It arrives tomorrow."),
    ("day", "It arrives next week."),
    ("day", "You get it by the weekend."),
    ("time", "It arrives between 9:00 and 18:00."),
    ("time", "The van comes at 3 pm."),
    ("time", "The van comes before noon."),
    ("duration", "It arrives within 3 days."),
    ("duration", "It arrives within 24 hours."),
    ("duration", "It takes 3 to 6 working days."),
    ("duration", "It takes two weeks."),
    ("duration", "It arrives within a week."),
    ("duration", "It arrives in a few days."),
    ("duration", "You have a 30-day return window."),
    ("number", "It comes in three parcels."),
    ("number", "It comes in 4 parcels."),
    ("number", "There are twenty-two parcels."),
    ("email", "Write to support@brightwire.com."),
    ("phone", "Call us at +44 20 7946 0018."),
    ("phone", "Call us at 0800 123 4567."),
    ("url", "Track it at www.boxline.com/track."),
    ("url", "Track it at https://track.example/W20417."),
    ("placeholder", "Dear [Customer Name], it is on its way."),
    ("placeholder", "Your order {order_id} is on its way."),
    ("placeholder", "It is on its way.<|im_end|>"),
    ("name", "DHL has your parcel."),
    ("name", "Hermes scanned it in Poznań."),
    ("name", "It is with Paketo."),
    ("name", "It was last seen in Warsaw."),
    ("name", "It was last seen in New Delhi."),
    ("name", "It has left Łódź."),
    ("name", "The Emberly Boil kettle is on its way."),
    ("name", "Your Philips kettle is on its way."),
    ("name", "I have asked Anna to call you."),
    ("name", "You can pay with PayPal."),
    ("name", "Germany is our only market."),
    ("name", "Your iPhone is on its way."),
]


@pytest.mark.parametrize(("kind", "reply"), CORRUPTED, ids=[reply for _, reply in CORRUPTED])
def test_an_invented_fact_is_caught(kind, reply):
    assert kind in {c.kind for c in unsupported(reply, FACTS, "where is my kettle, order W20417?")}


# --- systematic mutations of the good replies ---


def replaced(claim, text, new):
    return text[: claim.start] + new + text[claim.end :]


def moved_date(claim, by_month=False):
    month, day = map(int, claim.value.split("-"))
    return f"{day} {MONTHS[month % 12]}" if by_month else f"{day % 28 + 1} {MONTHS[month - 1]}"


def mutations(reply):
    """(kind, corrupted reply, what was put in) for each way to corrupt a good reply."""
    text, facts = reply.reply, reply.facts
    for claim in claims(text):
        if re.fullmatch(r"W\d{5}", claim.value):
            for n in (1, 3, 5):
                new = claim.text[:n] + str((int(claim.text[n]) + 3) % 10) + claim.text[n + 1 :]
                yield "order id, one digit", replaced(claim, text, new), new
        if claim.kind == "money":
            for new in (f"€{float(claim.value[:-4]) + 1:.2f}", f"€{float(claim.value[:-4]) * 10:.2f}"):
                yield "amount", replaced(claim, text, new), new
        if claim.kind == "date" and re.fullmatch(r"\d\d-\d\d", claim.value):
            yield "date, by a day", replaced(claim, text, moved_date(claim)), moved_date(claim)
            yield "date, by a month", replaced(claim, text, moved_date(claim, True)), moved_date(claim, True)
        if claim.kind in ("number", "duration") and claim.text.split()[0].isdigit() and int(claim.text.split()[0]) < 19:
            new = UNITS[int(claim.text.split()[0]) + 1] + claim.text[len(claim.text.split()[0]) :]
            yield "number as a word", replaced(claim, text, new), new
    for key, others in (("carrier", ("DHL", "Hermes", "Posten")), ("last_seen", ("Lyon", "Kraków", "Bath")), ("item", ("Philips kettle", "Sony WH-1000 headphones"))):  # fmt: skip
        for other in others:
            if str(facts.get(key, "\0")) in text:
                yield f"another {key.replace('last_seen', 'city')}", text.replace(facts[key], other), other
    for kind, extra in (
        ("tracking number added", "The tracking number is BX9911223PL."),
        ("percentage added", "You get 15% off your next order."),
        ("time span added", "It takes up to 9 days."),
        ("carrier added", "Hermes will bring it."),
        ("city added", "It is now in Toulouse."),
        ("coupon added", "Here is a coupon: THANKS25."),
        ("time added", "Someone will call you at 17:45."),
        ("e-mail added", "Write to care@brightwire.com."),
        ("phone added", "Call us at +49 30 901820."),
        ("amount added", "We also refund the fee of €6.66."),
        ("day added", "You will hear from us tomorrow."),
    ):
        yield kind, f"{text} {extra}", extra


def recall(replies):
    """kind -> (caught, all); what a mutation happens to share with the facts is no invention and does not count."""
    found = {}
    for reply in replies:
        known = f"{reply.message} {' '.join(map(str, reply.facts.values()))}".lower()
        for kind, corrupted, new in mutations(reply):
            if new.lower() in known:
                continue
            caught, total = found.get(kind, (0, 0))
            found[kind] = caught + bool(unsupported(corrupted, reply.facts, reply.message)), total + 1
    return found


def test_mutations_of_good_replies_are_caught():
    found = recall(DEVELOPMENT)
    missed = {kind: counts for kind, counts in found.items() if counts[0] < 0.98 * counts[1]}
    assert not missed
    assert len(found) >= 18
    assert sum(total for _, total in found.values()) >= 900


# --- templates ---


def known_keys():
    keys = {}
    for reply in REPLIES:
        keys.setdefault(reply.facts["situation"], set()).update(reply.facts)
    return keys


def is_good_english(text):
    assert text.endswith("."), text
    assert text[0].isupper(), text
    assert not re.search(r"[{}\[\]]|\bNone\b|\w_\w|\s\s|\.\.| [.,;:]|\(\)", text), text


@pytest.mark.parametrize("reply", REPLIES, ids=lambda r: f"{r.facts['situation']}-{list(r.facts.values())[1:2]}")
def test_a_template_speaks_for_every_entry_and_keeps_to_its_facts(reply):
    text = template(reply.facts)
    assert faithful(text, reply.facts), unsupported(text, reply.facts)
    is_good_english(text)
    sentences = len(re.findall(r"\.(?:\s|$)", text))
    assert sentences <= (4 if reply.facts["situation"] == "two_wishes" else 3)


UNSAID = {"rule", "article", *wording.SITUATIONS}  # the number of a rule and the title of a page are for colleagues


@pytest.mark.parametrize("reply", REPLIES, ids=lambda r: f"{r.facts['situation']}-{list(r.facts.values())[1:2]}")
def test_a_template_says_every_hard_fact_there_is(reply):
    said = template(reply.facts)
    stated = {(c.kind, c.value) for c in claims(said)} | {("number", n) for n in re.findall(r"\d+", said)}
    for key, value in reply.facts.items():
        if key not in UNSAID and value != 0:
            assert {(c.kind, c.value) for c in claims(str(value))} <= stated, (key, said)


def test_every_situation_has_templates_that_use_only_known_facts():
    templates = yaml.safe_load((data_folder() / "replies" / "templates.yml").read_text(encoding="utf-8"))
    keys = known_keys()
    assert set(keys) - {"two_wishes"} <= set(templates)
    everything = set().union(*keys.values())
    used = set(re.findall(r"\{(\w+)[}=|]", str(templates)))
    rows = {name for name in used if re.search(r"_(then|and|or|list)$", name)}
    assert used - rows <= everything
    assert {re.sub(r"_[a-z]+$", "_1", row) for row in rows} <= everything


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(REPLIES), st.data())
def test_a_template_keeps_to_its_facts_whatever_is_missing_and_whatever_is_added(reply, data):
    facts = {k: v for k, v in reply.facts.items() if k == "situation" or data.draw(st.booleans())}
    other = data.draw(st.sampled_from(REPLIES)).facts
    facts |= {k: v for k, v in other.items() if k not in wording.SITUATIONS and data.draw(st.booleans())}
    text = template(facts)
    assert faithful(text, facts), (facts, text, unsupported(text, facts))
    is_good_english(text)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted({k for r in REPLIES for k in r.facts})), st.text() | st.none() | st.integers() | st.booleans() | st.lists(st.text())), st.sampled_from(REPLIES))  # fmt: skip
def test_a_template_speaks_whatever_the_facts_hold(facts, reply):
    assert template(facts | {"situation": reply.facts["situation"]}).strip().endswith(".")


def test_values_that_are_no_text_are_written_as_a_customer_would():
    facts = {"situation": "order_on_its_way", "expected": dt.date(2026, 6, 16), "carrier": None, "order_id": "W20417"}
    assert template(facts) == "Your order W20417 is on its way. It is expected on 16 June 2026."
    assert unsupported("It comes on Tuesday 16 June.", facts) == []
    assert template({"situation": "unheard_of", "open": True, "ids": ["A1", "B2", "C3"], "x": {"y": 1}}) == "This is what I can tell you: open: yes, ids: A1, B2 and C3."  # fmt: skip
    assert template({}) == "I am sorry, but I have no information on this yet."
    assert template({"situation": "order_late", "days_late": 1}) == "I am sorry that your order is 1 day late."
    assert template({"situation": "order_out_for_delivery", "day": "today"}) == "Your order is out for delivery today."


def test_more_orders_than_in_the_data_are_all_listed():
    facts = {"situation": "orders_listed", "count": 12} | {f"order_{n}": f"W2040{n:02}"[:6] for n in range(1, 13)}
    assert template(facts).count("W204") == 12


def test_the_second_wish_does_not_get_the_facts_of_the_first():
    facts = next(r.facts for r in REPLIES if r.facts.get("second_order_id") == "W20835")
    assert template(facts) == "Your order W20829 for the Lumeno Arc desk lamp is cancelled. The refund is €44.90. Your order W20835 is on its way. It is expected on 4 May."  # fmt: skip


# --- model or template ---


@pytest.mark.parametrize(
    ("said", "source"),
    [
        ("Boxline has W20417, and it comes on 16 June.", "model"),
        ("  Boxline has W20417!\n", "model"),
        ("Boxline has W20417, and it comes on 17 June.", "template"),
        ("Boxline has W20417, and it comes on", "template"),
        ("", "template"),
        (None, "template"),
        ("Boxline has it. " * 40, "template"),
        ("order id: W20417\nIt is on its way.", "template"),
    ],
)
def test_the_template_speaks_where_the_model_must_not(said, source):
    asked = []
    worded = word(lambda prompt: asked.append(prompt) or said, "where is it", FACTS)
    assert worded.source == source
    assert worded.text == (said.strip() if source == "model" else template(FACTS))
    assert asked == [reply_prompt("where is it", FACTS)]
    assert [c.text for c in worded.unsupported] == (["17 June"] if said and "17 June" in said else [])


# --- ROUGE ---


@pytest.mark.parametrize(
    ("summary", "reference", "one", "two", "longest"),
    [
        ("the cat sat on the mat", "the cat sat on the mat", 1, 1, 1),
        ("a b c d", "a c b d", 1, 0, 6 / 8),
        ("the cat", "the cat sat on the mat", 4 / 8, 2 / 6, 4 / 8),
        ("the the the", "the cat", 2 / 5, 0, 2 / 5),
        ("Order W20417: €5!", "order w20417 5", 1, 1, 1),
        ("a b", "c d", 0, 0, 0),
        ("", "c d", 0, 0, 0),
        ("...", "", 0, 0, 0),
    ],
)
def test_rouge_agrees_with_a_count_by_hand(summary, reference, one, two, longest):
    assert rouge(summary, reference) == pytest.approx({"rouge-1": one, "rouge-2": two, "rouge-l": longest})
