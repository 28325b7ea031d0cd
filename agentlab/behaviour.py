"""A simulated shop: customers with tastes, lists with positions, clicks, purchases and reviews, so that the truth is known.

**What is simulated.** Each customer has two to four tastes, a price that suits them, and visits the shop now and then. In a
visit they look for something that goes with one taste, or with a device that they just bought. The shop shows a list of
twelve; what sells and is rated well stands on top, and one list in seven is shuffled. Whoever looks at a place (less and less likely further down)
clicks if the product attracts them, and may buy it and write a review: a short hand-written phrase of
``data/recommend/phrases.yml`` by taste. Half of the customers say once, in two phrases, what they look for. Some products are
launched late; some customers come late.

**What is not.** Nobody talks to anybody, no season, no advertising, no stock, nobody changes. The products and their texts are
written by people; who likes what is drawn by this file from the tastes that stand beside each product. A model that is
given only texts has to find these tastes in the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from agentlab.catalogue import Product, load_phrases, load_products, load_tastes
from agentlab.errors import AgentLabError

PLACES = 12  # products in a list
TRAIN_DAYS, VALIDATION_DAYS, TEST_DAYS = 140, 21, 21  # twenty weeks to learn from, three to choose on, three to test on
KEPT = 2  # phrases of each taste that only late customers use, so that no model has learned them
CLICK, PURCHASE, REVIEW = 0, 1, 2
KINDS = ("click", "purchase", "review")


@dataclass(frozen=True)
class World:
    """The numbers behind the simulation; each can be changed to ask what would happen if."""

    customers: int = 2000
    visits_per_week: float = 0.8
    taste: float = 5.5  # how much tastes count in what attracts
    quality: float = 0.5  # how much products differ whatever the taste
    price: float = 0.45  # what a price far from one's own costs
    fits: float = 1.5  # how much an accessory gains from a device just bought
    base: float = -2.0
    fading: float = 0.7  # place k is looked at with probability k ** -fading
    popularity: float = 0.7  # how much the shop's lists follow what was clicked before
    shuffled: float = 0.15  # share of lists in random order
    late_products: float = 0.22  # share that is launched after the training weeks
    late_customers: float = 0.2  # share that comes in the test weeks only


@dataclass(frozen=True)
class Lists:
    """What was shown: one row a list, (L,) or (L, PLACES). ``attraction`` is the truth: P(click | looked at)."""

    day: np.ndarray
    user: np.ndarray
    items: np.ndarray
    clicked: np.ndarray
    shuffled: np.ndarray
    attraction: np.ndarray

    def __len__(self) -> int:
        return len(self.day)

    def where(self, rows: np.ndarray) -> Lists:
        """Only these lists."""
        return Lists(
            *(getattr(self, name)[rows] for name in ("day", "user", "items", "clicked", "shuffled", "attraction"))
        )


@dataclass(frozen=True)
class Log:
    """Everything that happened. ``events`` are columns of one length in the order of time: day, user, item, kind, stars.

    ``texts`` holds for each event what was written ("" for clicks and purchases), ``wishes`` for each user the phrases in
    which they said what they look for. ``taste`` (U, T), ``item_taste`` (I, T) and ``looks`` (PLACES,) are the truth behind it.
    """

    products: Sequence[Product]
    day: np.ndarray
    user: np.ndarray
    item: np.ndarray
    kind: np.ndarray
    stars: np.ndarray
    texts: list[str]
    wishes: list[tuple[str, ...]]
    joined: np.ndarray
    launched: np.ndarray
    lists: Lists
    taste: np.ndarray = field(repr=False)
    item_taste: np.ndarray = field(repr=False)
    looks: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.day)

    @property
    def users(self) -> int:
        return len(self.wishes)


def item_tastes(products: Sequence[Product], tastes: Sequence[str]) -> np.ndarray:
    """Which tastes a product has, as rows of length 1: (I, T)."""
    rows = np.array([[t in p.tastes for t in tastes] for p in products], float)
    return rows / np.sqrt(rows.sum(1, keepdims=True))


def simulate(products: Sequence[Product] | None = None, world: World | None = None, seed: int = 0) -> Log:
    """Twenty-six weeks of the shop; equal arguments give equal logs. About three seconds for 2000 customers.

    Raises `AgentLabError` for a catalogue with fewer products than a list has places, or a world without customers.
    """
    products, world = load_products() if products is None else list(products), world or World()
    if len(products) < 2 * PLACES:
        raise AgentLabError(
            f"A list shows {PLACES} products; the catalogue has {len(products)}, at least {2 * PLACES} are needed."
        )
    if world.customers < 1:
        raise AgentLabError("A world needs at least one customer.")
    return _Simulation(products, world, np.random.default_rng(seed)).run()


class _Simulation:
    """One run: what is drawn at the start, and what changes from visit to visit."""

    def __init__(self, products: Sequence[Product], world: World, rng: np.random.Generator):
        self.products, self.world, self.rng = products, world, rng
        self.tastes, self.phrases = list(load_tastes()), load_phrases()
        self.A = item_tastes(products, self.tastes)  # (I, T)
        self.draw_items()
        self.draw_users()
        self.looks = np.arange(1, PLACES + 1) ** -world.fading
        users, items = world.customers, len(products)
        self.seen, self.bought = np.zeros((users, items), bool), np.zeros((users, items), bool)
        self.device, self.device_day = np.full(users, -1), np.full(users, -99)
        self.recent = np.zeros(items)  # clicks that fade over the weeks
        self.events: list[tuple] = []
        self.shown: list[tuple] = []

    def draw_items(self) -> None:
        world, rng, items = self.world, self.rng, len(self.products)
        self.quality = world.quality * rng.standard_normal(items)
        self.log_price = np.log([p.price_cents for p in self.products])
        self.categories = sorted({p.category for p in self.products})
        self.category = np.array([self.categories.index(p.category) for p in self.products])
        self.fits = np.array(
            [self.categories.index(p.fits) if p.fits in self.categories else -1 for p in self.products]
        )
        self.launched = np.zeros(items, int)
        may = rng.permutation([n for n, p in enumerate(self.products) if not p.id.startswith("P")])
        late, growing = round(world.late_products * len(may)), round(0.15 * len(may))
        tested, checked = may[: late * 2 // 3], may[late * 2 // 3 : late]
        end = TRAIN_DAYS + VALIDATION_DAYS
        self.launched[tested] = rng.integers(end, end + 5, len(tested))
        self.launched[checked] = rng.integers(TRAIN_DAYS, TRAIN_DAYS + 5, len(checked))
        self.launched[may[late : late + growing]] = rng.integers(1, TRAIN_DAYS - 20, growing)

    def draw_users(self) -> None:
        world, rng, U, T = self.world, self.rng, self.world.customers, len(self.tastes)
        self.theta = np.full((U, T), 0.1 / T)
        for u in range(U):
            chosen = rng.choice(T, rng.integers(2, 5), replace=False)
            self.theta[u, chosen] += 0.9 * rng.dirichlet(np.full(len(chosen), 2.0))
        self.budget = np.log(9000) + 0.8 * rng.standard_normal(U)
        self.rate = world.visits_per_week * rng.gamma(2.0, 0.5, U)
        self.joined = np.where(rng.random(U) < 0.6, 0, rng.integers(0, TRAIN_DAYS, U))
        late = rng.random(U) < world.late_customers
        end = TRAIN_DAYS + VALIDATION_DAYS
        self.joined[late] = rng.integers(end, end + 10, late.sum())
        self.rate[late] = np.maximum(self.rate[late], 1.0)
        self.wishes: list[tuple[str, ...]] = []
        for u in range(U):
            words = [self.phrases[self.tastes[t]]["wish"] for t in np.argsort(-self.theta[u])[:2]]
            said = tuple(str(rng.choice(w[-KEPT:] if late[u] else w[:-KEPT])) for w in words)
            self.wishes.append(said if late[u] or rng.random() < 0.5 else ())

    def run(self) -> Log:
        for week in range((TRAIN_DAYS + VALIDATION_DAYS + TEST_DAYS) // 7):
            visits = self.rng.poisson(self.rate)
            for turn in range(visits.max(initial=0)):
                users = np.flatnonzero(visits > turn)
                day = 7 * week + (7 * (turn + self.rng.random(len(users))) / visits[users]).astype(int)
                here = self.joined[users] <= day
                self.visit(users[here], day[here])
            self.recent *= 0.8
        return self.log()

    def visit(self, users: np.ndarray, day: np.ndarray) -> None:
        """One visit of each of these customers: what they look for, what they are shown, what they do."""
        if not len(users):
            return
        world, rng = self.world, self.rng
        need = (
            self.theta[users].cumsum(1) > rng.random((len(users), 1)) * self.theta[users].sum(1, keepdims=True)
        ).argmax(1)
        match = (self.A > 0)[:, need].T  # (V, I): has the taste that they look for today
        with_device = (self.fits[None] == self.device[users][:, None]) & (self.fits[None] >= 0)
        with_device &= (day - self.device_day[users] < 28)[:, None]
        popular = np.log1p(self.recent)
        popular = (popular - popular.mean()) / (popular.std() + 1e-9)
        fresh = (day[:, None] - self.launched[None] < 14) & (self.launched[None] > 0)
        score = (
            world.popularity * popular[None] + 2.4 * match + 2.0 * with_device + 1.6 * fresh - 1.2 * self.seen[users]
        )
        score = score + 0.9 * rng.gumbel(size=score.shape)
        score[(self.launched[None] > day[:, None]) | self.bought[users]] = -np.inf
        items = np.argsort(-score, axis=1)[:, :PLACES]  # (V, PLACES)
        key = 0.3 * popular[items] + 0.6 * self.quality[items] + 0.6 * rng.gumbel(size=items.shape)
        items = np.take_along_axis(items, np.argsort(-key, axis=1), 1)  # what sells and is rated well stands on top
        shuffled = rng.random(len(users)) < world.shuffled
        items[shuffled] = rng.permuted(items[shuffled], axis=1)
        attraction = self.attraction(users, items, with_device)
        looked = rng.random(items.shape) < self.looks
        clicked = looked & (rng.random(items.shape) < attraction)
        self.shown.append((day, users, items, clicked, shuffled, attraction))
        self.act(users, day, items, clicked, attraction)

    def attraction(self, users: np.ndarray, items: np.ndarray, with_device: np.ndarray) -> np.ndarray:
        """How likely each shown product is clicked once it is looked at: (V, PLACES)."""
        world = self.world
        liking = (self.theta[users][:, None] * self.A[items]).sum(2)
        far = np.abs(self.log_price[items] - self.budget[users][:, None])
        fits = np.take_along_axis(with_device, items, 1)
        logit = world.base + world.taste * liking + self.quality[items] - world.price * far + world.fits * fits
        return 1 / (1 + np.exp(-logit))

    def act(self, users, day, items, clicked, attraction) -> None:
        """Clicks; of these purchases; of these reviews."""
        rng = self.rng
        rows, places = np.nonzero(clicked)
        u, i, d, p = users[rows], items[rows, places], day[rows], attraction[rows, places]
        self.seen[u, i] = True
        np.add.at(self.recent, i, 1)
        buys = rng.random(len(u)) < 0.35 * p
        writes = buys & (rng.random(len(u)) < 0.5)
        for n in range(len(u)):
            self.events.append((d[n], u[n], i[n], CLICK, 0, ""))
            if buys[n]:
                self.bought[u[n], i[n]] = True
                self.events.append((d[n], u[n], i[n], PURCHASE, 0, ""))
                if self.fits[i[n]] < 0:
                    self.device[u[n]], self.device_day[u[n]] = self.category[i[n]], d[n]
            if writes[n]:
                self.events.append((d[n], u[n], i[n], REVIEW, *self.review(u[n], i[n], p[n])))

    def review(self, user: int, item: int, attraction: float) -> tuple[int, str]:
        """Stars and a phrase about the taste that the product and the customer share most."""
        stars = int(
            np.clip(round(1.5 + 3.5 * attraction + self.quality[item] + 0.7 * self.rng.standard_normal()), 1, 5)
        )
        shared = self.theta[user] * (self.A[item] > 0)
        words = self.phrases[self.tastes[shared.argmax()]]["liked" if stars >= 3 else "missed"]
        return stars, words[self.rng.integers(len(words))]

    def log(self) -> Log:
        order = sorted(range(len(self.events)), key=lambda n: self.events[n][0])  # stable: within a day as it came
        columns = [np.array([self.events[n][c] for n in order], int) for c in range(5)]
        shown = Lists(*(np.concatenate([s[c] for s in self.shown]) for c in range(6)))
        return Log(
            self.products, *columns, [self.events[n][5] for n in order], self.wishes, self.joined, self.launched, shown,
            self.theta, self.A, self.looks,
        )  # fmt: skip
