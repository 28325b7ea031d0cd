"""The same shop on a real PostgreSQL: schema, rules, many customers at once. Skipped where Debian's binaries are missing."""

import datetime as dt
import os
import shutil
import socket
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from agentlab.shop.desk import Session
from agentlab.shop.models import Coupon, Customer, Order
from agentlab.shop.store import Store, StoreError
from agentlab.shop.tools import shop_tools
from tests.conftest import loopback_is_up
from tests.shop.conftest import Counter
from tests.shop.test_policy import ALLOWED, REFUSED
from tests.shop.test_safety import OWNERS, RACES, WRITE_CALLS, write_call
from tests.shop.test_store import BROKEN

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
AS_SOMEBODY = ["runuser", "-u", "postgres", "--"] if ROOT else []  # the server refuses to run as root


def why_not():
    if not BINARIES:
        return "PostgreSQL is not installed (/usr/lib/postgresql/*/bin); on Debian: apt-get install postgresql"
    if ROOT and not shutil.which("runuser"):
        return "PostgreSQL does not run as root, and runuser is missing"
    return "" if loopback_is_up() else "the loopback is down, and the tests reach PostgreSQL over it"


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


def run(program, *arguments):
    subprocess.run(
        [*AS_SOMEBODY, str(BINARIES[-1] / program), *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/"
    )


@pytest.fixture(scope="module")
def server():
    """A server of our own on a free port of the loopback, gone afterwards: its URL without the database."""
    folder = tempfile.mkdtemp(prefix="agentlab-postgres-")
    if ROOT:
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        run(
            "initdb", "-D", f"{folder}/data", "-U", "shop", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"
        )
        options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
        run("pg_ctl", "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log", "-w", "start")
        yield f"postgresql+psycopg://shop@127.0.0.1:{port}"
        run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def administer(server):
    engine = sa.create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield lambda statement: connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture(scope="module")
def filled(server, administer):
    """The name of a database that holds the sample shop."""
    administer("CREATE DATABASE sample")
    Store.sample(f"{server}/sample").close()
    return "sample"


@pytest.fixture
def store(server, administer, filled):
    """A fresh copy of the sample shop."""
    administer(f"CREATE DATABASE fresh TEMPLATE {filled}")
    store = Store(f"{server}/fresh", today=Store.sample().clock)
    yield store
    store.close()
    administer("DROP DATABASE fresh WITH (FORCE)")


def test_it_is_the_same_shop_as_on_sqlite(store):
    assert store.engine.dialect.name == "postgresql"
    assert store.digest() == Store.sample().digest() == store.copy().digest()
    with pytest.raises(StoreError, match="holds data already"):
        Store.sample(store.engine.url.render_as_string(hide_password=False))


def test_the_schema_forbids_the_same(store):
    before = store.digest()
    for table, values in BROKEN.values():
        found = sa.table(table, *(sa.column(c) for c in {*values, "order_id"}))
        where = found.c.order_id == "W20417" if table == "shipment_items" else sa.true()
        with pytest.raises(IntegrityError), store.transaction() as db:
            db.execute(sa.update(found).where(where).values(**values))
    assert store.digest() == before


def test_what_is_refused_and_allowed_is_the_same(store):
    before = store.digest()
    for rule, case, tool, arguments in REFUSED:
        assert Counter(store, case)(tool, **arguments).message.startswith(f"Rule {rule}: "), (rule, case)
    assert store.digest() == before
    for rule, case, tool, arguments, answer in ALLOWED:
        if arguments != {"position": 1}:
            result = undone(store, lambda c=case, t=tool, a=arguments: Counter(store, c)(t, **a))
            assert result.ok, (rule, case, result)
            assert answer.items() <= result.value.items()
    assert store.digest() == before


def undone(store, work):
    """What some work gives, in a transaction that is then rolled back."""
    with store.transaction() as db:
        result = work()
        db.rollback()
    return result


def test_the_same_calls_leave_the_same_shop(store):
    other = Store.sample()
    for tool in WRITE_CALLS:
        assert write_call(store, tool, tool).ok
        assert write_call(other, tool, tool).ok
    assert store.digest() == other.digest()


@pytest.mark.parametrize("race", RACES)
def test_eight_threads_do_not_get_more_than_one(store, race):
    race(store)


def while_locked(store, query, change, call):
    """What a call answers that comes while another transaction has locked a row and then changes the shop."""
    locked = Event()

    def second():
        locked.wait()
        return call()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second)
        with store.transaction() as db:
            change(db, db.scalar(query.with_for_update(key_share=True)))
            locked.set()
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
        return waiting.result(10)


def test_a_change_of_an_order_waits_for_the_one_before(store):
    def pack(_, order):
        order.status = "packed"

    order = sa.select(Order).where(Order.id == "W20404")
    assert while_locked(store, order, pack, lambda: write_call(store, "cancel_order")).message.startswith("Rule 2.2: ")


def test_a_second_coupon_waits_for_the_first(store):
    def give_one(db, customer):
        db.add(Coupon(code="BW-1", customer_id=customer.id, amount_cents=500, reason="x", issued_on=store.today))

    customer = sa.select(Customer).where(Customer.id == OWNERS["late_delivery"])
    result = while_locked(store, customer, give_one, lambda: write_call(store, "issue_coupon"))
    assert result.message.startswith("Rule 7.2: ")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=100))
def test_any_text_is_kept_or_refused(store, text):
    box = shop_tools(store, Session("C1007"))
    result = box.call("open_ticket", {"kind": "question", "subject": "A question", "text": text})
    assert result.status in ("ok", "retry"), result
    if result.ok:
        with store.reading() as db:
            kept = db.scalar(sa.text("SELECT text FROM tickets WHERE id = :id"), {"id": result.value["ticket_id"]})
        assert kept == text.strip()


def test_the_clock_is_still_ours(store):
    assert store.today == dt.date(2026, 6, 15)
    assert "postgresql" in repr(store)
