"""Pushes drawn at random, with an independent model of what the table must hold after them."""

import hashlib
import itertools
import json
import random
from typing import Any

from psycopg import sql

from otn_dagster.live import batches, log, records, registry
from otn_dagster.live.log import Logged, Push
from tests.support.livenode import LiveNode

_names = itertools.count()


class Driven:
    """A dataset, and what it should hold after each push."""

    def __init__(self, live: LiveNode):
        self.live, self.name = live, f"model{next(_names)}"
        self.dataset = live.configure(self.name, key=["k"], fields={"k": "text", "v": "integer"})
        self.model: dict[str, Any] = {}
        self.after: list[tuple[int, dict[str, Any]]] = []
        self.last: Push | None = None

    def push_of(self, op: str, items: list[Any]) -> Push:
        body, batch_id = json.dumps([{"k": k} for k in items] if op == "delete" else items).encode(), None
        if op == "replace":
            with self.live.connect() as connection:
                batch_id = batches.open_batch(connection, self.name, "t")
                parsed = records.parse(self.dataset.schema_, items)
                for number, part in enumerate(itertools.batched(parsed.records, 2)):
                    batches.add(connection, batch_id, number, 1, batches.body_of(part), len(part))
                batches.close(connection, batch_id)
        return Push(
            dataset=self.name,
            author="t",
            kid=None,
            op=op,
            records=len(items),
            schema_version=1,
            body_kind="batch" if batch_id else "json",
            body_sha256=hashlib.sha256(body).digest(),
            body=None if batch_id else body,
            batch_id=batch_id,
            idempotency_key=f"{random.random()}",
        )

    def send(self, push: Push) -> Logged:
        with self.live.connect() as connection:
            (kept,) = log.append(connection, [push])
        assert isinstance(kept, Logged)
        return kept

    def step(self, op: str, items: list[Any]) -> None:
        if op in ("push", "delete", "replace"):
            self.last = self.push_of(op, items)
            kept = self.send(self.last)
            self.model = {} if op == "replace" else dict(self.model)
            for item in items:
                if op == "delete":
                    self.model.pop(item, None)
                else:
                    self.model[item["k"]] = item["v"]
            self.after.append((kept.seq, self.model))
        elif op == "again" and self.last:
            assert self.send(self.last).replayed
        elif op == "apply":
            self.live.apply(self.name)
        elif op == "replay":
            self.live.replay(self.name, dry_run=False)
        elif op == "crash":
            self.crash()

    def crash(self) -> None:
        from otn_dagster.live import apply

        try:
            with self.live.connect() as connection:
                apply.apply(connection, self.dataset)
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass

    def check(self) -> None:
        self.live.apply(self.name)
        store = sql.Identifier("live_store", self.name)
        with self.live.connect() as connection:
            now = connection.execute(
                sql.SQL("select k, v from live_data.{}").format(sql.Identifier(self.name))
            ).fetchall()
            assert dict(now) == self.model and len(now) == len(self.model)
            as_of = sql.SQL(
                "select k, v from (select distinct on (_record_id) * from {} where _seq <= %s order by _record_id, _seq desc) t"
                " where not _deleted"
            ).format(store)
            for seq, model in self.after:
                assert dict(connection.execute(as_of, [seq]).fetchall()) == model
            current = sql.SQL("select count(*) - count(distinct _record_id) from {} where _current").format(store)
            assert connection.execute(current).fetchone() == (0,)
            assert registry.newest_version(connection, self.name)[0] == 1  # type: ignore[index]
