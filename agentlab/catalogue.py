"""The products that can be recommended: those of the shop and of ``data/recommend/products``, each with a text.

A product's tastes stand in the data for the simulator of customers (`agentlab.behaviour`) alone; what a model reads of a
product is `Product.line`, its name and description.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from agentlab import corpus
from agentlab.errors import AgentLabError, DataError, UnknownName

COLUMNS = ("id", "category", "brand", "price_cents", "fits", "tastes", "name", "text")
NO_GOODS = ("gift_cards",)  # nobody needs a recommender for these


@dataclass(frozen=True)
class Product:
    """What is sold. ``fits`` names the category that an accessory goes with; ``tastes`` are the simulator's."""

    id: str
    category: str
    brand: str
    price_cents: int
    fits: str
    tastes: tuple[str, ...]
    name: str
    text: str

    @property
    def line(self) -> str:
        """What a model reads of it.

        >>> Product("R1", "home", "Lumeno", 1990, "", ("simple",), "Lumeno Glim night light", "On at dusk.").line
        'Lumeno Glim night light. On at dusk.'
        """
        return f"{self.name}. {self.text}"


def recommend_folder(folder: str | Path | None = None) -> Path:
    """``data/recommend`` of the course, or the folder that was given."""
    return Path(folder) if folder else corpus.data_folder() / "recommend"


def load_tastes(folder: str | Path | None = None) -> dict[str, str]:
    """What customers care about, with its meaning, in the order of the file."""
    file = recommend_folder(folder) / "tastes.yml"
    tastes = corpus.read_yaml(file)
    if not isinstance(tastes, dict) or not tastes:
        raise DataError("expected a table of tastes with their meanings.", file)
    return tastes


def load_phrases(folder: str | Path | None = None) -> dict[str, dict[str, list[str]]]:
    """Per taste what simulated customers write: ``liked``, ``missed`` and ``wish``, each a list of phrases."""
    file = recommend_folder(folder) / "phrases.yml"
    phrases = corpus.read_yaml(file)
    for taste in load_tastes(folder):
        entry = phrases.get(taste) if isinstance(phrases, dict) else None
        for name in ("liked", "missed", "wish"):
            if not isinstance(entry, dict) or not entry.get(name):
                raise DataError(f"the taste {taste} needs phrases under `{name}`.", file)
    return phrases


def load_products(folder: str | Path | None = None, shop: bool = True) -> list[Product]:
    """Every product, the shop's own first, in the order of their ids.

    Raises `DataError` with file and line for a malformed row, an unknown taste or an id that comes twice, and
    `AgentLabError` for a catalogue without a single product.
    """
    return list(_load_products(str(recommend_folder(folder)), shop))


@lru_cache(maxsize=4)
def _load_products(folder: str, shop: bool) -> tuple[Product, ...]:
    tastes, found = load_tastes(folder), {}
    rows = [*(shop_products(folder, tastes) if shop else ()), *written_products(folder, tastes)]
    for product, file, line in rows:
        if product.id in found:
            raise DataError(f"the id {product.id} is taken by {found[product.id].name}.", file, line)
        found[product.id] = product
    if not found:
        raise AgentLabError(
            f"The catalogue in {folder} is empty: there is nothing to recommend. Add a row to products/*.csv."
        )
    return tuple(found[id] for id in sorted(found))


def written_products(folder: str, tastes: dict[str, str]):
    """The rows of ``products/*.csv`` as products, each with file and line."""
    for file in sorted((Path(folder) / "products").glob("*.csv")):
        with open(file, newline="", encoding="utf-8") as rows:
            reader = csv.reader(rows)
            head = next(reader, [])
            if tuple(head) != COLUMNS:
                raise DataError(
                    f"the first line should be {','.join(COLUMNS)}; it is {','.join(head) or 'empty'}.", file, 1
                )
            for row in reader:
                yield read_row(row, tastes, file, reader.line_num), file, reader.line_num


def read_row(row: Sequence[str], tastes: dict[str, str], file: Path, line: int) -> Product:
    """One row as a product; raises `DataError` that says what is wrong with it."""
    if len(row) != len(COLUMNS):
        cure = "A text with a comma needs quotation marks." if len(row) > len(COLUMNS) else ""
        raise DataError(f"expected {len(COLUMNS)} columns, found {len(row)}.", file, line, cure)
    cells = dict(zip(COLUMNS, (cell.strip() for cell in row), strict=True))
    for name in ("id", "category", "name", "text"):
        if not cells[name]:
            raise DataError(f"the column `{name}` is empty.", file, line)
    if not cells["price_cents"].isdigit() or not int(cells["price_cents"]):
        raise DataError(f"price_cents is {cells['price_cents']!r}; it should be a whole number above 0.", file, line)
    return Product(
        cells["id"], cells["category"], cells["brand"], int(cells["price_cents"]), cells["fits"],
        known_tastes(cells["tastes"].split(), tastes, file, line), cells["name"], cells["text"],
    )  # fmt: skip


def known_tastes(given: Sequence[str], tastes: dict[str, str], file: Path, line: int | None = None) -> tuple[str, ...]:
    """The tastes, if there is at least one and all are known."""
    if not given:
        raise DataError("at least one taste is needed.", file, line)
    for taste in given:
        if taste not in tastes:
            raise DataError(str(UnknownName("taste", taste, tastes)), file, line)
    return tuple(given)


def shop_products(folder: str, tastes: dict[str, str]):
    """The products of ``data/shop`` with the tastes of ``shop.yml``; the text is the first sentence of the description."""
    from agentlab.shop.sample import read_entries

    file = Path(folder) / "shop.yml"
    about = corpus.read_yaml(file)
    for entry in read_entries(corpus.data_folder() / "shop" / "products.yml"):
        if entry["category"] in NO_GOODS:
            continue
        if entry["id"] not in about:
            raise DataError(f"the shop's product {entry['id']} has no tastes here.", file)
        own = about[entry["id"]]
        product = Product(
            entry["id"], entry["category"], entry["brand"], entry["variants"][0]["price_cents"], own.get("fits", ""),
            known_tastes(own.get("tastes", ()), tastes, file), entry["name"], entry["description"].split(". ")[0].rstrip(".") + ".",
        )  # fmt: skip
        yield product, file, None


def find_product(products: Sequence[Product], id: str) -> int:
    """The place of a product in a catalogue; raises `AgentLabError` with the nearest id for one that is not there."""
    places = {p.id: n for n, p in enumerate(products)}
    if id not in places:
        near = get_close_matches(id, places, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        span = f"the ids go from {min(places)} to {max(places)}" if places else "the catalogue is empty"
        raise AgentLabError(f"There is no product {id!r}.{hint} Of {len(places)} products {span}.")
    return places[id]
