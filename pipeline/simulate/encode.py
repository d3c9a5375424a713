"""Simulated reports as wire-format bytes. Written by hand rather than by a codec: a fleet's text repeats, so most of
an event is copied from fragments that are made once. A test decodes every kind with the wire's own decoder."""

import itertools
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import orjson

from pipeline.simulate.fleet import Ints, Population
from pipeline.simulate.scenario import Scenario
from pipeline.wire.events import Signature
from pipeline.wire.spans import DAY_MS

RECENT_MS = 7 * DAY_MS  # an event lists what changed on the host in this time

HEARTBEAT, BOOT = 0, 1
CLEAN = ('"kind":"heartbeat"', '"kind":"boot","prior":"clean"')


class Report(NamedTuple):
    """A crash, or the boot after it (`signature` is None). `sent_ms`, when the host could say so, orders the stream."""

    sent_ms: int
    host: int
    crashed_ms: int
    signature: Signature | None


class SentEvent(NamedTuple):
    """One event as it goes to Kafka; `sent_ms` and `crashed_ms` (crashes only) in unix ms."""

    sent_ms: int
    key: bytes
    value: bytes
    crashed_ms: int | None


def _text(value: str) -> str:
    return orjson.dumps(value).decode()


class Encoder:
    """Events of one fleet. `epoch_ms` is the unix time of the scenario's start, which a replay shifts."""

    def __init__(self, scenario: Scenario, hosts: Population, installed: Ints, seed: int, epoch_ms: int) -> None:
        self._installed = installed
        self._epoch_ms = epoch_ms
        self._serial = 0
        fleet = scenario.fleet
        self.id_prefix = f"{zlib.crc32(fleet.name.encode()):08x}-{seed:x}-{epoch_ms:x}-"
        self._fleet = f',"fleet":{_text(fleet.name)},"host":"'
        self._updates = [
            f'{{"vendor":{_text(u.vendor)},"product":{_text(u.product)},"version":{_text(u.version)},"installed_at":'
            for u in scenario.updates
        ]
        self._alike, self._alike_code = self._what_hosts_are(scenario, hosts)

    @staticmethod
    def _what_hosts_are(scenario: Scenario, hosts: Population) -> tuple[list[str], Ints]:
        """The text that hosts share, and which of them each host has."""
        shape = (len(hosts.rings), len(hosts.os), len(hosts.models), len(hosts.sites))
        codes = np.ravel_multi_index((hosts.ring, hosts.os_code, hosts.model, hosts.site), shape)
        kinds, code = np.unique(codes, return_inverse=True)
        texts, places = [], scenario.fleet.places
        for ring, system, model, site in zip(*np.unravel_index(kinds, shape), strict=True):
            name = hosts.sites[site]
            fields = {
                "ring": hosts.rings[ring],
                "os": hosts.os[system],
                "model": hosts.models[model],
                "region": places[name].region,
                "site": name,
            }
            texts.append("," + orjson.dumps(fields).decode()[1:-1] + ',"updates":[')
        return texts, code.astype(np.int32)

    def _recent(self, host: Ints, at_ms: Ints) -> list[str]:
        """The `updates` list of each host at that time, without its brackets."""
        block = self._installed[:, host]
        live = (block <= at_ms) & (block > at_ms - RECENT_MS)
        event, row = np.nonzero(live.T)
        when = (block[row, event].astype(np.int64) + self._epoch_ms).tolist()
        heads = self._updates
        pieces = [f"{heads[r]}{at}}}" for r, at in zip(row.tolist(), when, strict=True)]
        ends = np.searchsorted(event, np.arange(len(host) + 1)).tolist()
        return [",".join(pieces[low:high]) for low, high in itertools.pairwise(ends)]

    def encode(self, sent_ms: Ints, host: Ints, kind: Ints, reports: Sequence[Report]) -> list[SentEvent]:
        """Clean trials (columns) and reports of crashes, in the order in which they are sent."""
        sent = np.concatenate([sent_ms, np.array([r.sent_ms for r in reports], dtype=np.int64)])
        hosts = np.concatenate([host, np.array([r.host for r in reports], dtype=np.int64)])
        kinds = np.concatenate([kind, np.arange(len(reports)) + len(CLEAN)])
        order = np.lexsort((kinds, hosts, sent))
        sent, hosts, kinds = sent[order], hosts[order], kinds[order]
        crashed: list[int | None] = [None] * len(order)
        ts = (sent + self._epoch_ms).tolist()
        for place in np.flatnonzero(kinds >= len(CLEAN)).tolist():
            report = reports[kinds[place] - len(CLEAN)]
            if report.signature is not None:
                ts[place] = crashed[place] = report.crashed_ms + self._epoch_ms
        names = [f"h-{number:07d}" for number in hosts.tolist()]
        values = self._texts(names, ts, kinds.tolist(), [*CLEAN, *map(self._head, reports)], hosts, sent)
        return list(map(SentEvent, (sent + self._epoch_ms).tolist(), map(str.encode, names), values, crashed))

    def _texts(
        self, names: list[str], ts: list[int], kinds: list[int], heads: list[str], hosts: Ints, sent: Ints
    ) -> list[bytes]:
        prefix, fleet, alike = self.id_prefix, self._fleet, self._alike
        serials = range(self._serial, self._serial + len(names))
        self._serial += len(names)
        rows = zip(serials, kinds, ts, names, self._alike_code[hosts].tolist(), self._recent(hosts, sent), strict=True)
        return [
            f'{{"v":1,"id":"{prefix}{serial:x}",{heads[kind]},"ts":{at}{fleet}{name}"{alike[code]}{updates}]}}'.encode()
            for serial, kind, at, name, code, updates in rows
        ]

    def _head(self, report: Report) -> str:
        if report.signature is None:
            return f'"kind":"boot","prior":"crash","prior_ended_at":{report.crashed_ms + self._epoch_ms}'
        look = f'{{"code":{_text(report.signature.code)},"module":{_text(report.signature.module)}}}'
        return f'"kind":"crash","signature":{look}'
