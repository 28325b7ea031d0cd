"""Financial news: the data, who is meant, and the alarms over streams whose truth is known."""

import numpy as np
import pytest

from agentlab import news, newsreader, stream, watch
from agentlab.errors import AgentLabError


@pytest.fixture(scope="module")
def items():
    return news.load_news()


def test_there_are_enough_items_of_every_topic_and_sentiment(items):
    assert len(items) >= 900
    topics = {i.topic for i in items}
    assert len(topics) >= 8
    for sentiment in news.SENTIMENTS:
        assert sum(i.sentiment == sentiment for i in items) >= 300


def test_stories_do_not_leak_between_the_parts():
    parts = {part: {i.story for i in news.load_news(part) if i.story} for part in ("train", "validation", "test")}
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["validation"]
    assert not parts["validation"] & parts["test"]


def test_every_item_is_about_a_known_company_and_every_event_has_items(items):
    companies, events = news.load_companies(), news.load_events()
    assert {i.company for i in items} <= {"", *companies}  # some are about a topic alone
    assert len(events) >= 12


def test_an_unknown_part_is_refused_by_name():
    with pytest.raises(AgentLabError, match=r"test"):
        news.load_news("tets")


def test_a_text_is_seen_from_the_side_of_the_company_that_is_meant():
    companies = news.load_companies()
    text = "Halvern wins the contract that Quillon Semiconductors lost"
    assert set(news.find_companies(text, companies)) == {"HLVN", "QLSC"}
    mine, theirs = news.masked(text, "HLVN", companies), news.masked(text, "QLSC", companies)
    assert mine.lower().startswith(news.MEANT)
    assert theirs.lower().startswith(news.OTHER)


def test_a_surge_sums_up_and_what_is_usual_does_not():
    usual = np.full((1, 40), 2.0)
    counts = usual.copy()
    assert watch.cusum(counts, usual).max() == 0
    counts[0, 20:24] = 12
    sums = watch.cusum(counts, usual)[0]
    assert sums[:20].max() == 0
    assert sums[20] < sums[23]


def test_a_simulated_quarter_is_the_same_for_the_same_seed_and_its_truth_is_known():
    pool = news.load_news("train")
    one, again, other = (stream.simulate(pool, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.picks, again.picks)
    assert np.array_equal(one.hours, again.hours)
    assert not np.array_equal(one.picks[:50], other.picks[:50])
    assert any(p.kind == "surge" for p in one.planted)
    assert (np.diff(one.hours) >= 0).all()


@pytest.fixture(scope="module")
def counted():
    pool = news.load_news("train")
    told = stream.true_labels(pool)
    return [stream.count(stream.simulate(pool, seed), told) for seed in range(16)]


def test_most_surges_are_found_within_a_day_and_few_alarms_are_false(counted):
    chosen = watch.cheapest(watch.sweep(counted[:8], (4, 6, 8, 10, 12, 15), watch.Costs()))
    held_out = watch.sweep(counted[8:], (chosen.threshold,), watch.Costs())[0].figures
    assert held_out["in_time"] >= 0.8
    assert held_out["false_a_quarter"] <= 2


def test_without_surges_nothing_can_be_said_of_how_many_are_found():
    with pytest.raises(AgentLabError, match="no surge"):
        watch.summary([])


def test_an_empty_list_of_headlines_is_read_as_nothing():
    assert newsreader.by_lexicon([]) == []
    assert news.find_companies("", news.load_companies()) == []
