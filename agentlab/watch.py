"""Alarms over a stream of news: what is usual, where there is more than chance explains, and how good the alarms are.

Counts of negative news per subject (a company or a topic) are compared with a moving baseline. A detector sums up what speaks for
a surge; an alarm is raised once, until things calm down. Against quarters with planted surges it is measured how many are
found, how soon, and how often for nothing; the threshold is the one that costs least.

Arrays are (S, T): subjects by time steps. Sources: E. Page 1954, "Continuous inspection schemes", for CUSUM; J. Lucas 1985 for counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agentlab.errors import AgentLabError, UnknownName
from agentlab.news import News
from agentlab.stream import STEP_HOURS, STEPS_A_DAY, STEPS_A_WEEK, Counts, Quarter, Told, subjects_of

SURGE = 16.0  # items a day more than usual: the surge that CUSUM is tuned to
MISREAD = 0.1  # share of the items that are not negative and are read as if they were; on the validation part


# --- what is usual -------------------------------------------------------------------------------------------


def week_shape(everything: np.ndarray) -> np.ndarray:
    """How much news each step of a week usually brings, mean 1, as (T,) over the quarter; from the first four weeks.

    Some news is added to every step, so that a night without any is not impossible.
    """
    weeks = min(4, len(everything) // STEPS_A_WEEK)
    if weeks < 1:
        raise AgentLabError(
            f"One week of news is needed to see its shape; there are {len(everything) / STEPS_A_DAY:.1f} days."
        )
    shape = everything[: weeks * STEPS_A_WEEK].reshape(weeks, STEPS_A_WEEK).mean(0) + 0.5
    return np.resize(shape / shape.mean(), len(everything))


def moving_baseline(counts: np.ndarray, shape: np.ndarray, window: int = 28 * STEPS_A_DAY, gap: int = 2 * STEPS_A_DAY, prior: float = 5.0) -> np.ndarray:  # fmt: skip
    """What each step (S, T) should bring: the mean of a window that ends ``gap`` steps earlier, times the shape of the week.

    The gap keeps a surge out of its own baseline. ``prior`` is worth that many days of a usual subject, so that a company
    never heard of before is not expected to stay at zero (a Gamma prior on a Poisson rate).
    """
    S, T = counts.shape
    usual = max(counts[:, : min(T, window)].mean(), 1e-3)  # items a step of a usual subject
    weight = prior * STEPS_A_DAY
    seen = np.concatenate([np.zeros((S, 1)), counts.cumsum(1)], 1)  # (S, T + 1)
    exposed = np.concatenate([[0.0], shape.cumsum()])
    last = np.maximum(np.arange(T) - gap, 0)
    first = np.maximum(last - window, 0)
    rate = (seen[:, last] - seen[:, first] + weight * usual) / (exposed[last] - exposed[first] + weight)
    return rate * shape


# --- alarms --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alarm:
    """An alarm on a subject: raised at this hour; the news that led to it began at hour ``since``; ended at hour ``until``."""

    subject: str
    hour: float
    since: float
    until: float
    score: float


def surprise(counts: np.ndarray, expected: np.ndarray, steps: int = STEPS_A_DAY) -> np.ndarray:
    """How many standard deviations the last day lies above what was expected (S, T): the simple detector."""
    kernel = np.ones(steps)
    lately = np.apply_along_axis(lambda x: np.convolve(x, kernel)[: len(x)], 1, counts)
    usual = np.apply_along_axis(lambda x: np.convolve(x, kernel)[: len(x)], 1, expected)
    return (lately - usual) / np.sqrt(usual)


def cusum(counts: np.ndarray, expected: np.ndarray, extra: float = SURGE, ceiling: float = np.inf, shape: np.ndarray | float = 1.0) -> np.ndarray:  # fmt: skip
    """The CUSUM statistic for counts (S, T): evidence, in nats, that the rate has risen; 0 while nothing speaks for it.

    A surge is taken to bring ``extra`` items a day more than usual, spread over the week as ``shape`` (T,) says. Each step adds its log-likelihood ratio,
    count * log(surge / usual) - (surge - usual); the sum never falls below 0, nor rises above ``ceiling``, so that a surge that
    is over is soon forgotten.
    """
    surge = expected + extra / STEPS_A_DAY * shape
    gain = counts * np.log(surge / expected) - (surge - expected)  # (S, T)
    total, sums = np.zeros(len(counts)), np.zeros_like(gain)
    for t in range(gain.shape[1]):
        total = np.clip(total + gain[:, t], 0.0, ceiling)
        sums[:, t] = total
    return sums


def raise_alarms(
    scores: np.ndarray, subjects: Sequence[str], threshold: float, calm: float = 0.25, warm_up: int = 14 * STEPS_A_DAY
) -> list[Alarm]:
    """One alarm each time a score reaches ``threshold``; the next only after it has fallen below ``calm`` times that.

    Nothing is raised in the first ``warm_up`` steps, in which a baseline forms.
    """
    alarms, last = [], scores.shape[1]
    for subject, row in zip(subjects, scores, strict=True):
        high, low, silent = (np.flatnonzero(found) for found in (row >= threshold, row < calm * threshold, row <= 0))
        free, fresh = warm_up, 0  # from which step an alarm may be raised, and its evidence may begin
        while (place := np.searchsorted(high, free)) < len(high):
            t = int(high[place])
            before, after = np.searchsorted(silent, t), np.searchsorted(low, t)
            since = max(fresh, int(silent[before - 1]) + 1 if before else 0)
            end = int(low[after]) if after < len(low) else last
            alarms.append(Alarm(subject, (t + 1) * STEP_HOURS, since * STEP_HOURS, end * STEP_HOURS, float(row[t])))
            free = fresh = end + 1
    return sorted(alarms, key=lambda a: a.hour)


DETECTORS = ("surprise", "cusum")


def usual(counts: Counts, misread: float = MISREAD) -> np.ndarray:
    """What each step of a stream should bring (S, T): the moving baseline of its counts, and what busy times add by mistake.

    A reader takes some items for negative that are not, a share of ``misread``. Where a subject had more other news than usual
    in the last day, so many more of its items have to be expected among the negative ones; a perfect reader needs 0.
    """
    shape = week_shape(counts.everything)
    expected = moving_baseline(counts.negative, shape)
    surplus = last_day(counts.calm) - last_day(moving_baseline(counts.calm, shape))  # items
    return expected + misread * np.maximum(0.0, surplus) / STEPS_A_DAY * shape


def last_day(rows: np.ndarray) -> np.ndarray:
    """The sum over the day that ends with each step (S, T)."""
    sums = np.concatenate([np.zeros((len(rows), STEPS_A_DAY)), rows.cumsum(1)], 1)
    return sums[:, STEPS_A_DAY:] - sums[:, :-STEPS_A_DAY]


def alarms_of(
    counts: Counts,
    threshold: float,
    detector: str = "cusum",
    expected: np.ndarray | None = None,
    extra: float = SURGE,
) -> list[Alarm]:
    """The alarms of a detector at a threshold; ``expected`` is what is usual, if it has been computed already.

    ``extra`` is the surge, in items a day, that CUSUM is tuned to.
    """
    if detector not in DETECTORS:
        raise UnknownName("detector", detector, DETECTORS)
    expected = usual(counts) if expected is None else expected
    if detector == "surprise":
        return raise_alarms(surprise(counts.negative, expected), counts.subjects, threshold)
    evidence = cusum(counts.negative, expected, extra, 1.5 * threshold, week_shape(counts.everything))
    return raise_alarms(evidence, counts.subjects, threshold)


# --- how good they are ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """One quarter's alarms against what was planted. ``delays`` has the hours to the first alarm, or None for a surge missed."""

    delays: tuple[float | None, ...]
    right: int
    false: int

    def found(self, within: float = 24.0) -> int:
        """How many surges had an alarm within so many hours."""
        return sum(d is not None and d <= within for d in self.delays)


def origin_of(alarm: Alarm, counts: Counts) -> int | None:
    """Which planted surge sent at least half of the negative news that led to an alarm; None where none did."""
    row = counts.subjects.index(alarm.subject)
    steps = slice(int(alarm.since // STEP_HOURS), int(alarm.hour // STEP_HOURS))
    sent = [counts.sent[n, row, steps].sum() if p.kind == "surge" else 0.0 for n, p in enumerate(counts.planted)]
    return int(np.argmax(sent)) if sent and 2 * max(sent) >= counts.negative[row, steps].sum() > 0 else None


def judge(alarms: Sequence[Alarm], counts: Counts) -> Verdict:
    """Hold alarms against what was planted: an alarm is right if a surge led to it, and else false."""
    origins = [origin_of(a, counts) for a in alarms]
    delays: list[float | None] = []
    for number, surge in enumerate(counts.planted):
        if surge.kind == "surge":
            hours = [a.hour - surge.start for a, origin in zip(alarms, origins, strict=True) if origin == number]
            delays.append(min(hours) if hours else None)
    right = sum(origin is not None for origin in origins)
    return Verdict(tuple(delays), right, len(alarms) - right)


@dataclass(frozen=True)
class Costs:
    """What errors cost, in one unit: a surge never noticed, an hour of delay, an alarm for nothing."""

    missed: float = 100.0
    hour: float = 1.0
    false: float = 20.0

    def of(self, verdict: Verdict) -> float:
        """The cost of a quarter."""
        waited = sum(min(d * self.hour, self.missed) for d in verdict.delays if d is not None)
        return waited + self.missed * sum(d is None for d in verdict.delays) + self.false * verdict.false


def summary(verdicts: Sequence[Verdict], within: float = 24.0) -> dict[str, float]:
    """Over many quarters: share of surges found in time and at all, precision, false alarms a quarter, median delay."""
    delays = [d for v in verdicts for d in v.delays]
    if not delays:
        raise AgentLabError("There is no surge in these quarters, so nothing can be said of how many are found.")
    found = [d for d in delays if d is not None]
    right, false = sum(v.right for v in verdicts), sum(v.false for v in verdicts)
    return {
        "in_time": sum(v.found(within) for v in verdicts) / len(delays),
        "found": len(found) / len(delays),
        "precision": right / (right + false) if right + false else 0.0,
        "false_a_quarter": false / len(verdicts),
        "median_delay_hours": float(np.median(found)) if found else float("nan"),
    }


@dataclass(frozen=True)
class Choice:
    """A threshold and what it led to on the quarters on which it was tried."""

    threshold: float
    cost: float
    figures: Mapping[str, float]


def sweep(
    counted: Sequence[Counts],
    thresholds: Sequence[float],
    costs: Costs,
    detector: str = "cusum",
    extra: float = SURGE,
) -> list[Choice]:
    """Try thresholds on quarters whose surges are known; ``counted`` holds what `count` made of each."""
    expected, choices = [usual(c) for c in counted], []
    for threshold in thresholds:
        verdicts = [
            judge(alarms_of(c, threshold, detector, e, extra), c) for c, e in zip(counted, expected, strict=True)
        ]
        choices.append(Choice(threshold, float(np.mean([costs.of(v) for v in verdicts])), summary(verdicts)))
    return choices


def cheapest(choices: Sequence[Choice]) -> Choice:
    """The threshold with the lowest mean cost a quarter."""
    if not choices:
        raise AgentLabError("No threshold was tried.")
    return min(choices, key=lambda c: c.cost)


def behind(alarm: Alarm, quarter: Quarter, told: Sequence[Told]) -> list[tuple[float, News]]:
    """The negative items on an alarm's subject, with their hours, from where its evidence began to where it ended."""
    end = min(alarm.until, alarm.hour + 24)
    rows = np.nonzero((quarter.hours >= alarm.since) & (quarter.hours < max(end, alarm.hour)))[0]
    return [
        (float(quarter.hours[n]), quarter.pool[quarter.picks[n]])
        for n in rows
        if alarm.subject in subjects_of(told[quarter.picks[n]])
    ]
