"""The sample shop: made by its script to the byte, whole, and with every case that lessons and tests rely on."""

import csv
import datetime as dt
import subprocess
import sys
import typing
from collections import Counter

import pytest

from agentlab.corpus import data_folder
from agentlab.shop import models
from agentlab.shop.arguments import Category
from agentlab.shop.rules import limits
from agentlab.shop.sample import TABLES, edge_cases, read_entries, read_sample

SHOP = data_folder() / "shop"
TODAY = dt.date(2026, 6, 15)


@pytest.fixture(scope="module")
def rows():
    return read_sample()


def of_order(rows, table, order_id):
    return [r for r in rows[table] if r["order_id"] == order_id]


def test_the_script_gives_the_same_bytes_again(tmp_path):
    code = f"import runpy; runpy.run_path({str(SHOP / 'make.py')!r})['make']({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    made = {p.name: p.read_bytes() for p in tmp_path.glob("*.csv")}
    assert made == {p.name: p.read_bytes() for p in (SHOP / "tables").glob("*.csv")}
    assert set(made) == {f"{t}.csv" for t in (*TABLES, "edge_cases")}


def test_there_is_enough_of_everything(rows):
    assert len(rows["orders"]) >= 320
    assert len(rows["customers"]) == 72
    assert len(rows["products"]) == 92
    assert {o["status"] for o in rows["orders"]} == set(models.ORDER_STATES)
    assert {s["status"] for s in rows["shipments"]} == set(models.SHIPMENT_STATES)
    assert {(p["kind"], p["status"]) for p in rows["payments"]} >= {
        ("charge", "paid"), ("charge", "pending"), ("charge", "failed"), ("charge", "void"), ("charge", "disputed"),
        ("refund", "pending"), ("refund", "paid"), ("refund", "failed"),
    }  # fmt: skip
    assert {(r["kind"], r["status"]) for r in rows["returns"]} >= {("return", s) for s in models.RETURN_STATES}
    assert {r["reason"] for r in rows["returns"]} == set(models.RETURN_REASONS)
    assert {r["kind"] for r in rows["returns"]} == set(models.RETURN_KINDS)
    assert min(Counter(o["status"] for o in rows["orders"]).values()) >= 5


def test_days_follow_each_other(rows):
    since = {c["id"]: c["since"] for c in rows["customers"]}
    placed = {o["id"]: o["placed_on"] for o in rows["orders"]}
    for order in rows["orders"]:
        assert since[order["customer_id"]] <= order["placed_on"] <= TODAY, order["id"]
    for parcel in rows["shipments"]:
        days = [placed[parcel["order_id"]], parcel["shipped_on"], parcel["last_scan_on"], TODAY]
        days = [d for d in days if d is not None]
        assert days == sorted(days), parcel
    for row in [*rows["payments"], *rows["returns"]]:
        assert placed[row["order_id"]] <= (row.get("on") or row["registered_on"]) <= TODAY


def test_money_adds_up(rows):
    for order in rows["orders"]:
        items = of_order(rows, "order_items", order["id"])
        total = order["delivery_fee_cents"] + sum(i["quantity"] * i["unit_price_cents"] for i in items)
        payments = of_order(rows, "payments", order["id"])
        charged = sum(p["amount_cents"] for p in payments if p["kind"] == "charge" and p["status"] != "failed")
        assert charged == total, order["id"]
        paid = sum(p["amount_cents"] for p in payments if p["kind"] == "charge" and p["status"] == "paid")
        back = sum(p["amount_cents"] for p in payments if p["kind"] == "refund" and p["status"] != "failed")
        assert back <= paid, order["id"]


def test_a_state_is_what_its_parcels_say(rows):
    for order in rows["orders"]:
        parcels = [s["status"] for s in of_order(rows, "shipments", order["id"])]
        if order["status"] in ("waiting_for_payment", "processing", "cancelled"):
            assert parcels == [], order["id"]
        if order["status"] == "delivered":
            assert set(parcels) == {"delivered"}, order["id"]
        if order["status"] == "packed":
            assert parcels == ["label_made"], order["id"]
        if order["status"] == "partly_shipped":
            assert set(parcels) == {"in_transit", "label_made"}, order["id"]


def test_what_was_ordered_lies_in_the_parcels_once(rows):
    replaced = {s["replaces"] for s in rows["shipments"]}
    sent = Counter()
    for inside in rows["shipment_items"]:
        if inside["tracking_number"] not in replaced:
            sent[inside["order_id"], inside["position"]] += inside["quantity"]
    quantities = {(i["order_id"], i["position"]): i["quantity"] for i in rows["order_items"]}
    assert all(quantities[key] == n for key, n in sent.items())


def test_returns_follow_the_rules(rows):
    kinds = {v["sku"]: p for v in rows["variants"] for p in rows["products"] if p["id"] == v["product_id"]}
    for one in rows["returns"]:
        item = next(i for i in of_order(rows, "order_items", one["order_id"]) if i["position"] == one["position"])
        product = kinds[item["sku"]]
        assert product["kind"] in ("device", "accessory")
        assert not (product["hygiene"] and one["opened"] and one["reason"] == "changed_mind")
        arrived = max(s["delivered_on"] for s in of_order(rows, "shipments", one["order_id"]))
        assert 0 <= (one["registered_on"] - arrived).days <= limits().return_days


def test_every_edge_case_is_there_and_explained(rows):
    lines = list(csv.DictReader((SHOP / "tables" / "edge_cases.csv").read_text(encoding="utf-8").splitlines()))
    orders = {o["id"] for o in rows["orders"]}
    assert {line["order_id"] for line in lines} <= orders
    assert len({line["name"] for line in lines}) == len(lines) == len(edge_cases()) >= 45
    assert all(len(line["about"]) > 15 for line in lines)


def test_edge_cases_are_what_they_are_called(rows):
    cases = edge_cases()
    orders = {o["id"]: o for o in rows["orders"]}
    names = {c["id"]: c["name"] for c in rows["customers"]}
    same = [orders[cases[n]]["customer_id"] for n in ("same_name_first", "same_name_second")]
    assert same[0] != same[1]
    assert names[same[0]] == names[same[1]]
    first, second = (orders[cases[n]] for n in ("look_alike_first", "look_alike_second"))
    assert first["customer_id"] == second["customer_id"]
    skus = [of_order(rows, "order_items", o["id"])[0]["sku"] for o in (first, second)]
    assert (skus[0][:4], skus[0] != skus[1]) == (skus[1][:4], True)
    hostile = {n["text"] for n in read_entries(SHOP / "notes.yml") if n["hostile"]}
    assert orders[cases["hostile_note"]]["note"] in hostile
    assert len(of_order(rows, "order_items", cases["five_positions"])) == 5
    assert orders[cases["same_household"]]["ship_street"] == orders[cases["in_transit"]]["ship_street"]
    days = {
        n: (TODAY - of_order(rows, "shipments", cases[n])[0]["delivered_on"]).days
        for n in ("last_day_of_return", "one_day_past_return")
    }
    assert days == {"last_day_of_return": 30, "one_day_past_return": 31}


def test_the_search_knows_every_category(rows):
    assert {p["category"] for p in rows["products"]} == set(typing.get_args(Category))


def test_one_customer_has_no_orders_and_some_notes_are_hostile(rows):
    buyers = {o["customer_id"] for o in rows["orders"]}
    assert {c["id"] for c in rows["customers"]} - buyers == {"C1072"}
    assert all(email.rsplit("@", 1)[1].startswith("example.") for email in (c["email"] for c in rows["customers"]))
