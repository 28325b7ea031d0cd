"""Streams of news whose truth is known, what is usual in them, alarms, what they are worth, and the monitor over them."""

from datetime import datetime

import numpy as np
import pytest

from agentlab import news, stream, watch
from agentlab.errors import AgentLabError, UnknownName
from agentlab.monitor import Monitor
from agentlab.stream import STEP_HOURS, STEPS_A_DAY, STEPS_A_WEEK, Counts, Planted, Quarter, Told, World, certain

MONDAY = datetime(2026, 1, 5)


@pytest.fixture(scope="module")
def pool():
    return news.load_news("train")


@pytest.fixture(scope="module")
def counted(pool):
    told = stream.true_labels(pool)
    return [stream.count(stream.simulate(pool, seed), told) for seed in range(32)]


def item(text="Halvern sells less", company="HLVN", topic="sales", sentiment="negative", hour=0.0, story=""):
    time = datetime.fromtimestamp(MONDAY.timestamp() + 3600 * hour)
    return news.News(text, company, topic, sentiment, time, story=story)


def counts_of(negative, planted=(), sent=None, subjects=("company HLVN",)):
    negative = np.atleast_2d(np.asarray(negative, float))
    sent = np.zeros((len(planted), *negative.shape)) if sent is None else np.asarray(sent, float)
    return Counts(subjects, negative, sent, np.ones(negative.shape[1]), np.zeros_like(negative), tuple(planted))


# --- simulated and written quarters ---


def test_a_simulated_quarter_is_the_same_for_the_same_seed_and_its_truth_is_known(pool):
    one, again, other = (stream.simulate(pool, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.picks, again.picks)
    assert np.array_equal(one.hours, again.hours)
    assert not np.array_equal(one.picks[:50], other.picks[:50])
    assert sum(p.kind == "surge" for p in one.planted) == 6
    assert (np.diff(one.hours) >= 0).all()
    assert all(p.start >= 24 * World().quiet_days for p in one.planted)


def test_a_surge_sends_negative_items_of_its_subject_and_a_busy_time_none(pool):
    quarter = stream.simulate(pool, 3)
    for number, plan in enumerate(quarter.planted):
        sent = [quarter.pool[p] for p, o in zip(quarter.picks, quarter.origin, strict=True) if o == number]
        assert sent
        if plan.company:
            assert {i.company for i in sent} == {plan.company}
        else:
            assert {i.topic for i in sent} == {plan.topic}
        bad = np.mean([i.sentiment == "negative" for i in sent])
        assert bad == 0 if plan.kind == "busy" else bad > 0.6


def test_nights_and_weekends_bring_less(pool):
    hours = np.concatenate([stream.simulate(pool, seed).hours for seed in range(6)])
    night, noon = np.mean(hours % 24 < 5), np.mean((hours % 24 >= 9) & (hours % 24 < 14))
    sunday, tuesday = np.mean(hours // 24 % 7 == 6), np.mean(hours // 24 % 7 == 1)
    assert night < noon / 3
    assert sunday < tuesday / 2


def test_too_few_items_to_simulate_from_are_refused(pool):
    with pytest.raises(AgentLabError, match="These 3 items are too few to simulate from"):
        stream.simulate(pool[:3], 0)


def test_the_written_quarter_has_its_items_at_their_own_times():
    items = [item(hour=30, story="x"), item(hour=10)]
    events = [news.PlacedEvent("x", "surge", "HLVN", "sales", MONDAY.date(), MONDAY.date(), "w")]
    quarter = stream.written_quarter(items, events, MONDAY, days=7)
    assert quarter.hours.tolist() == [10, 30]
    assert quarter.origin.tolist() == [-1, 0]
    assert quarter.when(30) == datetime(2026, 1, 6, 6)


def test_a_quarter_without_news_or_an_event_without_items_is_refused():
    event = news.PlacedEvent("x", "surge", "HLVN", "sales", MONDAY.date(), MONDAY.date(), "w")
    with pytest.raises(AgentLabError, match="the list of items is empty"):
        stream.written_quarter([], [], MONDAY)
    with pytest.raises(AgentLabError, match="No item tells of the event 'x'"):
        stream.written_quarter([item()], [event], MONDAY)


# --- counting ---


def test_an_item_counts_for_its_topic_and_for_everybody_it_is_bad_for_and_a_doubtful_one_in_part():
    pool = [item(), item("Halvern and Quillon both lose"), item("Halvern sells more", sentiment="positive")]
    told = [
        certain(["HLVN"], "sales", True),
        certain(["HLVN", "QLSC"], "sales", True),
        Told({"topic sales": 0.25}, {"company HLVN": 1.0, "topic sales": 0.75}),
    ]
    quarter = Quarter(pool, STEP_HOURS * np.array([0.2, 1.1, 1.5]), np.array([0, 1, 2]), np.array([-1, -1, -1]), days=7)
    counts = stream.count(quarter, told, ("company HLVN", "company QLSC", "topic sales", "topic legal"))
    assert counts.negative[:, :3].tolist() == [[1, 1, 0], [0, 1, 0], [1, 1.25, 0], [0, 0, 0]]
    assert counts.calm[:, :3].tolist() == [[0, 1, 0], [0, 0, 0], [0, 0.75, 0], [0, 0, 0]]
    assert counts.everything[:3].tolist() == [1, 2, 0]


def test_readings_that_do_not_fit_the_pool_are_refused(pool):
    with pytest.raises(AgentLabError, match=f"The pool has {len(pool)} items and 2 of them were read"):
        stream.count(stream.simulate(pool, 0), [Told({})] * 2)


# --- what is usual ---


def test_the_shape_of_the_week_has_mean_one_and_needs_a_week():
    everything = np.tile(np.repeat([4.0, 4, 4, 4, 4, 1, 0], STEPS_A_DAY), 5)
    shape = watch.week_shape(everything)
    assert shape.mean() == pytest.approx(1)
    assert 0 < shape[6 * STEPS_A_DAY] < shape[5 * STEPS_A_DAY] < shape[0]
    with pytest.raises(AgentLabError, match=r"One week of news is needed.*there are 2\.0 days"):
        watch.week_shape(everything[: 2 * STEPS_A_DAY])


def test_the_baseline_is_the_mean_of_a_window_that_ends_before_the_gap():
    rng = np.random.default_rng(0)
    counts, shape = rng.poisson(2.0, (3, 90)).astype(float), np.ones(90)
    found = watch.moving_baseline(counts, shape, window=20, gap=5, prior=1e-9)
    for t in (30, 60, 89):
        assert found[:, t] == pytest.approx(counts[:, t - 25 : t - 5].mean(1))


def test_a_surge_does_not_raise_its_own_baseline_within_the_gap():
    counts = np.ones((1, 60))
    counts[0, 40:] = 50
    found = watch.moving_baseline(counts, np.ones(60), window=20, gap=10, prior=1e-9)[0]
    assert found[49] == pytest.approx(1)
    assert found[51] > 2


def test_a_subject_never_heard_of_is_not_expected_to_stay_at_zero():
    counts = np.zeros((2, 60))
    counts[0] = 1.0
    found = watch.moving_baseline(counts, np.ones(60))
    assert found[1].min() > 0
    assert found[1, -1] < found[0, -1]


def test_a_busy_time_raises_what_is_expected_by_the_share_that_is_misread():
    steps = 6 * STEPS_A_WEEK
    calm = np.zeros((1, steps))
    calm[0, -STEPS_A_DAY:] = 1.0  # a day with 24 items that are no bad news, after weeks without any
    busy = Counts(("company HLVN",), np.zeros((1, steps)), np.zeros((0, 1, steps)), np.ones(steps), calm)
    alert, perfect = watch.usual(busy, misread=0.1)[0], watch.usual(busy, misread=0.0)[0]
    assert alert[-1] - perfect[-1] == pytest.approx(0.1, rel=0.05)  # of 24 items a day 2.4, an hour 0.1
    assert alert[-2 * STEPS_A_DAY] == pytest.approx(perfect[-2 * STEPS_A_DAY])


# --- detectors ---


def test_a_surge_sums_up_and_what_is_usual_does_not():
    usual = np.full((1, 40), 2.0)
    counts = usual.copy()
    assert watch.cusum(counts, usual).max() == 0
    counts[0, 20:24] = 12
    sums = watch.cusum(counts, usual)[0]
    assert sums[:20].max() == 0
    assert sums[20] < sums[23]


def test_cusum_is_the_best_likelihood_ratio_over_all_beginnings():
    from scipy.stats import poisson

    rng = np.random.default_rng(1)
    expected = np.full((1, 60), 0.5)
    counts = rng.poisson(0.5, (1, 60)).astype(float)
    counts[0, 30:40] += rng.poisson(2, 10)
    high = expected[0] + watch.SURGE / STEPS_A_DAY
    gain = poisson.logpmf(counts[0], high) - poisson.logpmf(counts[0], expected[0])
    best = [max(0.0, *(gain[a : t + 1].sum() for a in range(t + 1))) for t in range(60)]
    assert watch.cusum(counts, expected)[0] == pytest.approx(best)
    assert watch.cusum(counts, expected, ceiling=5.0).max() == 5.0


def test_surprise_counts_the_deviations_of_the_last_day():
    counts, expected = np.zeros((1, 3 * STEPS_A_DAY)), np.full((1, 3 * STEPS_A_DAY), 4 / STEPS_A_DAY)
    counts[0, STEPS_A_DAY] = 12.0
    found = watch.surprise(counts, expected)[0]
    assert found[STEPS_A_DAY] == pytest.approx((12 - 4) / 2)  # a day of mean 4 has the deviation 2
    assert found[2 * STEPS_A_DAY - 1] == pytest.approx(4)
    assert found[2 * STEPS_A_DAY] < 0


def test_an_alarm_is_raised_once_until_things_calm_down_and_not_in_the_warm_up():
    scores = np.array([[9, 0, 0, 3, 9, 6, 9, 1, 0, 0, 9, 9.0]])
    alarms = watch.raise_alarms(scores, ["x"], threshold=8, calm=0.25, warm_up=2)
    assert [(a.hour, a.since, a.until) for a in alarms] == [
        (5 * STEP_HOURS, 3 * STEP_HOURS, 7 * STEP_HOURS),
        (11 * STEP_HOURS, 10 * STEP_HOURS, 12 * STEP_HOURS),
    ]
    assert alarms[0].score == 9


def test_an_unknown_detector_is_refused_by_name():
    with pytest.raises(UnknownName, match=r"Unknown detector 'cusm'\. Did you mean 'cusum'"):
        watch.alarms_of(counts_of(np.ones(STEPS_A_WEEK)), 5, "cusm")


# --- how good alarms are ---


def one_surge(send=10.0, noise=0.0):
    """A surge in steps 4 to 7 that sends so many items, and as much noise beside it."""
    negative, sent = np.zeros((1, 20)), np.zeros((1, 1, 20))
    sent[0, 0, 4:8] = send
    negative[0] = sent[0, 0] + noise * (np.arange(20) < 8)
    surge = Planted("surge", "HLVN", "sales", 4.0 * STEP_HOURS, 8.0 * STEP_HOURS)
    return counts_of(negative, [surge], sent)


def alarm(step, since=0):
    """An alarm at the end of the step before this one."""
    return watch.Alarm("company HLVN", float(step * STEP_HOURS), float(since * STEP_HOURS), 20.0 * STEP_HOURS, 12.0)


def test_an_alarm_is_right_if_a_surge_sent_at_least_half_of_what_led_to_it():
    assert watch.origin_of(alarm(6, 4), one_surge()) == 0
    assert watch.origin_of(alarm(4), one_surge(noise=3)) is None  # before the surge has sent anything
    assert watch.origin_of(alarm(6), one_surge(send=10, noise=4)) is None  # 20 of 44
    assert watch.origin_of(alarm(6), one_surge(send=10, noise=3)) == 0  # 20 of 38
    assert watch.origin_of(alarm(3), one_surge()) is None  # nothing negative at all


def test_alarms_are_held_against_what_was_planted():
    verdict = watch.judge([alarm(3), alarm(6, 4), alarm(7, 4)], one_surge())
    assert verdict == watch.Verdict((2.0 * STEP_HOURS,), right=2, false=1)
    assert watch.judge([], one_surge()) == watch.Verdict((None,), 0, 0)
    assert verdict.found(24) == 1
    assert verdict.found(1) == 0


def test_errors_are_added_up_at_their_prices():
    verdict = watch.Verdict((6.0, None, 500.0), right=2, false=3)
    assert watch.Costs(missed=100, hour=2, false=10).of(verdict) == 12 + 100 + 100 + 30


def test_the_summary_of_two_quarters():
    verdicts = [watch.Verdict((6.0, None), 1, 1), watch.Verdict((30.0, 2.0), 2, 0)]
    assert watch.summary(verdicts) == {
        "in_time": 0.5, "found": 0.75, "precision": 0.75, "false_a_quarter": 0.5, "median_delay_hours": 6.0,
    }  # fmt: skip


def test_without_surges_or_thresholds_nothing_can_be_said():
    with pytest.raises(AgentLabError, match="There is no surge in these quarters"):
        watch.summary([watch.Verdict((), 0, 3)])
    with pytest.raises(AgentLabError, match="No threshold was tried"):
        watch.cheapest([])


def test_dearer_false_alarms_never_lower_the_threshold(counted):
    grid = (6, 9, 12, 15, 20)
    chosen = [watch.cheapest(watch.sweep(counted[:6], grid, watch.Costs(false=price))).threshold for price in (1, 20, 400)]  # fmt: skip
    assert chosen == sorted(chosen)
    assert chosen[0] < chosen[2]


def test_with_true_labels_nine_of_ten_surges_are_found_and_at_most_one_alarm_a_quarter_is_false(counted):
    chosen = watch.cheapest(watch.sweep(counted[:16], (10, 12, 13, 14, 16), watch.Costs()))
    held_out = watch.sweep(counted[16:], (chosen.threshold,), watch.Costs())[0].figures
    assert held_out["in_time"] >= 0.88  # 96 surges: 0.94 give or take 0.03
    assert held_out["false_a_quarter"] <= 1


def test_readings_dealt_to_the_wrong_texts_find_next_to_nothing(pool):
    told = stream.true_labels(pool)
    dealt = [told[n] for n in np.random.default_rng(0).permutation(len(told))]
    counted = [stream.count(stream.simulate(pool, seed), dealt) for seed in range(4)]
    assert watch.sweep(counted, (14,), watch.Costs())[0].figures["in_time"] <= 0.25


def test_in_a_quarter_without_surges_every_alarm_is_false(pool):
    calm = World(company_surges=0, topic_surges=0, busy=2)
    counts = stream.count(stream.simulate(pool, 5, calm), stream.true_labels(pool))
    alarms = watch.alarms_of(counts, 3)
    assert alarms
    assert watch.judge(alarms, counts) == watch.Verdict((), 0, len(alarms))


# --- the monitor ---


@pytest.fixture(scope="module")
def monitor():
    items = [i for part in ("test", "challenge", "events") for i in news.load_news(part)]
    quarter = stream.written_quarter(items, news.load_events(), MONDAY)
    return Monitor(quarter, stream.true_labels(items), 14)


def test_every_surge_of_the_written_quarter_rings_within_a_day_and_no_busy_day_does(monitor):
    verdict = watch.judge(monitor.alarms, monitor.counts)
    assert verdict.found() == len(verdict.delays) == 14
    assert verdict.false == 0


def test_the_messages_behind_an_alarm_are_negative_ones_on_its_subject(monitor):
    first = monitor.alarms[0]
    rows = monitor.messages(first)
    assert first.subject == "company HRTL"
    assert len(rows) >= 4
    for hour, message in rows:
        assert message.sentiment == "negative"
        assert message.company == "HRTL"
        assert first.since <= hour <= max(first.hour + 24, first.until)


def test_as_of_an_hour_nothing_later_is_shown(monitor):
    first = monitor.alarms[0]
    assert monitor.raised(first.hour - 1) == []
    assert monitor.raised(first.hour) == [first]
    assert all(hour <= first.hour for hour, _ in monitor.messages(first, first.hour))
    row = monitor.alarm_rows(first.hour)[0]
    assert row["on"] == "company HRTL"
    assert row["now"] == "on"
    assert monitor.alarm_rows(first.until)[-1]["now"].startswith("ended")


def test_of_very_many_messages_a_dozen_are_shown(monitor):
    rows = max((monitor.message_rows(a) for a in monitor.alarms), key=len)
    assert len(rows) == 13
    assert rows[-1]["text"].startswith("and ")


def test_a_stream_without_news_is_refused():
    empty = Quarter([], np.array([]), np.array([], int), np.array([], int))
    with pytest.raises(AgentLabError, match="The stream is empty: there is no news to watch"):
        Monitor(empty, [], 12)


def test_a_subject_that_is_not_watched_is_refused_by_name(monitor):
    with pytest.raises(UnknownName, match=r"Unknown subject 'company HLVM'\. Did you mean 'company HLVN'"):
        monitor.detail("company HLVM", 500)


def test_the_alt_text_of_the_overview_says_how_many_alarms_there_are_and_on_what(monitor):
    import matplotlib.pyplot as plt

    hour = monitor.alarms[1].hour
    figure, alt = monitor.overview(hour)
    plt.close(figure)
    assert f"{len(monitor.raised(hour))} alarms" in alt
    assert "company HRTL" in alt


def test_moving_the_time_changes_what_the_widget_says_and_a_choice_opens_the_messages(monitor):
    box = monitor.widget()
    (_, hour), speed, status, _, chosen, below = box.children[0].children, *box.children[1:]
    assert f"{len(monitor.alarms)} alarms so far" in status.value
    hour.value = int(monitor.alarms[0].hour)
    assert "1 alarms so far" in status.value
    assert len(chosen.options) == 1
    chosen.value = chosen.options[0][1]
    assert "Hearthloom" in below.value
    hour.value = 0
    assert "0 alarms so far" in status.value
    assert "No alarm yet" in below.value
    speed.value = "a week a tick"
    assert box.children[0].children[0].step == 168
