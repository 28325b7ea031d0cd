"""What no model, no customer, no thread and no power cut may bring about."""

import functools
import json
import os
import random
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import orm

from agentlab.shop.desk import Session
from agentlab.shop.models import Order, Payment, Variant
from agentlab.shop.store import Store
from agentlab.shop.tools import shop_tools
from tests.shop.conftest import CASES, HELP, Counter, owner
from tests.shop.test_policy import ADDRESS, BACK, TICKET

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
INJECTIONS = [
    "'; DROP TABLE orders; --", "W20417' OR '1'='1", '" OR ""="', "1); DELETE FROM customers WHERE (1=1", "%", "_____", "\\'; SELECT 1",
    "W20417'/**/UNION/**/SELECT/**/email/**/FROM/**/customers--", "{{7*7}}", "${jndi:ldap://x}", "Robert'); DROP TABLE customers;--",
]  # fmt: skip
# A call of each WRITE tool that is allowed: the case whose customer makes it, and the arguments.
WRITE_CALLS = {
    "cancel_order": ("cancel_above_200", {}),
    "change_address": ("outside_the_union", ADDRESS | {"country": "NO"}),
    "change_items": ("change_items", {"position": 1, "quantity": 1}),
    "return_item": ("last_day_of_return", BACK),
    "exchange_item": ("five_positions", BACK | {"position": 4}),
    "reship_order": ("lost_by_carrier", {"problem": "lost"}),
    "issue_coupon": ("late_delivery", {"amount_cents": 900, "reason": "late_delivery"}),
    "open_ticket": ("within_guarantee", TICKET | {"kind": "repair"}),
    "hand_over": ("hot_device", {"reason": "dangerous_device", "summary": "The charger smokes."}),
}


def changes(store):
    """How many rows have been touched on the one connection of a store in memory."""
    with store.reading() as db:
        return db.scalar(sa.text("SELECT total_changes()"))


OWNERS = {case: owner(Store.sample(), CASES[case]) for case, _ in WRITE_CALLS.values()}


def write_call(store, tool, key=None):
    """Make the call of `WRITE_CALLS` in a toolbox of its own."""
    case, arguments = WRITE_CALLS[tool]
    return shop_tools(store, Session(OWNERS[case])).call(tool, arguments | {"order_id": CASES[case]}, key)


@functools.cache
def a_counter():
    return Counter(Store.sample(), "in_transit")


TOOLS = [t.name for t in a_counter().box]


def secrets_of_others(store, customer_id):
    """What only other customers may see: addresses, phones, order and tracking numbers."""
    rows = store.rows()
    own = {str(v) for c in rows["customers"] if c["id"] == customer_id for v in c.values()}
    theirs = {o["id"] for o in rows["orders"] if o["customer_id"] != customer_id}
    people = {c[k] for c in rows["customers"] if c["id"] != customer_id for k in ("id", "email", "phone", "street")}
    return (people - own) | theirs | {s["tracking_number"] for s in rows["shipments"] if s["order_id"] in theirs}


OTHERS = re.compile("|".join(re.escape(s) for s in sorted(secrets_of_others(a_counter().store, "C1007"))))


# --- whatever a model sends ---


@pytest.mark.parametrize("name", TOOLS)
@settings(max_examples=40)
@given(data=st.data())
def test_arbitrary_json_is_answered_and_writes_nothing(name, data):
    counter = a_counter()
    before = changes(counter.store)
    known = counter.box[name].schema.get("properties", {})
    right_keys = st.fixed_dictionaries({}, optional=dict.fromkeys(known, JSON))
    arguments = data.draw(JSON | right_keys | right_keys.map(json.dumps) | st.text())
    result = counter.box.call(name, arguments)
    assert result.status in ("ok", "retry", "failed")
    assert "does not work at the moment" not in result.message, arguments
    assert len(result.message) < 3000
    json.dumps(result.text())
    assert changes(counter.store) == before


@pytest.mark.parametrize("name", TOOLS)
def test_huge_and_nested_arguments_are_answered_in_few_words(name):
    box = a_counter().box
    deep = functools.reduce(lambda inner, _: [inner], range(5000), 0)
    for value in ("x" * 1_000_000, "[" * 100_000, deep, [0] * 100_000, {"k" * 100_000: 1}, 10**400, "\ud800", "\0"):
        for arguments in (value, {"order_id": value, "query": value, "email": value, "text": value}):
            result = box.call(name, arguments)
            assert result.status == "retry" or name == "find_customer"
            assert len(result.message) < 3000


@settings(max_examples=60)
@given(text=st.text(min_size=1, max_size=300))
def test_any_text_is_kept_as_it_was_written_or_refused(text):
    store = a_counter().store.copy()
    box = shop_tools(store, Session("C1007"))
    result = box.call("open_ticket", {"kind": "question", "subject": "A question", "text": text})
    if result.ok:
        assert store.rows()["tickets"][-1]["text"] == text.strip()
    else:
        assert re.search("control characters|the text is empty", result.message)


@pytest.mark.parametrize("name", TOOLS)
def test_sql_in_arguments_is_data(name):
    counter = a_counter()
    before = changes(counter.store)
    strings = [k for k, p in counter.box[name].schema.get("properties", {}).items() if "string" in str(p)]
    for text in INJECTIONS:
        result = counter(name, **dict.fromkeys(strings, text))
        assert result.status in ("ok", "retry")
        assert not OTHERS.search(result.text(10**6)), text
    assert changes(counter.store) == before


def test_sql_in_a_ticket_is_written_down_word_for_word(at):
    counter = at("in_transit")
    for text in INJECTIONS:
        assert counter("hand_over", reason="asked_for_person", summary=text).ok
    assert [t["text"] for t in counter.store.rows()["tickets"][-len(INJECTIONS) :]] == INJECTIONS


# --- calls that fit, in any order ---


@st.composite
def calls(draw):
    """A call whose arguments fit an order of the shop, not necessarily the caller's."""
    counter = a_counter()
    order_id = draw(st.sampled_from([*CASES.values()]))
    with counter.store.reading() as db:
        order = db.get_one(Order, order_id)
        item = draw(st.sampled_from(order.items))
        siblings = [v.sku for v in item.variant.product.variants]
    values = {
        "order_id": st.just(order_id), "position": st.just(item.position), "quantity": st.integers(1, 3),
        "new_sku": st.sampled_from(siblings), "reason": st.sampled_from(["changed_mind", "faulty", "damaged", "wrong_item"]),
        "opened": st.booleans(), "problem": st.sampled_from(["lost", "delivered_but_missing"]), "country": st.just(order.ship_country),
        "street": st.just("Somewhere 1"), "postcode": st.just("12345"), "city": st.just("Elsewhere"), "limit": st.just(50),
        "amount_cents": st.integers(100, 1600), "kind": st.sampled_from(["repair", "estimate", "question"]), "query": st.just("speaker"),
        "subject": st.just("s"), "text": st.just("t"), "summary": st.just("s"), "product_id": st.just("P101"), "question": st.just("q"),
        "email": st.just("ada@example.org"),
    }  # fmt: skip
    special = {
        "issue_coupon": {"reason": st.sampled_from(["late_delivery", "damaged", "wrong_item"])},
        "hand_over": {"reason": st.just("above_limit")},
    }
    name = draw(st.sampled_from([n for n in TOOLS if n not in ("verify_customer", "search_help")]))
    properties = counter.box[name].schema.get("properties", {})
    wanted = [k for k in properties if k in counter.box[name].schema.get("required", ()) or draw(st.booleans())]
    values |= special.get(name, {})
    return order_id, name, {k: draw(values[k]) for k in wanted if k in values}


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(calls(), min_size=1, max_size=12), st.integers(0, 100))
def test_no_sequence_of_calls_refunds_more_than_was_paid(sequence, percent):
    """Also where a colleague has refunded some of it before."""
    store = a_counter().store.copy()
    with store.transaction() as db:
        for order in db.scalars(sa.select(Order).where(Order.id.in_({o for o, *_ in sequence}))):
            goodwill = Payment(kind="refund", method="card", status="paid", on=order.placed_on, reason="goodwill")
            goodwill.amount_cents = order.refundable_cents * percent // 100
            order.payments.append(goodwill)
    session = Session()
    box = shop_tools(store, session, HELP)
    for order_id, name, arguments in sequence:
        session.customer_id = owner(store, order_id)
        result = box.call(name, arguments)
        assert "does not work at the moment" not in result.message, (name, arguments)
    with store.reading() as db:
        for order in db.scalars(sa.select(Order).where(Order.id.in_({o for o, *_ in sequence}))):
            promised = sum(r.refund_cents for r in order.open_returns)
            assert order.refunded_cents + promised <= order.paid_cents, order.id
            for item in order.items:
                back = sum(r.quantity for r in order.returns if r.position == item.position and r.status != "refused")
                assert back <= sum(p.quantity for p in item.arrived)


@settings(max_examples=100)
@given(calls())
def test_no_tool_shows_or_changes_what_is_another_customers(call):
    order_id, name, arguments = call
    store = a_counter().store
    before = changes(store)
    result = shop_tools(store.copy() if order_id == CASES["in_transit"] else store, Session("C1007"), HELP).call(
        name, arguments
    )
    assert set(OTHERS.findall(result.text(10**6))) <= {order_id}, result
    if order_id != CASES["in_transit"] and "order_id" in arguments:
        assert result.status == "retry"
        assert changes(store) == before


def test_even_a_verified_customer_cannot_look_around_by_number(at):
    counter = at("in_transit")
    own = {o["order_id"] for o in counter("list_orders", limit=50).value}
    shown = {n for n in (f"W{n}" for n in range(20001, 21000)) if counter("find_order", order_id=n).ok}
    assert shown == own


# --- many at once ---


def all_at_once(store, one_call, count=8):
    """The same call from many threads, each with a toolbox and session of its own."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one_call, range(count)))


def race_for_one_key(store):
    results = all_at_once(store, lambda _: write_call(store, "cancel_order", "the key"))
    assert [r.ok for r in results] == [True] * 8
    assert len({r.text() for r in results}) == 1
    assert [a["action"] for a in store.rows()["audit"]] == ["cancel_order"]


def race_without_keys(store):
    results = all_at_once(store, lambda _: write_call(store, "cancel_order"))
    assert sorted(r.status for r in results) == ["failed"] * 7 + ["ok"]
    refunds = [
        p for p in store.rows()["payments"] if p["order_id"] == CASES["cancel_above_200"] and p["kind"] == "refund"
    ]
    assert len(refunds) == 1


def race_for_one_piece(store):
    results = all_at_once(store, lambda n: write_call(store, "return_item", f"key {n}"))
    assert sorted(r.status for r in results) == ["ok"] + ["retry"] * 7


def race_for_a_coupon(store):
    """Two orders of one customer: it is the customer that must be locked, not the order."""
    both = [CASES["two_deliveries"], CASES["late_delivery"]]
    with store.transaction() as db:
        for order in (db.get(Order, o) for o in both):
            order.customer_id, order.promised_on = "C1044", order.placed_on
    coupon = {"amount_cents": 500, "reason": "late_delivery"}
    results = all_at_once(
        store, lambda n: shop_tools(store, Session("C1044")).call("issue_coupon", coupon | {"order_id": both[n % 2]})
    )
    assert sorted(r.status for r in results) == ["failed"] * 7 + ["ok"]


def race_for_the_last_on_the_shelf(store):
    """Eight orders of eight customers: it is the goods that must be locked."""
    names = ("five_positions", "late_delivery", "return_above_200", "hot_device", "same_household", "exchange_cheaper", "exchange_dearer", "hygiene_item")  # fmt: skip
    with store.transaction() as db:
        orders = [db.get(Order, CASES[name]) for name in names]
        for order in orders:
            order.items[0].sku, order.items[0].quantity = "P101-BLK", 1
        db.get(Variant, "P101-BLK").stock = 2
        owners = [(o.customer_id, o.id) for o in orders]
    anew = {"position": 1, "reason": "faulty", "opened": True}
    results = all_at_once(
        store,
        lambda n: shop_tools(store, Session(owners[n][0])).call("exchange_item", anew | {"order_id": owners[n][1]}),
    )
    assert sorted(r.status for r in results) == ["failed"] * 6 + ["ok"] * 2
    assert next(v["stock"] for v in store.rows()["variants"] if v["sku"] == "P101-BLK") == 0


RACES = [race_for_one_key, race_without_keys, race_for_one_piece, race_for_a_coupon, race_for_the_last_on_the_shelf]


@pytest.mark.parametrize("race", RACES)
@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///{folder}/shop.db"])
def test_eight_threads_do_not_get_more_than_one(tmp_path, template, url, race):
    if url != "sqlite://":
        shutil.copy(template, tmp_path / "shop.db")
    store = Store.sample() if url == "sqlite://" else Store(url.format(folder=tmp_path), today=Store.sample().clock)
    race(store)
    store.close()


# --- a process that dies ---


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("shop") / "shop.db"
    Store.sample(f"sqlite:///{path}").close()
    return path


def open_file(path):
    return Store(f"sqlite:///{path}", today=Store.sample().clock)


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def die_unless_nested(session):
    if not session.in_nested_transaction():
        die()


POINTS = {
    "begun": lambda e: sa.event.listen(orm.Session, "after_begin", die),
    "key written": lambda e: sa.event.listen(orm.Session, "after_flush", die),
    "all but committed": lambda e: sa.event.listen(orm.Session, "before_commit", die_unless_nested),
    "committing": lambda e: sa.event.listen(e, "commit", die),
    "committed": lambda e: sa.event.listen(orm.Session, "after_commit", die_unless_nested),
}


def in_a_process(path, work):
    """Fork a process that opens the file, does the work and ends; its wait status comes back."""
    if pid := os.fork():
        return os.waitpid(pid, 0)[1]
    try:
        work(open_file(path))
        os._exit(0)
    except BaseException:
        os._exit(1)


@pytest.mark.parametrize("tool", WRITE_CALLS)
@pytest.mark.parametrize("point", POINTS)
def test_a_process_killed_in_the_middle_leaves_all_or_nothing(tmp_path, template, tool, point):
    path = shutil.copy(template, tmp_path / "shop.db")
    done = Store.sample()
    before = done.digest()
    assert write_call(done, tool).ok

    def work(store):
        POINTS[point](store.engine)
        write_call(store, tool, "k")

    assert os.WTERMSIG(in_a_process(path, work)) == signal.SIGKILL
    store = open_file(path)
    assert store.digest() == (done.digest() if point == "committed" else before)
    assert write_call(store, tool, "k").ok, "the same key, asked again after the crash"
    assert store.digest() == done.digest()
    store.close()


def test_a_process_killed_at_any_moment_leaves_whole_changes(tmp_path, template):
    done = Store.sample()
    possible = [done.digest()]
    for tool in WRITE_CALLS:
        assert write_call(done, tool, tool).ok
        possible.append(done.digest())
    seen = set()
    for n in range(6):
        path = shutil.copy(template, tmp_path / f"shop{n}.db")
        pid = os.fork()
        if not pid:
            store = open_file(path)
            for tool in WRITE_CALLS:
                write_call(store, tool, tool)
            os._exit(0)
        time.sleep(random.uniform(0.02, 0.25))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        store = open_file(path)
        seen.add(possible.index(store.digest()))
        for tool in WRITE_CALLS:
            assert write_call(store, tool, tool).ok
        assert store.digest() == possible[-1]
        store.close()
    print("stopped after so many changes:", sorted(seen))
