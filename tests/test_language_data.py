"""The data of the language lesson: replies stay with their facts, tool calls fit their schemas, held-out domains stay apart."""

import re
from collections import Counter

import jsonschema
import pytest

from agentlab.corpus import data_folder, read_yaml

REPLIES = read_yaml(data_folder() / "replies" / "replies.yml")
TICKETS = read_yaml(data_folder() / "tickets" / "tickets.yml")
DOMAINS = {p.stem: read_yaml(p) for p in sorted((data_folder() / "toolcalls").glob("*.yml"))}
HARD_FACT = re.compile(r"\b[A-Z]{1,3}\d{3,}\w*|€?\d[\d.,]*\d|\d")  # numbers of orders and parcels, amounts, days


def parts(entries):
    return Counter(e["part"] for e in entries)


def hard_facts(text):
    return set(HARD_FACT.findall(text))


def test_there_are_enough_replies_in_every_part():
    counts = parts(REPLIES)
    assert counts["test"] == 80
    assert sum(counts.values()) >= 500
    assert set(counts) == {"train", "development", "test"}
    assert len({r["message"] for r in REPLIES}) == len({r["reply"] for r in REPLIES}) == len(REPLIES)


def test_every_number_in_a_reply_stands_in_its_facts_or_in_the_message():
    for r in REPLIES:
        known = hard_facts(f"{r['message']} {' '.join(map(str, r['facts'].values()))}")
        assert hard_facts(r["reply"]) <= known, r["reply"]


def test_replies_do_not_all_begin_alike():
    openings = Counter(" ".join(r["reply"].split()[:3]) for r in REPLIES)
    assert openings.most_common(1)[0][1] <= 0.05 * len(REPLIES)


def test_there_are_enough_tickets_and_their_summaries_invent_no_number():
    assert len(TICKETS) >= 150
    assert parts(TICKETS)["test"] >= 30
    for t in TICKETS:
        assert hard_facts(t["summary"]) <= hard_facts(t["text"]), t["summary"]
        assert len(t["summary"].split()) < len(t["text"].split())


def test_there_are_enough_tool_calls_over_enough_schemas_and_the_test_schemas_are_held_out():
    assert sum(len(d["examples"]) for d in DOMAINS.values()) >= 1500
    names = [t["name"] for d in DOMAINS.values() for t in d["tools"]]
    assert len(names) >= 150
    by_part = {part: {t["name"] for d in DOMAINS.values() if d["part"] == part for t in d["tools"]} for part in ("train", "test")}  # fmt: skip
    assert not by_part["train"] & by_part["test"]
    requests = [e["request"] for d in DOMAINS.values() for e in d["examples"]]
    assert len(set(requests)) == len(requests)


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
def test_every_call_fits_its_schema_and_its_tool_was_offered(domain):
    schemas = {t["name"]: t["parameters"] for t in domain["tools"]}
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for e in domain["examples"]:
        assert set(e["offered"]) <= set(schemas), e
        if e["call"] == "none":
            continue
        assert e["call"]["name"] in e["offered"], e
        strict = {**schemas[e["call"]["name"]], "additionalProperties": False}
        jsonschema.validate(e["call"]["arguments"], strict)
    nothing = sum(e["call"] == "none" for e in domain["examples"]) / len(domain["examples"])
    assert 0.1 < nothing < 0.4
