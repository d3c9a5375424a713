"""What every check of `andon doctor` shares: the finding it makes, and how an address is tried."""

import socket
from typing import Literal

import msgspec

from pipeline.runtime.errors import ConfigError

Level = Literal["ok", "warning", "problem", "not checked", "not configured"]

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 4.0  # a hung server is given up, and said to hang, within ten seconds in all


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at: what came of it in plain words, and what to do about it."""

    check: str
    level: Level
    words: str
    advice: str = ""


def ok(check: str, words: str) -> Finding:
    """As it should be."""
    return Finding(check, "ok", words)


def warning(check: str, words: str, advice: str) -> Finding:
    """Works, but somebody should know."""
    return Finding(check, "warning", words, advice)


def problem(check: str, words: str, advice: str) -> Finding:
    """Andon cannot do its work like this."""
    return Finding(check, "problem", words, advice)


def unchecked(check: str, why: str) -> Finding:
    """Nobody can tell from here."""
    return Finding(check, "not checked", why)


def not_configured(check: str, advice: str) -> Finding:
    """Nothing to look at."""
    return Finding(check, "not configured", "not configured", advice)


def split_addresses(key: str, text: str) -> list[tuple[str, int]]:
    """Raises ConfigError unless `text` is host:port, comma-separated."""
    addresses = []
    for part in text.split(","):
        host, _, port = part.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError(f"{key} = {text!r}: {part.strip()!r} should be host:port")
        addresses.append((host.strip("[]"), int(port)))
    return addresses


def connect_trouble(host: str, port: int) -> str:
    """Why no connection can be made, in plain words; "" when one can."""
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS):
            return ""
    except OSError as error:
        return plain(error)


class Hung(OSError):
    """Somebody accepts connections and does not answer."""

    advice = "it hangs, or is overloaded or stopped: see its log and its machine, and start it again"

    def __init__(self) -> None:
        super().__init__(f"accepts connections and does not answer within {ANSWER_SECONDS:.0f} s")


def plain(error: OSError) -> str:
    """A network error as one would say it."""
    if isinstance(error, socket.gaierror):
        return "the host name is not known here"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:.0f} s: a firewall, or a machine that is off"
    return error.strerror or str(error)


def clock_finding(check: str, skew_seconds: float, tolerated_seconds: float, how: str) -> Finding:
    """`skew_seconds` is by how much the other clock is ahead of this one."""
    if abs(skew_seconds) <= tolerated_seconds:
        return ok(check, f"differs by {skew_seconds:+.1f} s from this machine's ({how})")
    words = f"is {abs(skew_seconds):.0f} s {'ahead of' if skew_seconds > 0 else 'behind'} this machine's ({how})"
    advice = (
        "set both by NTP (`timedatectl`, `chronyc tracking`): events over 10 minutes ahead of the broker are refused"
    )
    return problem(check, words, advice)
