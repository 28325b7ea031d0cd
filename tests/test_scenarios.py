"""Scenarios: what the loader refuses, and what the shipped ones hold."""

import re

import pytest
import yaml

from agentlab.errors import DataError, UnknownName
from agentlab.scenarios import LABS, load_scenarios, mistakes
from agentlab.shop.rules import rules
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools
from agentlab.trials import do_nothing, run
from tests.visits import entry, perfect, write_of

# --- the loader ----------------------------------------------------------------------------------------------


def slips(tmp_path, *entries):
    file = tmp_path / "mine.yml"
    file.write_text(yaml.safe_dump(list(entries), allow_unicode=True), encoding="utf-8")
    return [m.removeprefix(f"{file}: ") for m in mistakes([file])]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"twits": "none"}, "twits is no key that is known here. Did you mean 'twist'?"),
        ({"ends__say": []}, "ends.say is no key that is known here."),
        ({"answers": [{"assk": "email", "say": ["x"]}]}, "answers.0.assk is no key that is known here. Did you mean 'asks'?"),
        ({"ends": None}, "ends is missing."),
        ({"ends__writes": None}, "ends.writes is missing."),
        ({"id": None}, "id is missing."),
        ({"id": "Cancel It"}, "id is 'Cancel It', but string should match pattern '^[a-z][a-z0-9_]*$'."),
        ({"openings": ["one"]}, "openings is ['one'], but list should have at least 2 items after validation, not 1."),
        ({"openings": ["one", 7]}, "openings.1 is 7, but input should be a valid string. Put it in quotes."),
        ({"about": [2.1]}, "about.0 is 2.1, but input should be a valid string. Put it in quotes."),
        ({"about": ["cancel_orders"]}, "about names 'cancel_orders', which is neither a tool nor a rule. Did you mean 'cancel_order'?"),
        ({"about": ["2.9"]}, "about names '2.9', which is neither a tool nor a rule."),
        ({"twist": "sad"}, "twist is 'sad', but input should be 'none', 'changed_mind', 'wrong_id', 'two_requests', 'angry', 'vague', 'digression', 'corrected' or 'slow_to_tell'."),
        ({"hostile": "no"}, "hostile is 'no', but input should be a valid boolean."),
        ({"knows": {"emial": "a@b.c"}}, "'emial' is no slot. Did you mean 'email'? Slots: "),
        ({"knows": {"email": "suryani@example.org", "postcode": 2516}}, "knows.postcode is the number 2516; put it in quotes, since YAML changes some numbers, such as 01067."),
        ({"knows": {"opened": False}}, "knows.opened is False, but a fact is a text in quotes, or a whole number for position and quantity."),
        ({"answers": [{"say": ["yes"]}]}, "answers.0 has neither asks nor if, so it would fit any reply."),
        ({"answers": [{"asks": "mood", "say": ["bad"]}]}, "'mood' is no slot."),
        ({"answers": [{"if": "(", "say": ["bad"]}]}, "answers.0.if is '(', but it is no regular expression (missing ), unterminated subpattern at position 0)."),
        ({"answers": [{"if": "x", "say": []}]}, "answers.0.say is [], but list should have at least 1 item after validation, not 0."),
        ({"answers": [{"asks": "confirm", "say": ["y"], "times": 0}]}, "answers.0.times is 0, but input should be greater than or equal to 1."),
        ({"ends__said": ["*"]}, "ends.said.0 is '*', but it is no regular expression (nothing to repeat at position 0)."),
        ({"ends__never": ["x*"]}, "ends.never.0 is 'x*', but it fits an empty text, so it would say nothing."),
        ({"ends__never_tools": ["refund"]}, "never_tools names 'refund', which is no tool."),
        ({"ends__verified": "C-1011"}, "verified is 'C-1011', which is no customer. Did you mean 'C1011'?"),
        ({"ends__verified": "C1012", "ends__writes": []}, "the customer never says C1012's e-mail address (inkoop.brouwer@example.com) with an order number or the postcode 2060, so nobody can be verified."),
        ({"openings": ["cancel W20407", "cancel W99999"]}, "the shop has no order W99999; only a scenario that is hostile, wrong_id or corrected may name one."),
        (write_of("cancel_ordr", order_id="W20407"), "the write cancel_ordr: there is no such tool that writes. Did you mean 'cancel_order'?"),
        (write_of("find_order", order_id="W20407"), "the write find_order: there is no such tool that writes."),
        (write_of("hand_over", reason="asked_for_person"), "the write hand_over: a hand-over is no write here; say `handed_over: true`."),
        (write_of("cancel_order", order="W20407"), "the write cancel_order: order_id is missing: the order's number, such as W20417. order is no argument. Did you mean 'order_id'? Arguments: order_id."),
        (write_of("cancel_order", order_id="W20408"), 'the write cancel_order {"order_id": "W20408"} is refused: This customer has no order W20408. Did you mean W20407? list_orders shows all of them.'),
        (write_of("cancel_order", ["when"], order_id="W20407"), "the write cancel_order: free names 'when', which is no argument."),
        (write_of("open_ticket", kind="question", subject="x"), "the write open_ticket: subject is the agent's to choose, so it cannot have a value."),
    ],
)  # fmt: skip
def test_the_loader_says_what_is_wrong(tmp_path, changes, message):
    first, *_ = slips(tmp_path, entry(**changes))
    id = "entry 1" if changes.get("id", 1) is None else changes.get("id", "cancel")
    assert first.startswith(f"{id}: {message}")


def test_the_loader_raises_with_file_and_id(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text(yaml.safe_dump([entry(), entry(id="second", style="odd")]))
    with pytest.raises(DataError, match=rf"^{re.escape(str(file))}: second: style is 'odd', but"):
        load_scenarios(files=[file])


def test_an_id_may_stand_once_over_all_files(tmp_path):
    one, two = tmp_path / "one.yml", tmp_path / "two.yml"
    for file in (one, two):
        file.write_text(yaml.safe_dump([entry()]))
    assert mistakes([one, two]) == [f"{two}: cancel: this id stands twice, the first time in {one}."]


def test_a_key_may_stand_once_in_an_entry(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text("- id: a\n  twist: none\n  twist: angry\n")
    with pytest.raises(DataError, match=r"mine.yml:3: malformed YAML: the key 'twist' stands twice\."):
        load_scenarios(files=[file])


@pytest.mark.parametrize("text", ["", "id: a", "- 3", "[]"])
def test_a_file_is_a_list_of_scenarios(tmp_path, text):
    file = tmp_path / "mine.yml"
    file.write_text(text)
    with pytest.raises(DataError, match="the file must be a list of scenarios"):
        load_scenarios(files=[file])


def test_broken_yaml_and_missing_files_are_data_errors(tmp_path):
    (tmp_path / "mine.yml").write_text("- id: [")
    with pytest.raises(DataError, match="malformed YAML"):
        load_scenarios(files=[tmp_path / "mine.yml"])
    with pytest.raises(DataError, match="this file is missing"):
        load_scenarios(files=[tmp_path / "other.yml"])


def test_parts_have_names():
    with pytest.raises(UnknownName, match=r"Unknown part 'dev'\. Available: development, labs, test, train\."):
        load_scenarios("dev")


def test_a_hostile_customer_may_name_orders_that_do_not_exist(tmp_path):
    assert slips(tmp_path, entry(openings=["cancel W99999", "W99999!"], hostile=True)) == []


# --- the shipped data ----------------------------------------------------------------------------------------

SHIPPED = ("train", "development", "test")


@pytest.fixture(scope="module")
def shipped():
    return {part: load_scenarios(part) for part in SHIPPED}


def test_the_shipped_scenarios_are_without_mistakes_and_enough(shipped):
    everything = load_scenarios()  # ids are unique over all files
    assert [len(shipped[part]) >= n for part, n in zip(SHIPPED, (80, 40, 40), strict=True)] == [True] * 3
    assert len(everything) == sum(map(len, shipped.values())) + len(load_scenarios(LABS))
    assert sum(s.hostile for s in everything) >= 25
    assert sum(s.twist != "none" for s in everything) >= len(everything) / 4


@pytest.mark.parametrize("part", SHIPPED)
def test_each_part_exercises_every_tool_and_rule(shipped, part):
    about = {name for s in shipped[part] for name in s.about}
    assert {t.name for t in shop_tools(Store.sample())} | set(rules()) <= about


def test_no_wording_stands_in_two_parts(shipped):
    seen = {}
    for part, scenarios in shipped.items():
        for text in {text.lower() for s in scenarios for text in s.openings}:
            assert seen.setdefault(text, part) == part


@pytest.mark.parametrize("part", SHIPPED)
def test_whoever_does_nothing_serves_almost_nobody(shipped, part):
    won = [run(do_nothing, s).success for s in shipped[part]]
    assert sum(won) / len(won) <= 0.1


@pytest.mark.parametrize("part", SHIPPED)
def test_the_expected_changes_after_a_yes_are_the_right_end(shipped, part):
    """Whatever has to be said: the end state of each scenario can be reached without breaking a rule."""
    for scenario in shipped[part]:
        outcome = run(perfect(scenario), scenario)
        assert not outcome.violations, str(outcome)
        assert [w for w in outcome.why if not w.startswith(("No reply says", "A reply says"))] == [], str(outcome)
