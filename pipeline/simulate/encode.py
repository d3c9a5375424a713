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

RECENT_MS = 7 * 24 * 3_600_000  # an event lists what changed on the host in this time

HEARTBEAT, BOOT = 0, 1


class Report(NamedTuple):
    """A crash, or the boot after it (`signature` is None). `sent_ms`, when the host could say so, orders the stream."""

    sent_ms: int
    host: int
    crashed_ms: int
    signature: Signature | None


class Message(NamedTuple):
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

    def encode(self, sent_ms: Ints, host: Ints, kind: Ints, reports: Sequence[Report]) -> list[Message]:
        """Clean trials (columns) and reports of crashes, in the order in which they are sent."""
        every_sent = np.concatenate([sent_ms, np.array([r.sent_ms for r in reports], dtype=np.int64)])
        every_host = np.concatenate([host, np.array([r.host for r in reports], dtype=np.int64)])
        every_kind = np.concatenate([kind, np.arange(len(reports), dtype=np.int64) + 2])
        order = np.lexsort((every_kind, every_host, every_sent))
        every_sent, every_host = every_sent[order], every_host[order]
        updates = self._recent(every_host, every_sent)
        alike = self._alike_code[every_host].tolist()
        rows = zip(every_sent.tolist(), every_host.tolist(), every_kind[order].tolist(), alike, updates, strict=True)
        return [self._message(*row, reports) for row in rows]

    def _message(self, sent: int, host: int, kind: int, alike: int, updates: str, reports: Sequence[Report]) -> Message:
        sent_ms, crashed_ms = sent + self._epoch_ms, None
        if kind == HEARTBEAT:
            what = f'"kind":"heartbeat","ts":{sent_ms}'
        elif kind == BOOT:
            what = f'"kind":"boot","ts":{sent_ms},"prior":"clean"'
        else:
            report = reports[kind - 2]
            crashed_ms = report.crashed_ms + self._epoch_ms
            what = _crash(sent_ms, crashed_ms, report.signature)
            crashed_ms = crashed_ms if report.signature is not None else None
        name = f"h-{host:07d}"
        serial, self._serial = self._serial, self._serial + 1
        text = f'{{"v":1,"id":"{self.id_prefix}{serial:x}",{what}{self._fleet}{name}"{self._alike[alike]}{updates}]}}'
        return Message(sent_ms, name.encode(), text.encode(), crashed_ms)


def _crash(sent_ms: int, crashed_ms: int, signature: Signature | None) -> str:
    if signature is None:
        return f'"kind":"boot","ts":{sent_ms},"prior":"crash","prior_ended_at":{crashed_ms}'
    look = f'{{"code":{_text(signature.code)},"module":{_text(signature.module)}}}'
    return f'"kind":"crash","ts":{crashed_ms},"signature":{look}'
