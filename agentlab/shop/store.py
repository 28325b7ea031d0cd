"""The shop's database: SQLite in memory unless told otherwise, any database that SQLAlchemy knows on request.

A change is all or nothing: what happens inside `Store.transaction` is kept when the block ends, and undone when it
raises or the process dies. What day it is comes in from outside, so that a scenario of June 2026 stays one.

Not covered: migrations of an older schema, asynchronous access.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import StaticPool

from agentlab.errors import AgentLabError
from agentlab.shop.models import Base
from agentlab.shop.sample import read_sample

SAMPLE_DAY = dt.date(2026, 6, 15)
BUSY_SECONDS = 5
NO_STATE = {"audit.at", "coupons.code"}  # these differ from run to run though the same thing was done
IN_MEMORY = ("", ":memory:")


class StoreError(AgentLabError):
    """A database that cannot be opened, filled or written; says what would help."""


class StoreBusy(StoreError):
    """Another program holds the database; nothing was done, and the same call may work in a moment."""


class Store:
    """A shop's database and its calendar.

    ``url`` is SQLAlchemy's, such as ``sqlite://`` (in memory), ``sqlite:///shop.db`` or ``postgresql+psycopg://...``;
    missing tables are made. ``today`` is a day or a function that says which day it is. Raises `StoreError`.

    >>> store = Store.sample()
    >>> store.today
    datetime.date(2026, 6, 15)
    >>> with store.reading() as db:
    ...     db.scalar(sa.text("SELECT status FROM orders WHERE id = 'W20417'"))
    'shipped'
    """

    def __init__(self, url: str = "sqlite://", today: dt.date | Callable[[], dt.date] = dt.date.today):
        self.engine = _engine(url)
        self.clock = today if callable(today) else lambda: today
        self._here = threading.local()  # .block: the session of this thread's block, and whether it writes
        self._turn = threading.RLock()  # a database in memory is one connection, which threads must take in turns
        with _in_words(self.engine):
            Base.metadata.create_all(self.engine)

    @classmethod
    def sample(cls, url: str = "sqlite://", today: dt.date | Callable[[], dt.date] = SAMPLE_DAY) -> Store:
        """A store filled with the shop of ``data/shop``; `StoreError` if the database holds something already."""
        if url == "sqlite://":
            store = _sample_in_memory().copy()
            store.clock = today if callable(today) else lambda: today
            return store
        store = cls(url, today)
        if any(store.rows().values()):
            store.close()
            raise StoreError(f"{store} holds data already. Open it with Store(url), or give an empty database.")
        store.fill(read_sample())
        return store

    @property
    def today(self) -> dt.date:
        """What day it is in this shop."""
        return self.clock()

    @property
    def in_memory(self) -> bool:
        """Whether the database is gone with this object."""
        return isinstance(self.engine.pool, StaticPool)

    # --- reading and writing ---

    @property
    def db(self) -> orm.Session:
        """SQLAlchemy's session of the block that this thread is in."""
        if self._block is None:
            raise StoreError("Nothing is open: use `with store.reading():` or `with store.transaction():`.")
        return self._block[0]

    @property
    def writing(self) -> bool:
        """Whether this thread is inside a transaction."""
        return self._block is not None and self._block[1]

    @property
    def _block(self) -> tuple[orm.Session, bool] | None:
        return getattr(self._here, "block", None)

    @contextmanager
    def transaction(self) -> Iterator[orm.Session]:
        """A block that is kept as a whole or undone as a whole; inside another it is a part of that one.

        A SQLite database is locked for writing from the first line on, so that nothing read in the block can change
        before it is written. On others lock the rows: ``select(...).with_for_update()``.
        """
        if self._block is not None and not self.writing:
            raise StoreError("A block that reads cannot hold one that writes; begin with `with store.transaction():`.")
        with self._open(writing=True) as db:
            yield db

    @contextmanager
    def reading(self) -> Iterator[orm.Session]:
        """A block that only looks: what is changed in it is undone."""
        with self._open(writing=False) as db:
            yield db

    @contextmanager
    def _open(self, writing: bool) -> Iterator[orm.Session]:
        if self._block is not None:
            yield self.db
            return
        begin = "BEGIN IMMEDIATE" if writing else "BEGIN"
        with self._turns(), _in_words(self.engine), orm.Session(self.engine) as db:
            db.connection(execution_options={"sqlite_begin": begin})  # begins now, not at the first statement
            self._here.block = db, writing
            try:
                yield db
                if writing:
                    db.commit()
            finally:
                self._here.block = None

    @contextmanager
    def _turns(self) -> Iterator[None]:
        if not self.in_memory:
            yield
            return
        with self._turn:
            yield

    def fill(self, tables: dict[str, list[dict]]) -> None:
        """Add rows, given by table; parents before children is seen to."""
        with self.transaction() as db:
            for table in Base.metadata.sorted_tables:
                if rows := tables.get(table.name):
                    db.execute(sa.insert(table), rows)

    # --- the whole ---

    def rows(self) -> dict[str, list[dict]]:
        """Every row of every table."""
        with self.reading() as db:
            return {t.name: [dict(r) for r in db.execute(sa.select(t)).mappings()] for t in Base.metadata.sorted_tables}

    def digest(self) -> str:
        """The sha256 of the state of the shop, as hexadecimal digits.

        Two stores in which the same was done have the same digest: the order of rows, numbers the database gave out,
        codes drawn at random, times of audit lines and idempotency keys do not count.
        """
        state = {name: _canonical(name, rows) for name, rows in self.rows().items() if name != "done"}
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()

    def copy(self) -> Store:
        """A fresh store in memory with the same content and clock; a scenario may do to it what it likes."""
        other = Store(today=self.clock)
        if self.engine.dialect.name != "sqlite":
            other.fill(self.rows())
            return other
        with self._turns(), _in_words(self.engine), self.engine.connect() as ours, other.engine.connect() as theirs:
            ours.connection.driver_connection.backup(theirs.connection.driver_connection)
        return other

    def close(self) -> None:
        """Give back all connections; what was in memory is gone."""
        self.engine.dispose()

    def __repr__(self) -> str:
        return f"Store({self.engine.url.render_as_string(hide_password=True)!r})"


@lru_cache(maxsize=1)
def _sample_in_memory() -> Store:
    store = Store(today=SAMPLE_DAY)
    store.fill(read_sample())
    return store


def _canonical(name: str, rows: list[dict]) -> list[str]:
    """The rows of a table as sorted lines of JSON, without what tells nothing about the shop."""
    table = Base.metadata.tables[name]
    given = table.autoincrement_column
    left_out = {c.name for c in table.columns if c is given or f"{name}.{c.name}" in NO_STATE}
    return sorted(
        json.dumps({k: v for k, v in row.items() if k not in left_out}, sort_keys=True, default=str) for row in rows
    )


# --- engines -------------------------------------------------------------------------------------------------


def _engine(url: str) -> sa.Engine:
    """An engine for a URL; SQLite gets foreign keys, real transactions and patience."""
    try:
        where = sa.make_url(url)
        if where.get_backend_name() != "sqlite":
            return sa.create_engine(where, pool_pre_ping=True)
        alone = {"poolclass": StaticPool} if (where.database or "") in IN_MEMORY else {}
        engine = sa.create_engine(where, connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS}, **alone)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, TypeError, ValueError) as error:
        raise StoreError(
            f"{url!r} is no database URL that works here ({error}). Such as: sqlite:// (in memory), sqlite:///shop.db, "
            "postgresql+psycopg://user:password@host/shop (needs psycopg)."
        ) from None
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection, _) -> None:
    connection.isolation_level = None  # else Python's sqlite3 begins transactions when it thinks fit
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


@contextmanager
def _in_words(engine: sa.Engine) -> Iterator[None]:
    """What a driver says about a database that cannot be used, as a `StoreError`."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if "locked" in str(error.orig) or "deadlock" in str(error.orig):
            raise StoreBusy(f"{_where(engine)} is in use by another program at the moment. Try again.") from error
        raise StoreError(f"{_where(engine)}: {_meaning(error)}") from error
    except DBAPIError as error:
        if "file is not a database" not in str(error.orig):
            raise
        raise StoreError(f"{_where(engine)} is no SQLite database. Give the path of another file.") from error


def _where(engine: sa.Engine) -> str:
    return f"The database {engine.url.render_as_string(hide_password=True)}"


def _meaning(error: DBAPIError) -> str:
    said = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
    if "unable to open" in said:
        return "it cannot be opened. Does its folder exist, and may it be written?"
    if "readonly" in said:
        return "it may not be written. Check the permissions of the file and its folder."
    return f"{said.rstrip('.')}. Is the server running, and are name and password right?"
