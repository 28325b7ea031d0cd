"""Simulated customers: what they say, in which style, and what they take for a question."""

import random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agentlab.customers import SimulatedCustomer, asked_for, asks_to_confirm, styled
from agentlab.scenarios import load_scenarios
from tests.visits import Turn, entry


def test_a_seed_changes_wordings_but_not_facts(all_of_them):
    asked = [Turn("Please give me your e-mail address and your postcode.", "email"), Turn("Thanks.")]
    for scenario in all_of_them.values():
        talks = set()
        for seed in range(12):
            customer = SimulatedCustomer(scenario, seed)
            said = [customer.opening(), *filter(None, map(customer.answer, asked))]
            assert said[0] in scenario.openings
            if "email" in scenario.knows:
                assert scenario.knows["email"] in said[1]
            talks.add(tuple(said))
        assert len(talks) > 1
    customers = [SimulatedCustomer(all_of_them["cancel"], 3) for _ in range(2)]
    assert customers[0].opening() == customers[1].opening()
    assert customers[0].answer(asked[0]) == customers[1].answer(asked[0])


@pytest.mark.parametrize("style", ["plain", "brief", "chatty", "typos", "formal", "non_native", "shouting"])
def test_a_style_leaves_facts_alone(tmp_path, style):
    file = tmp_path / "mine.yml"
    file.write_text(yaml.safe_dump([entry(style=style)]))
    [scenario] = load_scenarios(files=[file])
    for seed in range(20):
        said = SimulatedCustomer(scenario, seed).answer(Turn("Your e-mail and order number?", "email"))
        assert "suryani@example.org" in said
        assert "W20407" in said


def test_styles_sound_different():
    rng = random.Random(0)
    assert styled("My postcode is {}.", "brief", rng) == "my postcode is {}"
    assert styled("My postcode is {}.", "shouting", rng) == "MY POSTCODE IS {}!!"
    assert styled("My postcode is {}.", "non_native", rng) == "postcode is {}."
    assert sorted(styled("My postcode is {}.", "typos", rng)) == sorted("My postcode is {}.")
    assert styled("My postcode is {}.", "typos", rng) != "My postcode is {}."


def test_a_customer_tells_what_is_asked_and_no_more(all_of_them):
    customer = SimulatedCustomer(all_of_them["cancel"])
    assert "2516 LM" in customer.answer(Turn("And the postcode?"))
    assert "suryani@example.org" not in customer.answer(Turn("What is your order number?", "order_id"))
    both = SimulatedCustomer(all_of_them["cancel"]).answer(Turn("I need your e-mail, and an order number or postcode."))
    assert "suryani@example.org" in both
    assert "W20407" in both
    assert "2516 LM" not in both


def test_a_customer_who_is_slow_tells_one_thing_at_a_time(all_of_them):
    said = SimulatedCustomer(all_of_them["slow"]).answer(Turn("Your e-mail address and order number, please?"))
    assert "niamh.orourke@example.net" in said
    assert "W20403" not in said


def test_what_was_told_is_told_again_only_when_it_is_asked_for_again(all_of_them):
    customer = SimulatedCustomer(all_of_them["slow"])
    still = Turn("Thank you, I have your e-mail address; what is still missing is an order number.", "order_id")
    assert "niamh.orourke@example.net" in customer.answer(Turn("Your e-mail address?", "email"))
    assert "W20403" in customer.answer(still)
    both = SimulatedCustomer(all_of_them["cancel"])
    first, again = (both.answer(Turn("I need your e-mail address and an order number.", "email")) for _ in range(2))
    assert "suryani@example.org" in first
    assert "W20407" in again


def test_a_customer_who_is_asked_what_they_want_says_it_again(all_of_them):
    customer, question = SimulatedCustomer(all_of_them["cancel"]), Turn("Would you like A, or B?", "intent")
    said = [customer.opening(), *(customer.answer(question) for _ in range(3))]
    assert set(said[:2]) == set(all_of_them["cancel"].openings)
    assert said[1] == said[2] == said[3]


def test_what_a_customer_says_to_a_reply_is_the_wish_from_then_on(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text(yaml.safe_dump([entry(answers=[{"if": "cannot", "say": ["Then keep it."]}])]))
    customer = SimulatedCustomer(load_scenarios(files=[file])[0])
    assert customer.answer(Turn("I cannot.")) == "Then keep it."
    assert customer.answer(Turn("Do you mean A or B?", "intent")) == "Then keep it."


def test_a_customer_asked_again_repeats_what_the_scenario_made_them_say(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text(yaml.safe_dump([entry(answers=[{"asks": "reason", "say": ["it is too big"]}])]))
    customer, question = SimulatedCustomer(load_scenarios(files=[file])[0]), Turn("Why?", "reason")
    assert [customer.answer(question) for _ in range(2)] == ["it is too big"] * 2


def test_a_customer_does_not_know_what_the_scenario_does_not_say(all_of_them):
    said = SimulatedCustomer(all_of_them["cancel"]).answer(Turn("Which position?", "position"))
    assert said in ("I don't know.", "Sorry, I don't know that.", "I can't tell you that.")


def test_a_customer_knows_things_by_more_than_one_name(all_of_them):
    customer = SimulatedCustomer(all_of_them["other_street"])
    assert customer.answer(Turn("Which street?", "street")) == "Storgata 55, 2615 Lillehammer"


def test_a_customer_says_yes_but_not_to_another_order(all_of_them):
    customer = SimulatedCustomer(all_of_them["cancel"])
    assert customer.answer(Turn("Shall I cancel W20407?", "confirm")).startswith("Yes")
    assert customer.answer(Turn("Shall I cancel it?")).startswith("Yes")
    assert customer.answer(Turn("Shall I cancel W20408?", "confirm")).startswith("No")


def test_a_customer_wants_a_person_only_where_the_scenario_does(all_of_them):
    offer = Turn("I am sorry. Would you like a person to look at it?")
    assert SimulatedCustomer(all_of_them["cancel"]).answer(offer).startswith("No")
    assert SimulatedCustomer(all_of_them["hot_charger"]).answer(offer).startswith("YES")
    offer = Turn("I am sorry. I can hand you over to a person if you like.")
    assert SimulatedCustomer(all_of_them["cancel"]).answer(offer) is None
    assert SimulatedCustomer(all_of_them["hot_charger"]).answer(offer).startswith("YES")


def test_a_customer_rephrases_while_there_are_wordings(all_of_them):
    scenario = all_of_them["cancel"]
    customer, puzzled = SimulatedCustomer(scenario), Turn("I did not understand. Could you rephrase that?")
    assert {customer.opening(), customer.answer(puzzled)} == set(scenario.openings)
    assert customer.answer(puzzled) is None


def test_an_answer_of_the_scenario_comes_first_and_as_often_as_it_says(tmp_path):
    answers = [
        {"asks": "confirm", "if": "refund", "say": ["How much?"]},
        {"asks": "confirm", "say": ["hmm"], "times": 2},
        {"if": "^SORRY", "say": ["never mind"]},
    ]
    file = tmp_path / "mine.yml"
    file.write_text(yaml.safe_dump([entry(answers=answers)]))
    customer, question = SimulatedCustomer(load_scenarios(files=[file])[0]), Turn("Shall I?", "confirm")
    assert [customer.answer(question) for _ in range(2)] == ["hmm", "hmm"]
    assert customer.answer(question).startswith("Yes")
    assert customer.answer(Turn("Shall I refund it?", "confirm")) == "How much?"
    assert customer.answer(Turn("Sorry, no.")) == "never mind"


def test_an_expression_waits_until_a_question_for_something_new_is_answered(tmp_path):
    file = tmp_path / "mine.yml"
    file.write_text(yaml.safe_dump([entry(answers=[{"if": "address", "say": ["Kerkstraat 1"]}])]))
    customer, question = SimulatedCustomer(load_scenarios(files=[file])[0]), Turn("Your e-mail address?", "email")
    assert "suryani@example.org" in customer.answer(question)
    assert customer.answer(question) == "Kerkstraat 1"


def test_further_wishes_come_one_by_one_and_then_goodbye(all_of_them):
    scenario = all_of_them["track"]
    customer = SimulatedCustomer(scenario)
    customer.opening()
    assert customer.answer(Turn("It is on its way.")) in scenario.then[0]
    assert customer.answer(Turn("Yes.")) in scenario.then[1]
    assert not customer.gone
    assert customer.answer(Turn("Tomorrow.")) is None
    assert customer.gone


@given(
    reply=st.lists(
        st.one_of(
            st.text(max_size=200),
            st.sampled_from(["e-mail?", "Shall I?", "Which order W20407?", "a person?", "rephrase", "{}"]),
        )
    ).map(" ".join),
    asks=st.one_of(st.none(), st.sampled_from(["confirm", "email", "wish", "position", "no such slot", ""])),
    seed=st.integers(0, 50),
    number=st.integers(0, 11),
)
@settings(max_examples=150)
def test_a_customer_answers_any_reply_within_twelve_messages(all_of_them, reply, asks, seed, number):
    customer = SimulatedCustomer(list(all_of_them.values())[number], seed)
    messages = [customer.opening()]
    while (said := customer.answer(Turn(reply, asks))) is not None:
        assert said.strip()
        messages.append(said)
    assert len(messages) <= 12
    assert customer.answer(Turn(reply, asks)) is None


@pytest.mark.parametrize(
    ("reply", "slots"),
    [
        ("Which e-mail address, and which order number?", ["email", "order_id"]),
        ("Please send me your post code.", ["postcode"]),
        ("You get an e-mail. The order no longer waits.", []),
        ("", []),
    ],
)
def test_questions_are_read_from_the_words(reply, slots):
    assert asked_for(reply) == slots


def test_a_question_for_a_yes_is_read_from_the_words_unless_the_agent_says_what_it_asks():
    assert asks_to_confirm("Is that right?")
    assert asks_to_confirm("Please confirm: W1 will be cancelled.")
    assert not asks_to_confirm("Is that right?", "email")
    assert not asks_to_confirm("It is confirmed.")
