"""A tool that recommends: what goes with a product, with a wish in words, or with what the customer bought, and why.

It needs trained towers (`agentlab.towers.load`), so a toolbox has it only where it was given a recommender.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field
from sqlalchemy import select

from agentlab.assets import embed_once
from agentlab.shop.arguments import Category, Line, ProductId, Top
from agentlab.shop.desk import Desk, read
from agentlab.shop.models import Order, Product
from agentlab.toolkit import Retry, did_you_mean

if TYPE_CHECKING:
    from agentlab.recommend import Line as Known
    from agentlab.towers import Recommender

RECENT_ORDERS = 10
OWN = re.compile(r"\b(?:my|our)\b((?: [\w-]+){1,4})")
DONE = ("waiting_for_payment", "cancelled")  # states of orders that say little about what somebody has


@dataclass
class Recommendations(Desk):
    """What may be of interest. A recommendation never tells of another customer: it reads this one's orders alone."""

    recommender: Recommender | None = None

    @read
    def recommend_products(
        self,
        product_id: ProductId | None = None,
        wish: Line | None = None,
        category: Category | None = None,
        max_price_cents: Annotated[int, Field(ge=0, le=1_000_000)] | None = None,
        top: Top = 3,
    ) -> list[dict]:
        """Recommend products that go with a product, with a wish, or with what the verified customer bought.

        Whether an accessory fits a model exactly stands in its description: check it with find_product.

        Args:
            product_id: the product it should go with, such as P131
            wish: what the customer looks for, in their words, such as something for long flights
            category: only this category, such as accessories
            max_price_cents: only what costs at most this much, in cents
            top: how many at most
        """
        products = {p.id: p for p in self.store.db.scalars(select(Product).order_by(Product.id))}
        if product_id is not None and product_id not in products:
            raise Retry(
                f"There is no product {product_id}.{did_you_mean(product_id, products)} search_products finds one."
            )
        owned = self._owned()
        asked = products[product_id] if product_id else named_among(owned, wish)
        history = self._history(asked, wish, [] if asked or wish else owned)
        if not history:
            raise Retry("Nothing is known yet: give product_id or wish, or verify a customer who has orders.")
        have = {p.id for p in (*owned, *([asked] if asked else []))}
        fits, kinds = accessory_of(), {p.category for p in (*owned, *([asked] if asked else []))}
        found = [
            p for p in products.values()
            if p.id not in have and p.kind != "gift_card" and category in (None, p.category)
            and (category or fits.get(p.id, "") in ("", *kinds))  # no cartridge for somebody without a printer
            and any(v.stock > 0 and (max_price_cents is None or v.price_cents <= max_price_cents) for v in p.variants)
        ]  # fmt: skip
        return self._ranked(found, history, asked, wish, top) if found else []

    def _owned(self) -> list[Product]:
        """What the verified customer ordered of late, the oldest first; nothing where nobody is verified."""
        if self.session.customer_id is None:
            return []
        mine = select(Order).where(Order.customer_id == self.session.customer_id, Order.status.not_in(DONE))
        orders = self.store.db.scalars(
            mine.order_by(Order.placed_on.desc(), Order.id.desc()).limit(RECENT_ORDERS)
        ).all()
        return list(dict.fromkeys(i.variant.product for o in reversed(orders) for i in o.items))

    def _history(self, asked: Product | None, wish: str | None, owned: list[Product]) -> tuple[Known, ...]:
        from agentlab.recommend import Line as Known

        lines = [Known("purchase", -1, text_of(p)) for p in owned]
        if asked is not None:
            lines.append(Known("purchase", -1, text_of(asked)))
        return (*([Known("wish", -1, wish)] if wish else []), *lines)

    def _ranked(
        self, found: list[Product], history: tuple[Known, ...], asked: Product | None, wish: str | None, top: int
    ) -> list[dict]:
        model, texts = self.recommender, [text_of(p) for p in found]
        vectors = model.product_vectors(texts)
        scores = vectors @ model.user_vector(history)
        if wish:  # the towers learned what goes with a taste; what the words themselves name, the encoder knows
            scores = standard(scores) + standard(embed_once(texts) @ embed_once([wish])[0])
        if asked is not None:  # an accessory for it comes before what is only alike
            fits = accessory_of()
            scores = scores + np.array([(2.0 if wish else 0.5) * (fits.get(p.id) == asked.category) for p in found])
        best = sorted(range(len(found)), key=lambda n: (-scores[n], found[n].id))[:top]
        return [
            {
                "product_id": found[n].id,
                "name": found[n].name,
                "category": found[n].category,
                "from_cents": min(v.price_cents for v in found[n].variants),
                "because": model.why(history, vectors[n])[0][0].text.split(". ")[0],
                "score": round(float(scores[n]), 3),
            }
            for n in best
        ]


def standard(scores: np.ndarray) -> np.ndarray:
    """Scores (N,) with mean 0 and deviation 1, so that two kinds can be added."""
    return (scores - scores.mean()) / (scores.std() + 1e-9)


def own_words(text: str) -> list[str]:
    """The words behind "my" and "our", in the singular: what somebody says they have.

    >>> own_words("What goes with my cameras?")
    ['camera']
    """
    return [w.removesuffix("s") for part in OWN.findall(text.lower()) for w in part.split()]


def named_among(owned: list[Product], wish: str | None) -> Product | None:
    """The newest of somebody's products that a wish calls theirs: the camera of "what goes with my camera?"."""
    words = set(own_words(wish or ""))
    kinds = {p.id: {w.removesuffix("s") for w in re.findall(r"\w+", f"{p.name} {p.category}".lower())} for p in owned}
    return next((p for p in reversed(owned) if words & kinds[p.id]), None)


def text_of(product: Product) -> str:
    """What the towers read of a product of the shop: its name and the first sentence of its description."""
    return f"{product.name}. {product.description.split('. ')[0].rstrip('.')}."


def accessory_of() -> dict[str, str]:
    """Per product the category that it is an accessory for, "" for what stands alone, by `agentlab.catalogue`."""
    from agentlab.catalogue import load_products

    return {p.id: p.fits for p in load_products()}
