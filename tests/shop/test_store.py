"""The store: what the schema forbids, all or nothing, threads, copies, digests, and errors in words."""

import datetime as dt
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from agentlab.errors import DataError
from agentlab.shop import store as store_module
from agentlab.shop.models import Audit, Coupon, Order, OrderItem, Payment, Ticket, Variant
from agentlab.shop.sample import read_entries, read_table
from agentlab.shop.store import Store, StoreBusy, StoreError

# --- the schema ---

BROKEN = {
    "an order of nobody": ("orders", {"customer_id": "C9999"}),
    "an unknown status": ("orders", {"status": "lost"}),
    "a promise before the order": ("orders", {"promised_on": dt.date(2000, 1, 1)}),
    "a fee below nothing": ("orders", {"delivery_fee_cents": -1}),
    "stock below nothing": ("variants", {"stock": -1}),
    "a price below nothing": ("variants", {"price_cents": -1}),
    "no pieces": ("order_items", {"quantity": 0}),
    "a position of unknown goods": ("order_items", {"sku": "P999-XXX"}),
    "six stars": ("reviews", {"stars": 6}),
    "a parcel in an unknown state": ("shipments", {"status": "eaten"}),
    "a parcel that replaces none": ("shipments", {"replaces": "BX0"}),
    "a charge of an unknown kind": ("payments", {"kind": "gift"}),
    "a payment below nothing": ("payments", {"amount_cents": -1}),
    "a return of an unknown position": ("returns", {"position": 99}),
    "an exchange without goods": ("returns", {"kind": "exchange", "new_sku": None}),
    "a coupon of nothing": ("coupons", {"amount_cents": 0}),
    "a ticket of an unknown kind": ("tickets", {"kind": "poem"}),
    "an address with capitals": ("customers", {"email": "Ada@example.org"}),
    "an unknown kind of product": ("products", {"kind": "idea"}),
    "a parcel with positions of another order": ("shipment_items", {"order_id": "W20401"}),
}


@pytest.mark.parametrize(("table", "values"), BROKEN.values(), ids=BROKEN)
def test_the_schema_forbids(store, table, values):
    before = store.digest()
    columns = sa.inspect(store.engine).get_columns(table)
    one = next(c["name"] for c in columns)
    found = sa.table(table, *(sa.column(c["name"]) for c in columns))
    where = found.c.order_id == "W20417" if table == "shipment_items" else True
    with store.reading() as db:
        first = db.scalar(sa.select(found.c[one]).where(where))
    with pytest.raises(IntegrityError), store.transaction() as db:
        db.execute(sa.update(found).where(found.c[one] == first).values(**values))
    assert store.digest() == before


def test_a_delivered_parcel_has_a_day_and_a_parcel_is_replaced_once(store):
    with pytest.raises(IntegrityError), store.transaction() as db:
        db.get(Order, "W20417").shipments[0].status = "delivered"
    lost, new = (s for s in store.rows()["shipments"] if s["order_id"] == "W20421")
    lost, new = (lost, new) if new["replaces"] else (new, lost)
    with pytest.raises(IntegrityError), store.transaction() as db:
        db.execute(
            sa.text(
                "INSERT INTO shipments SELECT tracking_number || 'X', order_id, carrier, status, shipped_on, delivered_on, last_scan_on, last_scan_place, replaces FROM shipments WHERE tracking_number = :n"
            ),
            {"n": new["tracking_number"]},
        )


# --- transactions ---


def test_a_block_that_raises_leaves_nothing(store):
    before = store.digest()

    def fail_halfway():
        with store.transaction() as db:
            db.get(Order, "W20417").note = "changed"
            db.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert store.digest() == before


def test_an_inner_block_is_a_part_of_the_outer_one(store):
    before = store.digest()

    def fail_after_the_inner_one():
        with store.transaction():
            with store.transaction() as db:
                db.get(Order, "W20417").note = "changed"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_the_inner_one()
    assert store.digest() == before


def test_a_block_that_reads_keeps_nothing_and_cannot_hold_one_that_writes(store):
    before = store.digest()
    with store.reading() as db:
        db.get(Order, "W20417").note = "changed"
        db.flush()
    assert store.digest() == before
    with pytest.raises(StoreError, match="cannot hold one that writes"), store.reading(), store.transaction():
        pass
    with pytest.raises(StoreError, match="Nothing is open"):
        _ = store.db


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///{folder}/shop.db"])
def test_eight_threads_lose_no_change(tmp_path, url):
    store = Store.sample(url.format(folder=tmp_path))
    sku = store.rows()["variants"][0]["sku"]

    def add_one(_):
        with store.transaction() as db:
            db.get(Variant, sku).stock += 1

    before = store.rows()["variants"][0]["stock"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(40)))
    assert store.rows()["variants"][0]["stock"] == before + 40
    store.close()


# --- files ---


def test_a_file_keeps_what_was_committed(tmp_path):
    url = f"sqlite:///{tmp_path}/shop.db"
    first = Store.sample(url)
    with first.transaction() as db:
        db.get(Order, "W20417").note = "kept"
    digest = first.digest()
    first.close()
    again = Store(url)
    assert again.digest() == digest
    assert not again.in_memory
    with pytest.raises(StoreError, match=r"holds data already\. Open it with Store\(url\)"):
        Store.sample(url)
    again.close()


def test_errors_say_what_would_help(tmp_path, monkeypatch):
    with pytest.raises(StoreError, match="'nonsense' is no database URL that works here"):
        Store("nonsense")
    with pytest.raises(StoreError, match="is no database URL that works here"):
        Store("oracle+nothing://host/shop")
    with pytest.raises(StoreError, match="Does its folder exist"):
        Store(f"sqlite:///{tmp_path}/missing/shop.db")
    (tmp_path / "letter.db").write_text("Dear shop, " * 200)
    with pytest.raises(StoreError, match="is no SQLite database"):
        Store(f"sqlite:///{tmp_path}/letter.db")
    with pytest.raises(StoreError, match="Is the server running") as caught:
        Store("postgresql+psycopg://shop:secret@127.0.0.1:1/shop")
    assert "secret" not in str(caught.value)
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0.1)
    store = Store.sample(f"sqlite:///{tmp_path}/shop.db")
    with sqlite3.connect(tmp_path / "shop.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(StoreBusy, match=r"in use by another program at the moment\. Try again\."),
            store.transaction(),
        ):
            pass
        other.execute("ROLLBACK")
    other.close()
    with store.transaction() as db:
        db.get(Order, "W20417").note = "goes again"
    store.close()


def test_missing_and_malformed_data_are_named(tmp_path):
    with pytest.raises(DataError, match=r"orders\.csv: this file is missing"):
        read_table(tmp_path / "orders.csv", "orders")
    (tmp_path / "coupons.csv").write_text("code,customer_id,amount_cents,reason,issued_on\nA,C1,ten,x,2026-01-01\n")
    with pytest.raises(DataError, match=r"coupons\.csv:2: the line cannot be read"):
        read_table(tmp_path / "coupons.csv", "coupons")
    (tmp_path / "coupons.csv").write_text("code,colour\nA,red\n")
    with pytest.raises(DataError, match="unknown column 'colour'"):
        read_table(tmp_path / "coupons.csv", "coupons")
    (tmp_path / "customers.yml").write_text("- {id: C1, name: [}")
    with pytest.raises(DataError, match=r"customers\.yml:1: malformed YAML"):
        read_entries(tmp_path / "customers.yml")
    (tmp_path / "customers.yml").write_text("just text")
    with pytest.raises(DataError, match="must be a list of entries"):
        read_entries(tmp_path / "customers.yml")


# --- digest, copy, clock ---


def test_the_digest_sees_every_table_and_column_that_matters(store):
    def changed(table, column, value):
        other = store.copy()
        with other.transaction() as db:
            db.execute(sa.text(f'UPDATE {table} SET "{column}" = :v'), {"v": value})
        return other.digest() != store.digest()

    assert changed("customers", "phone", "+31 6 0000")
    assert changed("orders", "note", "x")
    assert changed("payments", "reason", "x")
    assert changed("returns", "fee_cents", 1)
    assert changed("tickets", "subject", "x")
    other = store.copy()
    with other.transaction() as db:
        db.delete(db.scalars(sa.select(Payment)).first())
    assert other.digest() != store.digest()


def test_the_digest_looks_past_order_numbers_codes_and_times(store):
    def two(store, first, second):
        with store.transaction() as db:
            for n in (first, second):
                db.add(Ticket(kind="question", subject=f"no {n}", text="x", opened_on=store.today))
                db.flush()
                db.add(Audit(at=dt.datetime(2026, 1, n), action="x", order_id=None, customer_id=None, detail={}))
            db.add(Coupon(code=f"BW-{first}", customer_id="C1001", amount_cents=1, reason="x", issued_on=store.today))
        return store.digest()

    assert two(store.copy(), 1, 2) == two(store.copy(), 2, 1) != store.digest()


def test_a_copy_is_quick_and_goes_its_own_way(store):
    other = store.copy()
    assert (other.digest(), other.today) == (store.digest(), store.today)
    with other.transaction() as db:
        db.get(Order, "W20417").note = "only here"
    assert other.digest() != store.digest() == Store.sample().digest()


def test_the_day_comes_from_outside(store):
    assert store.today == dt.date(2026, 6, 15)
    assert Store.sample(today=dt.date(2026, 7, 1)).today == dt.date(2026, 7, 1)
    assert Store(today=lambda: dt.date(2030, 1, 1)).today == dt.date(2030, 1, 1)
    assert Store().today == dt.date.today()
    assert Store.sample(today=dt.date(2026, 7, 1)).digest() == store.digest()


def test_two_stores_in_memory_are_two(store):
    assert not any(Store().rows().values())
    assert repr(Store()) == "Store('sqlite://')"
    assert len(store.rows()["orders"]) >= 320


def test_a_thread_sees_only_what_is_finished(tmp_path):
    store = Store.sample(f"sqlite:///{tmp_path}/shop.db")
    seen = []

    def look():
        with store.reading() as db:
            seen.append(db.get(OrderItem, ("W20417", 1)).quantity)

    with store.transaction() as db:
        db.get(OrderItem, ("W20417", 1)).quantity = 7
        db.flush()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    look()
    assert seen == [1, 7]
    store.close()
