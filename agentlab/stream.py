"""News as a stream: simulated quarters in which it is known what should be found, and counts of the negative news in them.

Written items are drawn again and again into quarters whose days, counts and surges are simulated: dates are made up, texts are
not. Hours run from the quarter's first midnight; counts are arrays (S, T), subjects by time steps of `STEP_HOURS`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from agentlab.errors import AgentLabError
from agentlab.news import SENTIMENTS, News, PlacedEvent

STEP_HOURS = 1
STEPS_A_DAY = 24 // STEP_HOURS
STEPS_A_WEEK = 7 * STEPS_A_DAY
# how much news comes in each hour of a day, and on Saturday and Sunday against a weekday
BY_HOUR = np.array([1, 1, 1, 1, 2, 4, 8, 10, 10, 9, 8, 8, 7, 8, 8, 8, 7, 6, 5, 4, 4, 3, 2, 1], float)
WEEKEND = 0.35


# --- simulated quarters --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """What a simulated quarter is like. Rates are items a day."""

    days: int = 91
    quiet_days: int = 28  # at the beginning, without surges: there is nothing to compare with yet
    company_rate: tuple[float, float] = (0.5, 3.0)  # each company draws its own from here
    economy_rate: float = 4.0  # news of no company
    retold: float = 0.4  # how often, on average, an item is told again within a day
    mood: tuple[float, float, float] = (0.36, 0.38, 0.26)  # positive, neutral, negative outside of surges
    company_surges: int = 4
    topic_surges: int = 2
    busy: int = 2  # many items on one company, none negative
    surge_rate: tuple[float, float] = (12.0, 36.0)
    surge_days: tuple[float, float] = (2.0, 4.0)


@dataclass(frozen=True)
class Planted:
    """A surge that was planted (or busy days) on a company, a topic or both, from hour ``start`` to ``end``; ``rate`` items a day."""

    kind: str  # surge or busy
    company: str
    topic: str
    start: float
    end: float
    rate: float = 0.0
    name: str = ""


@dataclass
class Quarter:
    """A stream: which item of the pool arrives at which hour, in order, and which planted event it belongs to (-1: none)."""

    pool: Sequence[News]
    hours: np.ndarray  # (N,)
    picks: np.ndarray  # (N,) places in the pool
    origin: np.ndarray  # (N,) places among the planted
    planted: list[Planted] = field(default_factory=list)
    days: int = 91
    first_day: datetime = datetime(2026, 1, 5)

    def __post_init__(self):
        order = np.argsort(self.hours, kind="stable")
        self.hours, self.picks = np.asarray(self.hours, float)[order], np.asarray(self.picks, int)[order]
        self.origin = np.asarray(self.origin, int)[order]

    @property
    def steps(self) -> int:
        return self.days * STEPS_A_DAY

    def when(self, hour: float) -> datetime:
        """The hour as a date and time."""
        return self.first_day + timedelta(hours=float(hour))


def company_subject(ticker: str) -> str:
    """The name of a company's series."""
    return f"company {ticker}"


def topic_subject(topic: str) -> str:
    """The name of a topic's series."""
    return f"topic {topic}"


def simulate(pool: Sequence[News], seed: int, world: World | None = None) -> Quarter:
    """A quarter of news drawn from ``pool`` (with its true labels): ordinary days, surges, and busy days that are none.

    Raises `AgentLabError` where the pool lacks companies, topics or negative items to draw from.
    """
    world, rng = world or World(), np.random.default_rng(seed)
    shelves = Shelves(pool)
    hours, picks = [], []
    for company in ["", *shelves.companies]:
        rate = rng.uniform(*world.company_rate) if company else world.economy_rate
        first_told = _arrivals(rng, rate / (1 + world.retold), 0, 24 * world.days)
        moods = rng.choice(3, len(first_told), p=world.mood)
        for hour, mood, again in zip(first_told, moods, rng.poisson(world.retold, len(first_told)), strict=True):
            first = shelves.draw(rng, company, SENTIMENTS[mood])
            hours += [hour, *(hour + rng.uniform(0, 24, again))]
            picks += [first, *(shelves.retell(rng, first) for _ in range(again))]
    origin = [-1] * len(hours)
    planted = _plan(rng, shelves, world)
    for number, plan in enumerate(planted):
        for hour in _arrivals(rng, plan.rate, plan.start, plan.end, weekend=0.7):
            hours.append(hour)
            picks.append(shelves.draw_planted(rng, plan))
            origin.append(number)
    return Quarter(pool, np.array(hours), np.array(picks), np.array(origin), planted, world.days)


class Shelves:
    """The items of a pool by company, topic and sentiment; "*" stands for any of them."""

    def __init__(self, pool: Sequence[News]):
        self.pool = pool
        self.places: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for n, item in enumerate(pool):
            for company in (item.company, "*"):
                for topic in (item.topic, "*"):
                    self.places[company, topic, item.sentiment].append(n)
        self.companies = sorted({i.company for i in pool} - {""})
        self.topics = sorted({i.topic for i in pool})
        self.surging = [c for c in self.companies if len(self.places[c, "*", "negative"]) >= 5]
        if not self.surging or any(not self.places["*", t, "negative"] for t in self.topics):
            raise AgentLabError(
                f"These {len(pool)} items are too few to simulate from: five negative ones of some company and one of each topic are needed."
            )

    def rich_topics(self, company: str) -> list[str]:
        """The topics on which a company has most negative items: a surge is told in several texts."""
        held = {t: len(self.places[company, t, "negative"]) for t in self.topics}
        return [t for t, n in held.items() if n >= min(3, max(held.values()))]

    def draw(self, rng, company: str, sentiment: str, topic: str = "*") -> int:
        """A place in the pool; where that shelf is empty, from a wider one."""
        wider = (
            (company, topic, sentiment),
            (company, "*", sentiment),
            (company, "*", "neutral"),
            ("*", "*", sentiment),
        )
        shelf = next((self.places[key] for key in wider if self.places[key]), range(len(self.pool)))
        return shelf[rng.integers(len(shelf))]

    def retell(self, rng, first: int) -> int:
        """The same kind of news again, in other words where there are any."""
        item = self.pool[first]
        return self.draw(rng, item.company, item.sentiment, item.topic)

    def draw_planted(self, rng, plan: Planted) -> int:
        """An item of a surge: mostly negative and on its topic; one of ten is neutral, such as a statement. Busy days: none is negative."""
        company, topic = plan.company or "*", plan.topic or "*"
        if plan.kind == "busy":
            return self.draw(rng, company, SENTIMENTS[rng.integers(2)])
        sentiment = "neutral" if rng.random() < 0.1 else "negative"
        return self.draw(rng, company, sentiment, topic if company == "*" or rng.random() < 0.6 else "*")


def _arrivals(rng, rate: float, start: float, end: float, weekend: float = WEEKEND) -> np.ndarray:
    """Hours of a Poisson stream with ``rate`` items on a weekday, fewer by night and at weekends."""
    weights = BY_HOUR / BY_HOUR.sum()
    hour = np.arange(int(start), int(end))
    mean = rate * weights[hour % 24] * np.where(hour // 24 % 7 >= 5, weekend, 1.0)
    counts = rng.poisson(mean)
    return np.repeat(hour, counts) + rng.uniform(0, 1, counts.sum())


def _plan(rng, shelves: Shelves, world: World) -> list[Planted]:
    """Where surges and busy days lie: each on a subject of its own, beginning in working hours."""
    companies = list(rng.permutation(shelves.surging))
    topics = list(rng.permutation(shelves.topics))
    plans = []
    for kind, subjects in [
        *[("surge", "company")] * world.company_surges, *[("surge", "topic")] * world.topic_surges, *[("busy", "company")] * world.busy,
    ]:  # fmt: skip
        days = rng.uniform(*world.surge_days)
        start = 24 * int(rng.integers(world.quiet_days, world.days - 5)) + rng.uniform(6, 18)
        company = str(companies.pop()) if subjects == "company" else ""
        topic = str(rng.choice(shelves.rich_topics(company))) if company else str(topics.pop())
        plans.append(Planted(kind, company, topic, start, start + 24 * days, rng.uniform(*world.surge_rate)))
    return plans


def written_quarter(items: Sequence[News], events: Sequence[PlacedEvent], first_day: datetime, days: int = 91) -> Quarter:  # fmt: skip
    """The quarter as it was written: the items at their own times, the placed events as what is to be found."""
    if not items:
        raise AgentLabError("There is no news: the list of items is empty.")
    hours = [(i.time - first_day).total_seconds() / 3600 for i in items]
    planted, origin = [], np.full(len(items), -1)
    for number, event in enumerate(events):
        told = [n for n, i in enumerate(items) if i.story == event.id]
        if not told:
            raise AgentLabError(f"No item tells of the event {event.id!r}; the items of its story are missing.")
        origin[told] = number
        start, end = min(hours[n] for n in told), max(hours[n] for n in told)
        planted.append(Planted(event.kind, event.company, event.topic, start, end, name=event.id))
    return Quarter(items, np.array(hours), np.arange(len(items)), origin, planted, days, first_day)


# --- counting ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What an item tells of each subject that it is about: by how much it counts as negative there (0 to 1), and as other news."""

    bad: Mapping[str, float]
    calm: Mapping[str, float] = field(default_factory=dict)


def certain(negative_for: Sequence[str], topic: str, negative: bool, calm_for: Sequence[str] = ()) -> Told:
    """What is told without a doubt: companies for whom an item is negative, its topic, whether it is negative, other companies.

    >>> certain(["HLVN"], "sales", True)
    Told(bad={'company HLVN': 1.0, 'topic sales': 1.0}, calm={})
    """
    bad = {company_subject(c): 1.0 for c in negative_for}
    calm = {company_subject(c): 1.0 for c in calm_for}
    (bad if negative else calm)[topic_subject(topic)] = 1.0
    return Told(bad, calm)


def true_labels(items: Sequence[News]) -> list[Told]:
    """The items as their annotators labelled them, as if a perfect model had read them."""
    told = []
    for item in items:
        named, bad = (item.company,) if item.company else (), item.sentiment == "negative"
        told.append(certain(named if bad else (), item.topic, bad, () if bad else named))
    return told


@dataclass(frozen=True)
class Counts:
    """Negative items per subject and time step (S, T), of which each planted event sent (P, S, T); all items (T,).

    What a model is not sure of counts in part. ``calm`` are the subject's items that are not negative (S, T).
    """

    subjects: tuple[str, ...]
    negative: np.ndarray
    sent: np.ndarray
    everything: np.ndarray
    calm: np.ndarray
    planted: tuple[Planted, ...] = ()


def count(quarter: Quarter, told: Sequence[Told], subjects: Sequence[str] | None = None) -> Counts:
    """Count a stream; ``told`` says what the items of the pool mean. Without subjects: every company of the pool, every topic told."""
    if len(told) != len(quarter.pool):
        raise AgentLabError(f"The pool has {len(quarter.pool)} items and {len(told)} of them were read.")
    if subjects is None:
        companies = {company_subject(i.company) for i in quarter.pool if i.company}
        topics = {s for t in told for s in (*t.bad, *t.calm) if s.startswith("topic")}
        subjects = [*sorted(companies), *sorted(topics)]
    row = {s: n for n, s in enumerate(subjects)}
    sent = np.zeros((len(quarter.planted) + 1, len(row), quarter.steps))  # the last: by nobody
    everything, calm = np.zeros(quarter.steps), np.zeros((len(row), quarter.steps))
    steps = np.minimum(quarter.hours // STEP_HOURS, quarter.steps - 1).astype(int)
    for step, pick, origin in zip(steps, quarter.picks, quarter.origin, strict=True):
        everything[step] += 1
        for subject, weight in told[pick].bad.items():
            if subject in row:
                sent[origin, row[subject], step] += weight
        for subject, weight in told[pick].calm.items():
            if subject in row:
                calm[row[subject], step] += weight
    return Counts(tuple(subjects), sent.sum(0), sent[:-1], everything, calm, tuple(quarter.planted))


def subjects_of(told: Told, least: float = 0.25) -> list[str]:
    """The subjects for which an item counts as negative, by at least so much."""
    return [subject for subject, weight in told.bad.items() if weight >= least]
