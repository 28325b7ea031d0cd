"""Read the sample shop of ``data/shop``: goods and people from YAML, orders and what hangs on them from CSV tables."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from pathlib import Path

import yaml

from agentlab.corpus import data_folder, read_text
from agentlab.errors import DataError
from agentlab.shop.models import Base

TABLES = ("orders", "order_items", "shipments", "shipment_items", "payments", "returns", "coupons", "tickets")


def read_sample(folder: str | Path | None = None) -> dict[str, list[dict]]:
    """The rows of every table, by table; raises `DataError` with file and line for what cannot be read."""
    folder = Path(folder) if folder else data_folder() / "shop"
    goods = read_entries(folder / "products.yml")
    people, reviews = read_entries(folder / "customers.yml"), read_entries(folder / "reviews.yml")
    return {
        "customers": [_row(c, "customers") for c in people],
        "products": [_row(p, "products") for p in goods],
        "variants": [_row(v | {"product_id": p["id"]}, "variants") for p in goods for v in p["variants"]],
        "reviews": [_row(r | {"product_id": r["product"]}, "reviews") for r in reviews],
    } | {name: read_table(folder / "tables" / f"{name}.csv", name) for name in TABLES}


def read_entries(path: str | Path) -> list[dict]:
    """A YAML file that is a list of entries."""
    try:
        found = yaml.load(read_text(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise DataError(f"malformed YAML: {getattr(error, 'problem', error)}.", path, line) from None
    if isinstance(found, list) and all(isinstance(entry, dict) for entry in found):
        return found
    raise DataError("the file must be a list of entries.", path)


def read_table(path: str | Path, name: str) -> list[dict]:
    """A CSV file with the columns of a table; an empty field is nothing where a column allows it."""
    table = Base.metadata.tables[name]
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if unknown := sorted(set(reader.fieldnames or ()) - set(table.columns.keys())):
        raise DataError(f"unknown column {unknown[0]!r}.", path, 1, f"Columns: {', '.join(table.columns.keys())}.")
    rows = []
    for line in reader:
        try:
            rows.append({key: _value(table.columns[key], text) for key, text in line.items()})
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"the line cannot be read ({error}).", path, reader.line_num) from None
    return rows


def _value(column, text: str):
    """A field of a CSV file as the column's type."""
    if text == "" and column.nullable:
        return None
    kind = column.type.python_type
    if kind is bool:
        return {"true": True, "false": False}[text]
    return kind.fromisoformat(text) if kind is dt.date else json.loads(text) if kind is dict else kind(text)


def _row(entry: dict, name: str) -> dict:
    """The columns of a table out of an entry; a day may be written with quotes or without."""
    columns = Base.metadata.tables[name].columns
    row = {key: entry[key] for key in columns.keys() if key in entry}  # noqa: SIM118
    days = {key for key in row if columns[key].type.python_type is dt.date and isinstance(row[key], str)}
    return row | {key: dt.date.fromisoformat(row[key]) for key in days}


def edge_cases(folder: str | Path | None = None) -> dict[str, str]:
    """The orders of the sample shop that stand for a special case: name to order number.

    >>> edge_cases()["in_transit"]
    'W20417'
    """
    path = (Path(folder) if folder else data_folder() / "shop") / "tables" / "edge_cases.csv"
    return {line["name"]: line["order_id"] for line in csv.DictReader(io.StringIO(read_text(path), newline=""))}
