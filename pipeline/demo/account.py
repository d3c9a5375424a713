"""The account of one act: figures from the halt topic, the verdicts and the simulator's ledger, and their words."""

import textwrap
from datetime import UTC, datetime

import msgspec

from pipeline.demo.watch import Seen, Watch
from pipeline.halt.merit import seconds_to_last_install
from pipeline.runtime.logging import printable
from pipeline.simulate.run import Run
from pipeline.simulate.scenario import unix_ms
from pipeline.simulate.simulation import without_halts
from pipeline.wire.partials import UpdateId
from pipeline.wire.verdicts import power_of_ten

NAME_COLUMNS = 37  # what most names need
COLUMNS = 74  # of the words, so that a box around them fits a terminal of 80
FIGURES_COLUMNS = 35  # behind a name: hosts, evidence, and whether it was halted


class HaltFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How an update was halted. Event times in unix ms of the scenario's own calendar."""

    rings: tuple[str, ...]
    kid: str
    reason: str
    signature: tuple[str, str]
    log10_evidence: float
    crashed_hosts: int  # that the detector knew of
    decided_at: int  # when the crash that decided happened, which its host reported once it was up again
    stopped_at: int  # when the rollout obeyed
    event_seconds: float  # from the release to the stop
    wall_seconds: float  # from producing the report of the deciding crash to reading the halt
    down_hosts: int  # by the ledger, when the rollout stopped
    subscriber: str  # who acknowledged it first; "": nobody
    status: str  # and what they said last
    seconds_to_confirmed: float | None  # wall time, from the decision; None: not confirmed
    seconds_to_last_install: float | None  # event time, from the crash that decided, as far as reported; None: unknown


class UpdateFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One update's part in the act. Hosts are counted by the ledger, up to the moment of the account."""

    name: str
    guilty: bool
    reached: int
    lost: int
    lost_without_halt: int
    log10_evidence: float | None  # the highest ever published
    halt: HaltFigures | None

    @property
    def spared(self) -> int:
        """Hosts that the same rollout would have taken down."""
        return self.lost_without_halt - self.lost


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One act. `failures` says what should not have happened; none is what a demo is for."""

    scenario: str
    title: str
    fleet: str
    hosts: int
    seed: int
    events: int
    account_at: int
    wall_seconds: float
    updates: tuple[UpdateFigures, ...]
    failures: tuple[str, ...]


def settle(run: Run, watch: Watch, seed: int, wall_seconds: float) -> Account:
    """Draw up the account of a finished run."""
    simulation = run.simulation
    scenario = simulation.scenario
    account_at = unix_ms(scenario.account_at)
    without = without_halts(scenario, seed, account_at)
    until = account_at - unix_ms(scenario.starts)
    halted = watch.halted(scenario.fleet.name)
    updates = tuple(
        UpdateFigures(
            name="/".join(update),
            guilty=update in scenario.guilty,
            reached=simulation.reached(update),
            lost=simulation.ledger.lost(update, until),
            lost_without_halt=without.lost(update),
            log10_evidence=watch.evidence(scenario.fleet.name, update),
            halt=_halt(run, watch, halted[update]) if update in halted else None,
        )
        for update in simulation.ledger.updates
    )
    return Account(
        scenario=scenario.name,
        title=scenario.title,
        fleet=scenario.fleet.name,
        hosts=scenario.fleet.hosts,
        seed=seed,
        events=run.sent,
        account_at=account_at,
        wall_seconds=round(wall_seconds, 1),
        updates=updates,
        failures=tuple(_failures(updates, halted, watch.refused)),
    )


def _halt(run: Run, watch: Watch, seen: Seen) -> HaltFigures:
    halt, simulation = seen.halt, run.simulation
    evidence = halt.evidence
    if evidence is None:
        raise ValueError(f"the halt of {halt.key} carries no evidence")
    shift = simulation.epoch_ms - unix_ms(simulation.scenario.starts)
    release = next(unix_ms(r.release) for r in simulation.scenario.updates if r.update == seen.update)
    stopped = next((o.at_ms for o in run.obeyed if o.order.key == halt.key), simulation.now_ms)
    by = next(iter(watch.obeyed(seen)), None)
    return HaltFigures(
        rings=halt.rings,
        kid=halt.kid,
        reason=halt.reason,
        signature=(evidence.explanation.code, evidence.explanation.module),
        log10_evidence=evidence.log10_evidence,
        crashed_hosts=evidence.crashed_hosts,
        decided_at=evidence.stream_time - shift,
        stopped_at=stopped - shift,
        event_seconds=(stopped - shift - release) / 1000,
        wall_seconds=(seen.received_ms - run.sent_at(evidence.stream_time)) / 1000,
        down_hosts=simulation.ledger.lost(seen.update, stopped - simulation.epoch_ms),
        subscriber=by.subscriber if by is not None else "",
        status=by.status if by is not None else "",
        seconds_to_confirmed=by.seconds_to_confirmed if by is not None else None,
        seconds_to_last_install=seconds_to_last_install(halt, watch.last_install(halt.fleet, seen.update)),
    )


def _failures(updates: tuple[UpdateFigures, ...], halted: dict[UpdateId, Seen], refused: list[str]) -> list[str]:
    found = [f"{u.name} is guilty and was not halted" for u in updates if u.guilty and u.halt is None]
    found += [f"{u.name} is innocent and was halted" for u in updates if not u.guilty and u.halt is not None]
    known = {update.name for update in updates}
    found += [f"{'/'.join(u)} is not of this scenario and was halted" for u in halted if "/".join(u) not in known]
    return found + refused


def clock(moment_ms: int) -> str:
    """Time of day, UTC."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%H:%M:%S")


def span(seconds: float) -> str:
    """A duration for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def counted(number: int, noun: str, width: int = 0) -> str:
    """A number, right-aligned in `width`, with its noun."""
    ending = "" if number == 1 else "es" if noun.endswith("sh") else "s"
    return f"{number:>{width},} {noun}{ending}"


def power(log10: float | None) -> str:
    """Evidence for people."""
    return "none" if log10 is None else power_of_ten(log10)


def lines(account: Account, columns: int = COLUMNS) -> list[str]:
    """The account in plain words, each line of at most so many columns; the first is its title, whole if it fits."""
    title, *words = _lines(account, columns)
    whole = [title] if len(title) <= columns else [printable(account.scenario), *textwrap.wrap(title, columns)]
    return [*whole, *(line for each in words for line in fitted(each, columns))]


def fitted(line: str, columns: int) -> list[str]:
    """Folded between words, further in than it begins."""
    if len(line) <= columns:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(
        line.lstrip(), columns, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    )


def _lines(account: Account, columns: int) -> list[str]:
    by = clock(account.account_at)[:5]
    words = [
        printable(account.title),
        f"{counted(account.hosts, 'host')}, {counted(account.events, 'event')}, seed {account.seed}",
        "",
    ]
    guilty = [update for update in account.updates if update.guilty]
    for update in guilty:
        words += [*_guilty_lines(update, by), ""]
    if not guilty:
        halted = any(update.halt for update in account.updates)
        words += [
            "No update is at fault." if halted else "No update is at fault: nothing to halt, and nothing was.",
            "",
        ]
    innocent = [update for update in account.updates if not update.guilty]
    words += _innocent_lines("Untouched" if guilty else "Watched", innocent, columns) if innocent else []
    return words + [f"FAILED: {failure}" for failure in account.failures]


def _guilty_lines(update: UpdateFigures, by: str) -> list[str]:
    name, halt = printable(update.name), update.halt
    if halt is None:
        return [f"{name} was NOT halted;", f"  down at {by} UTC: {counted(update.lost, 'host')}"]
    code, module = (printable(text) or "?" for text in halt.signature)
    look = f"; {code} / {module} weighed most" if any(halt.signature) else ""
    return [
        f"{name} halted at {clock(halt.stopped_at)} UTC,",
        f"  {span(halt.event_seconds)} after its release, with {counted(halt.down_hosts, 'host')} down by then,",
        f"  once {counted(halt.crashed_hosts, 'crashed host')} had reported{look}",
        f"  evidence {power(halt.log10_evidence)}; the crash that decided happened at {clock(halt.decided_at)}",
        f"  {halt.wall_seconds * 1000:,.0f} ms of wall time from producing its report to reading the halt",
        *_obeyed_lines(halt),
        "",
        f"  lost by {by} UTC without the halt  {counted(update.lost_without_halt, 'host', 10)}",
        f"  lost with it                        {counted(update.lost, 'host', 10)}",
        f"  spared                              {counted(update.spared, 'host', 10)}",
    ]


def _obeyed_lines(halt: HaltFigures) -> list[str]:
    """Who says that it is obeyed, and how long the update went on: times of ours, and of the story."""
    seconds, last = halt.seconds_to_confirmed, halt.seconds_to_last_install
    took = "" if seconds is None else f", {seconds * 1000:,.0f} ms after the decision"
    words = f"{printable(halt.status)} by {printable(halt.subscriber)}{took}" if halt.subscriber else "not acknowledged"
    if last is None:
        return [f"  {words}", "  last reported installation: unknown"]
    when = f"{span(last)} after the crash that decided" if last >= 0 else "before the crash that decided"
    return [f"  {words}", f"  last reported installation {when}"]


def _innocent_lines(title: str, updates: list[UpdateFigures], columns: int) -> list[str]:
    """Aligned; a name that is too long for that stands on a line of its own, before its figures."""
    longest = max(len(printable(update.name)) for update in updates)
    width = max(NAME_COLUMNS, min(longest, columns - FIGURES_COLUMNS))
    words = [f"{title:<{width}}  {'reached':>15}  evidence"]
    for update in updates:
        name = printable(update.name)
        figures = f"{counted(update.reached, 'host', 8):<14}  {power(update.log10_evidence):>8}"
        words += [f"  {name}"] if len(name) > width else []
        words.append(f"  {name if len(name) <= width else '':<{width}} {figures}" + ("  HALTED" if update.halt else ""))
    return words
