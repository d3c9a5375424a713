"""Faults of the archive: killed again and again, and a ClickHouse that is gone, slow, read-only, full, or half full."""

import time

import orjson
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error
from confluent_kafka import KafkaException

from consumers.clickhouse.archive.config import GROUP
from consumers.clickhouse.archive.intent import decode_intent
from pipeline.bench.faults.clickhouse import ClickHouse, Stored
from pipeline.bench.faults.combine import SETTLE_SECONDS
from pipeline.bench.faults.ledger import by_id, judge
from pipeline.bench.faults.schedule import Kill, kills
from pipeline.bench.faults.setup import Figures, Setup
from pipeline.bench.faults.stored import wrong_aggregates
from pipeline.bench.faults.under_test import DRAIN_SECONDS, LineUnderTest
from pipeline.runtime.errors import AndonError
from pipeline.wire.topics import EVENTS

KILLS, SHORT_KILLS = 20, 3
SHORT_FAULT_SECONDS = 5.0
GONE_SECONDS, SLOW_SECONDS, READ_ONLY_SECONDS, FULL_SECONDS = 60.0, 20.0, 15.0, 15.0
LOOK_PACE = 15.0  # a look asks Kafka and ClickHouse
HELD_ROWS = 30_000  # less than what comes while ClickHouse is gone: reading must pause


class Storing(LineUnderTest):
    """A line whose events go into ClickHouse."""

    def __init__(self, setup: Setup, scenario: str) -> None:
        super().__init__(setup, scenario)
        self._promised: set[tuple[int, int, int]] = set()  # partition, start, end: at the last look
        self._promised_before: set[tuple[int, int, int]] = set()  # and at the last kill

    def __enter__(self) -> "Storing":
        super().__enter__()
        try:
            self.clickhouse = ClickHouse(self).__enter__()  # it ends as the other stages do
            self.stored = Stored(self.clickhouse)
            where = (self.kafka.bootstrap_servers, self.kafka.topic_prefix)
            self.archive = self.keep(self.clickhouse.archive(*where, max_held_rows=HELD_ROWS))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.stored.start()
        return self

    def kill_archive(self, kill: Kill) -> None:
        """See `kill`; it is back when this returns."""
        self.kill(self.archive, kill, self.between_insert_and_commit, LOOK_PACE)
        self._promised_before = self._promised
        self.archive.start()

    def between_insert_and_commit(self) -> bool:
        """Whether a batch is promised, is in ClickHouse, and no commit says so yet; not counting those of the kill
        before, which the archive has to repeat. It must stand still."""
        try:
            places = self.broker.committed(GROUP, EVENTS.name, EVENTS.partitions)
            found = [decode_intent(place.metadata) for place in places if place.offset >= 0]
            ranges = {(of.partition, of.start, of.end) for intent in found if intent for of in intent.ranges}
            self._promised = ranges
            firsts = [(partition, start, start + 1) for partition, start, _ in ranges - self._promised_before]
            if not firsts:
                return False
            values = [message.value() or b"" for message in self.broker.read(EVENTS.name, firsts)]
            ids = [event["id"] for event in map(orjson.loads, values)]
            return self._has(self.clickhouse.client(), ids)
        except (KafkaException, Error, OSError, AndonError):
            return False

    @staticmethod
    def _has(client: Client, ids: list[str]) -> bool:
        found = client.query("SELECT count() FROM events WHERE id IN {ids:Array(String)}", parameters={"ids": ids})
        return bool(found.first_row[0])

    def drained(self) -> float:
        """Seconds until everything that there was when it was asked is stored and the broker knows."""
        start = time.monotonic()
        target = len(self.ledger.values)
        self.until("the archive has caught up", lambda: self.stored.count >= target, DRAIN_SECONDS)
        return round(time.monotonic() - start, 1)

    def under_faults(self) -> Figures:
        """What the archive said of a ClickHouse that failed it, and what it held meanwhile."""
        refusals = ("refused", "timed out", "ACCESS_DENIED", "NOT_ENOUGH_SPACE")
        return {
            "refusals_logged": {word: self.archive.count(word) for word in refusals},
            "crashes_ahead_while_half_full": self.clickhouse.crashes_ahead,
            "archive_rss_under_faults_bytes": self.archive.peak_rss_bytes(),
        }

    def settled(self) -> None:
        """No lag, and nothing under way: rows are seen in `events` a moment before they are in its aggregates."""
        self.until("the archive has no lag", lambda: self.lag(GROUP) == 0 and not self._promises(), DRAIN_SECONDS)
        self.stored.pulse.stop()

    def _promises(self) -> bool:
        try:
            return any(place.metadata for place in self.broker.committed(GROUP, EVENTS.name, EVENTS.partitions))
        except (KafkaException, TimeoutError):
            return True

    def stored_account(self) -> Figures:
        """Ids in ClickHouse against the ledger, and every aggregate."""
        client, events = self.clickhouse.client(), self.ledger.events()
        rows = client.query("SELECT id, count() FROM events GROUP BY id").result_rows
        found = judge(by_id(events), {row[0]: row[1] for row in rows})
        wrong = wrong_aggregates(events, client)
        return {
            **self.figures(),
            "events": found.produced,
            "seen": found.seen,
            "lost": found.lost,
            "repeated": found.repeated,
            "count": client.query("SELECT count() FROM events").first_row[0],
            "uniq_exact_ids": client.query("SELECT uniqExact(id) FROM events").first_row[0],
            "wrong_cells": sum(wrong.values()),
            "wrong_cells_by_table": wrong,
            "longest_stall_seconds": round(self.stored.pulse.longest_seconds, 2),
            **self.topic_account(),
        }


def archive_killed(setup: Setup) -> Figures:
    """kill -9, every other time between insert and commit."""
    with Storing(setup, "archive-killed") as line:
        line.begin()
        line.run_for(SETTLE_SECONDS)
        for kill in kills(setup.seed, line.scenario, SHORT_KILLS if setup.short else KILLS):
            line.kill_archive(kill)
        line.run_for(SETTLE_SECONDS)
        line.finish()
        line.settled()
        return line.stored_account() | {"kills_between_insert_and_commit": line.inside}


def clickhouse_failing(setup: Setup) -> Figures:
    """ClickHouse gone, slow, read-only, out of disk, and that behind `events` only; one after another, under load."""
    with Storing(setup, "clickhouse-failing") as line:
        line.begin()
        line.run_for(4 * SETTLE_SECONDS)
        rss_before = line.archive.peak_rss_bytes()
        clickhouse, recovered = line.clickhouse, {}
        for name, fault, seconds in (
            ("gone", clickhouse.gone, GONE_SECONDS),
            ("slow", clickhouse.slow, SLOW_SECONDS),
            ("read-only", clickhouse.read_only, READ_ONLY_SECONDS),
            ("full", clickhouse.full, FULL_SECONDS),
            ("half-full", clickhouse.half_full, FULL_SECONDS),
        ):
            with fault():
                line.run_for(SHORT_FAULT_SECONDS if setup.short else seconds)
            recovered[name] = line.drained()
        under_faults = line.under_faults()
        line.finish()
        line.settled()
        seconds_to = {"seconds_to_catch_up_after": recovered, "archive_rss_before_bytes": rss_before}
        return line.stored_account() | seconds_to | under_faults
