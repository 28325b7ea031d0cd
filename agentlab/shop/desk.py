"""Where a conversation meets the store: who is asking, what is theirs, and how a change is made once.

`Desk` is what all groups of tools share. A method marked `write` runs in one transaction with its audit line and its
idempotency key: a process that dies in the middle leaves nothing, and one that asks again gets the first result.
"""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_jsonable_python
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from agentlab import toolkit
from agentlab.errors import AgentLabError
from agentlab.shop.models import Audit, Customer, Done, Order, OrderItem, Payment, Variant
from agentlab.shop.rules import Refused
from agentlab.shop.store import Store, StoreBusy
from agentlab.toolkit import Retry


@dataclass
class Session:
    """A conversation: which customer has been verified, and how often that failed."""

    customer_id: str | None = None
    failed_attempts: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)  # one attempt at a time


@dataclass
class Desk:
    """A store and the session it is used for."""

    store: Store
    session: Session = field(default_factory=Session)

    def customer_id(self) -> str:
        """The verified customer's id; refuses by rule 1.1 where there is none."""
        if self.session.customer_id is None:
            raise Refused("1.1", "Nobody is verified yet: use verify_customer first.")
        return self.session.customer_id

    def customer(self) -> Customer:
        """The verified customer; locked until the end where the block writes."""
        return self.store.db.get_one(Customer, self.customer_id(), with_for_update=self.store.writing)

    def order(self, order_id: str) -> Order:
        """One of the verified customer's orders; locked until the end where the block writes.

        Somebody else's order is as unknown as one that does not exist.
        """
        db, mine = self.store.db, Order.customer_id == self.customer_id()
        query = select(Order).where(Order.id == order_id, mine)
        found = db.scalar(query.with_for_update() if self.store.writing else query)
        if found is None:
            own = db.scalars(select(Order.id).where(mine).order_by(Order.id)).all()
            near = difflib.get_close_matches(order_id, own, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise Retry(f"This customer has no order {order_id}.{hint} list_orders shows all of them.")
        return found

    def order_to_change(self, order_id: str) -> Order:
        """`order`, unless the bank disputes its payment: then a person decides (rule 9.2)."""
        order = self.order(order_id)
        if any(p.status == "disputed" for p in order.payments):
            raise Refused("9.2", f"The payment of order {order.id} is disputed. Use hand_over.")
        return order

    def variants(self, skus: Iterable[str]) -> dict[str, Variant]:
        """Variants by number, locked in one order, so that two changes cannot wait for each other."""
        query = select(Variant).where(Variant.sku.in_(set(skus))).order_by(Variant.sku)
        fresh = query.with_for_update().execution_options(populate_existing=True)
        return {v.sku: v for v in self.store.db.scalars(fresh)}

    def refund(self, order: Order, cents: int, reason: str) -> int:
        """Note a refund to the means of payment that was used, never more than may still go back; gives its cents."""
        cents = min(cents, order.refundable_cents)
        if cents:
            method = next(p.method for p in order.payments if p.kind == "charge" and p.status == "paid")
            back = Payment(kind="refund", method=method, amount_cents=cents, status="pending", reason=reason)
            back.on = self.store.today
            order.payments.append(back)
        return cents

    def days_since(self, day: dt.date) -> int:
        """How many days ago a day was."""
        return (self.store.today - day).days


def item_of(order: Order, position: int) -> OrderItem:
    """A position of an order, or a retry that says which there are."""
    for item in order.items:
        if item.position == position:
            return item
    raise Retry(f"Order {order.id} has no position {position}; it has 1 to {len(order.items)}.")


# --- looking and changing ------------------------------------------------------------------------------------


def read(method: Callable) -> Callable:
    """Make a method of a desk one that looks: in one block, so that all it sees is of the same moment."""

    @functools.wraps(method)
    def run(self: Desk, *args, **kwargs):
        with _retried_when_busy(), self.store.reading():
            return method(self, *args, **kwargs)

    return run


def write(method: Callable) -> Callable:
    """Make a method of a desk a change: one transaction, an audit line, and at most once for each idempotency key."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def run(self: Desk, *args, **kwargs) -> dict:
        arguments = dict(list(signature.bind(self, *args, **kwargs).arguments.items())[1:])
        with _retried_when_busy(), self.store.transaction() as db:
            done = _begin_once(db, self.session)
            if done is not None and done.result is not None:
                return done.result
            result = to_jsonable_python(method(self, *args, **kwargs))
            db.add(_audit(method.__name__, self.session, arguments, result))
            if done is not None:
                done.result = result
            return result

    return run


@contextmanager
def _retried_when_busy() -> Iterator[None]:
    """A database that is in use is no failure: nothing was done, and the same call may be made again."""
    try:
        yield
    except StoreBusy as error:
        raise Retry(str(error)) from error


def _begin_once(db, session: Session) -> Done | None:
    """The record of this call's idempotency key: a new one, or that of the call which had it before."""
    call = toolkit.current_call.get()
    if call is None or call.idempotency_key is None:
        return None
    mine = {"customer_id": session.customer_id or "", "key": call.idempotency_key}
    try:
        with db.begin_nested():  # where another process holds the key, this waits until that one has ended
            done = Done(**mine, call=call.signature)
            db.add(done)
    except IntegrityError:
        done = db.get_one(Done, mine)
    if done.call != call.signature:
        raise AgentLabError(f"The key {call.idempotency_key!r} was used for another call; each action needs its own.")
    return done


def _audit(action: str, session: Session, arguments: dict[str, Any], result: dict) -> Audit:
    amounts = {key: value for key, value in result.items() if key.endswith("_cents")}
    return Audit(
        at=dt.datetime.now(dt.UTC).replace(tzinfo=None),
        action=action,
        customer_id=session.customer_id,
        order_id=arguments.pop("order_id", None),
        detail=to_jsonable_python(arguments) | amounts,
    )
