"""`andon halts force | resume | extend | withdraw | approve`: an operator's order, signed here, and its answer."""

import functools
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import click

from consumers.rollout.params import Name, Span
from pipeline.halts.named import HaltName, whose
from pipeline.halts.reading import Known, read
from pipeline.halts.sending import SignedCommand, Signer, find_command, halt_of, send, signer
from pipeline.halts.where import OF_CLICKHOUSE, Where, options, where
from pipeline.halts.words import item, moment, span
from pipeline.runtime.clock import wall_clock_ms
from pipeline.runtime.errors import AndonError
from pipeline.runtime.say import say, say_json
from pipeline.wire.audit import AuditEntry
from pipeline.wire.commands import PROPOSALS, Command, CommandKind, command_digest
from pipeline.wire.record_keys import update_key

REFUSED, UNANSWERED = 5, 6  # exit codes
WIDTH = 79
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")

F = TypeVar("F", bound=Callable[..., Any])
EPILOG = (
    "Exit code 0: applied. 5: refused, and why is said. 6: no answer in time; the command stays on its topic, and "
    "holds for an hour. 1: it was not sent. 2: not understood, or the key is not an operator's."
)


def _asking(function: F) -> F:
    """The options of every command here."""

    @functools.wraps(function)
    def run(**given: Any) -> Any:
        settings = {name: given.pop(name) for name in ("kafka", "clickhouse", "trust", "data_dir")}
        place = where(**settings)
        own = signer(given.pop("key_file"), place.trusted)
        given["fleet"], update = whose(place, given["fleet"], given.get("update") or _named_in(given.get("what", "")))
        return function(place=place, own=own, **given | ({"update": update} if "update" in given else {}))

    file = click.Path(path_type=Path, dir_okay=False)
    wrapped: Any = click.option("--answer-within", type=Span(), default=30.0, help="How long to wait: 30s, 2m.")(run)
    wrapped = click.option("--key", "key_file", type=file, required=True, help="File of your private key.")(wrapped)
    wrapped = click.option("--fleet", type=Name(), help="Whose update; not needed where there is one.")(wrapped)
    done: F = options(OF_CLICKHOUSE)(wrapped)
    return done


def _named_in(what: str) -> tuple[str, ...]:
    """The update, unless it is the id of a proposal."""
    return HaltName().convert(what, None, None) if "/" in what else ()


def _rings(function: F) -> F:
    ring = click.option("--ring", "rings", multiple=True, type=Name(), help="Of this ring only; several may be named.")
    found: F = ring(function)
    return found


@click.command("force", epilog=EPILOG)
@click.argument("update", type=HaltName())
@_rings
@click.option("--reason", required=True, help="Why; people will read it.")
@_asking
def force(place: Where, own: Signer, update: tuple[str, str, str], fleet: str, **given: Any) -> None:
    """Halt an update now, by your signature alone."""
    about = _about(place, fleet, update, given.pop("rings") or ("*",))
    _order(place, own, "force", about | {"reason": given.pop("reason")}, **given)


@click.command("resume", epilog=EPILOG)
@click.argument("update", type=HaltName())
@_rings
@click.option("--reason", required=True, help="Why; people will read it.")
@click.option("--for", "span_seconds", type=Span(), required=True, help="How long it may go on: 4h, 2d.")
@_asking
def resume(place: Where, own: Signer, update: tuple[str, str, str], fleet: str, **given: Any) -> None:
    """Propose to lift a halt for a time. Another operator approves it within an hour."""
    about = _about(place, fleet, update, given.pop("rings"))
    _order(place, own, "resume", about | _until(given), **given)


@click.command("extend", epilog=EPILOG)
@click.argument("update", type=HaltName())
@click.option("--reason", required=True, help="Why; people will read it.")
@click.option("--for", "span_seconds", type=Span(), required=True, help="How long it may go on, from now: 4h, 2d.")
@_asking
def extend(place: Where, own: Signer, update: tuple[str, str, str], fleet: str, **given: Any) -> None:
    """Propose that a resume stands longer. Another operator approves it within an hour."""
    _order(place, own, "extend", _about(place, fleet, update, ()) | _until(given), **given)


@click.command("approve", epilog=EPILOG)
@click.argument("what", metavar="ID | [FLEET/]VENDOR/PRODUCT/VERSION")
@click.option("--yes", is_flag=True, help="Sign without asking.")
@_asking
def approve(place: Where, own: Signer, what: str, fleet: str, yes: bool, **given: Any) -> None:
    """Complete another operator's proposal (its ID), or release a halt that waits for a person (its update)."""
    if "/" in what:
        _, update = whose(place, fleet, _named_in(what))
        about = _about(place, fleet, update, ())
        _agree([*item("to halt", "/".join(update), WIDTH), *item("in fleet", fleet, WIDTH)], yes)
        _order(place, own, "approve", about, **given)
        return
    if not _ID.fullmatch(what):
        raise click.BadParameter(f"{what!r} is no proposal's ID, and no VENDOR/PRODUCT/VERSION")
    proposal = find_command(place.kafka, place.trusted, fleet, what)
    proposed = proposal.command
    if proposed.kind not in PROPOSALS:
        raise AndonError(f"{what} is a command to {proposed.kind}: it needs no approval")
    _agree(_proposed(proposed), yes)
    _order(place, own, "approve", _named(proposal), **given)


@click.command("withdraw", epilog=EPILOG)
@click.argument("id", metavar="ID")
@click.option("--reason", required=True, help="Why; people will read it.")
@_asking
def withdraw(place: Where, own: Signer, id: str, fleet: str, reason: str, **given: Any) -> None:
    """Take a proposal back, your own or another's: nobody can approve it any more. What is halted stays so."""
    proposal = find_command(place.kafka, place.trusted, fleet, id)
    if proposal.command.kind not in PROPOSALS:
        raise AndonError(f"{id} is a command to {proposal.command.kind}: only a proposal can be withdrawn")
    _order(place, own, "withdraw", _named(proposal) | {"reason": reason}, **given)


def _named(proposal: SignedCommand) -> dict[str, Any]:
    """What a command says of the proposal that it is about."""
    names = ("fleet", "vendor", "product", "version", "rings", "epoch")
    about = {name: getattr(proposal.command, name) for name in names}
    return about | {"approves": proposal.command.id, "digest": command_digest(proposal.raw)}


def _about(place: Where, fleet: str, update: tuple[str, str, str], rings: tuple[str, ...]) -> dict[str, Any]:
    """What every command says of the update, with the epoch that stands now."""
    names = dict(zip(("fleet", "vendor", "product", "version"), (fleet, *update), strict=True))
    key = update_key(fleet, *update)
    known = read(place.kafka, Known(place.trusted, key))
    doubt = known.record.doubt_of(fleet, key)
    halt = known.record.halts.get(key)
    if doubt:
        say(f"! its halt record is in doubt ({doubt}): what stands is put back first, at another epoch", err=True)
    standing = halt.rings if halt is not None else ("*",)
    return names | {"rings": tuple(rings) or standing, "epoch": halt.epoch if halt is not None else 0}


def _until(given: dict[str, Any]) -> dict[str, Any]:
    return {"reason": given.pop("reason"), "expires_at": wall_clock_ms() + round(given.pop("span_seconds") * 1000)}


def _proposed(proposed: Command) -> list[str]:
    now_ms = wall_clock_ms()
    update = "/".join((proposed.vendor, proposed.product, proposed.version))
    age, left = span((now_ms - proposed.at) / 1000), span(max(0, proposed.expires_at - now_ms) / 1000)
    return [
        *item("to " + proposed.kind, f"{update} in fleet {proposed.fleet}", WIDTH),
        *item("rings", ", ".join(proposed.rings), WIDTH),
        *item("until", f"{moment(proposed.expires_at)}, {left} from now", WIDTH),
        *item("lifts epoch", str(proposed.epoch), WIDTH),
        *item("because", proposed.reason, WIDTH),
        *item("proposed by", f"{proposed.operator}, {age} ago; the signature is good", WIDTH),
    ]


def _agree(shown: list[str], yes: bool) -> None:
    for line in shown:
        say(line, err=True)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("nobody is there to be asked: --yes signs what is shown above")
    if not yes and not click.confirm("sign this?", err=True):
        raise AndonError("not signed")


def _order(
    place: Where, own: Signer, kind: CommandKind, said: dict[str, Any], answer_within: float, as_json: bool
) -> None:
    """Sign, send, wait, say; ends with the exit code."""
    id = secrets.token_hex(6)
    words = Command(kind=kind, id=id, at=wall_clock_ms(), operator=own.name, **said)
    entry = send(place.kafka, place.trusted, own.key.sign_word(words), answer_within)
    if entry is None:
        say(f"andon: no answer to {id} within {answer_within:g} s: it holds for an hour, if a correlator reads it")
        raise click.exceptions.Exit(UNANSWERED)
    if as_json:
        say_json(entry)
    else:
        for line in _said(words, entry):
            say(line)
    raise click.exceptions.Exit(0 if entry.outcome == "applied" else REFUSED)


def _said(words: Command, entry: AuditEntry) -> list[str]:
    if entry.outcome == "refused":
        return list(item("refused", f"{entry.detail} ({entry.why})", WIDTH))
    place = f"from partial {entry.partials.offset} of partition {entry.partials.partition} on, entry {entry.seq}"
    lines = [*item("applied", entry.detail, WIDTH), *item("holds", f"{moment(entry.at)}, {place}", WIDTH)]
    if halt := halt_of(entry):
        lines += item(halt.action, f"{', '.join(halt.rings)}; epoch {halt.epoch}; by {halt.decided_by}", WIDTH)
    elif words.kind in PROPOSALS:
        about = f"{words.id} --fleet {quote(words.fleet)} --key FILE"
        lines += item("next", f"another operator: andon halts approve {about}", WIDTH)
        lines += item("", f"or take it back: andon halts withdraw {about} --reason '…'", WIDTH)
    return lines
