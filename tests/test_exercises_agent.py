"""The five faulty agents of lesson 06: each fault shows, the sound agent has none, and every play goes the same way."""

import random
import re

import pytest

from agentlab.errors import UnknownName
from agentlab.exercises import agent as lesson
from agentlab.exercises.engine import WRONG
from agentlab.exercises.faulty import (
    CONVERSATIONS,
    FAULTS,
    LETTERS,
    faults_of,
    faulty_agents,
    play,
    sound_agent,
    with_fault,
)
from agentlab.shop.store import Store
from agentlab.trials import evaluate

CANCELLED = re.compile(r"calls cancel_order\(order_id='(W\d+)'\): ok")


def lines_of(trace):
    return [re.sub(r"[\d.]+ ms", "", line) for line in trace.text().split("\n")]


@pytest.mark.parametrize("seed", range(20))
def test_five_agents_have_five_different_faults(seed):
    faults = faults_of(seed)
    assert list(faults) == list(LETTERS)
    assert len(set(faults.values())) == 5
    assert set(faults.values()) < set(FAULTS)


def test_other_seeds_give_other_orders():
    assert len({tuple(faults_of(seed).values()) for seed in range(20)}) > 15


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_shows_and_shows_in_the_same_way_each_time(fault):
    conversation, turn, line, text = lesson.where_it_shows(fault)
    once, again = play(with_fault(fault), conversation), play(with_fault(fault), conversation)
    assert lines_of(once) == lines_of(again)
    assert lines_of(once) != lines_of(play(sound_agent, conversation))
    assert once.turns[turn - 1].text().split("\n")[line - 1].strip().startswith(text[:16])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_agent_decides_the_same_again_from_its_trace(fault):
    for conversation in CONVERSATIONS:
        assert with_fault(fault)(Store.sample()).replay(play(with_fault(fault), conversation)) == []


def test_the_sound_agent_serves_every_conversation():
    traces = {name: play(sound_agent, name) for name in CONVERSATIONS}
    assert not any(t.stopped or t.handed_over for trace in traces.values() for t in trace.turns)
    assert CANCELLED.findall(traces["two speakers"].text()) == ["W20412"]
    assert CANCELLED.findall(traces["wrong number"].text()) == ["W20411"]
    assert "€34.80" in traces["wall mount"].turns[1].reply
    assert "7 orders" in traces["all orders"].turns[-1].reply
    assert "reason='changed_mind', opened=False" in traces["two returns"].text()


def test_what_each_fault_does():
    assert play(with_fault("confirmation"), "two speakers").turns[2].calls[-1].name == "cancel_order"
    assert play(with_fault("memory"), "two returns").turns[2].decisions[-1].arguments["reason"] == "damaged"
    assert play(with_fault("identity"), "all orders").turns[0].calls[0].name == "list_orders"
    assert CANCELLED.findall(play(with_fault("correction"), "wrong number").text()) == ["W20412"]
    assert "€35.00" in play(with_fault("wording"), "wall mount").turns[1].reply
    assert play(with_fault("loop"), "where is it").turns[1].stopped == "repeated"


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(UnknownName, match="two returns"):
        play(sound_agent, "two retuns")
    with pytest.raises(UnknownName, match="wording"):
        with_fault("words")


def test_own_messages_can_be_played():
    trace = play(faulty_agents()["A"], ["Hello!", "Where is my order W20854?"])
    assert [t.message for t in trace.turns] == ["Hello!", "Where is my order W20854?"]


def test_trials_take_the_agents_as_they_are(all_of_them):
    report = evaluate(faulty_agents()["A"], [all_of_them["cancel"]], seeds=1)
    assert report.outcomes[0].turns > 1


@pytest.mark.parametrize("letter", LETTERS)
def test_a_wrong_name_leads_to_the_trace_and_does_not_give_the_right_one_away(letter):
    [exercise] = [e for e in lesson.EXERCISES if e.id == "agent.planted_bugs"]
    wrong = lesson.instead(**{letter: lesson.left_out()})
    result = exercise.judge(wrong)
    conversation, turn, line, _ = lesson.where_it_shows(exercise.solution[letter])
    assert result.state == WRONG
    assert f"{letter}: play {conversation!r} and read turn {turn}, line {line} of its trace" in result.message
    assert exercise.solution[letter] not in result.message


def test_every_slip_of_a_stop_can_be_told_from_the_others():
    cases = [(*lesson.draw_calls(random.Random(0), letters), same, window) for letters, same, window in lesson.CIRCLES]
    rows = [tuple(lesson.circles(*case, **how) for case in cases) for how in [{}, *lesson.STOP_SLIPS.values()]]
    assert len(set(rows)) == len(rows)


def test_random_cases_tell_the_slips_apart_nearly_always():
    rng = random.Random(1)
    for number in range(10):
        found = [
            any(lesson.is_telling(lesson.draw_confidences(rng, number), number) for _ in range(2000)) for _ in range(5)
        ]
        assert all(found), number
