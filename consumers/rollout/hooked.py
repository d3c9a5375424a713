"""The handler of `andon hook exec`: a command run for an order, its exit code read as the answer."""

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from consumers.rollout.duties import Status
from consumers.rollout.handlers import Done
from consumers.rollout.hook_process import Ran, run
from consumers.rollout.orders import Order
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.logging import printable
from pipeline.runtime.metrics import HOOK_RUNS, from_zero
from pipeline.runtime.secrets import is_secret

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

# Far from what shells, ssh, curl and languages end with by themselves.
EXIT_CODES: Mapping[int, Status] = {0: "confirmed", 113: "requested", 114: "effective", 115: "ignored"}
DETAIL_CHARS = 500  # of the output's end in the acknowledgement
LOGGED_CHARS = 4_000
VARIABLES = ("action", "fleet", "vendor", "product", "version", "epoch", "key", "doubt")


def check_command(name: str) -> None:
    """Raises ConfigError when there is no such command: better now than at a halt."""
    if shutil.which(name) is None:
        where = "it is not there, or not executable" if os.sep in name else "none of that name is on PATH"
        raise ConfigError(f"andon hook exec -- {printable(name)}: cannot be started: {where}")


class HookFailed(Exception):
    """The command did not do it; it is run again."""


class HookTimedOut(HookFailed, TimeoutError):
    """Nor did it end in time; it is run again much later."""


class Hook:
    """The handler: runs the command, and reads its exit code. Safe to call from several threads."""

    def __init__(self, argv: Sequence[str], seconds: float, log: "FilteringBoundLogger") -> None:
        self._argv, self._seconds, self._log = argv, seconds, log
        from_zero(HOOK_RUNS, {"failed", *EXIT_CODES.values()})

    def __call__(self, order: Order) -> Done:
        """Run it for this order.

        Raises:
            HookFailed: when it cannot be started, does not end in time, or ends with a code that says so.
        """
        try:
            ran = run(self._argv, msgspec.json.encode(order) + b"\n", environment(order, os.environ), self._seconds)
        except OSError as error:
            HOOK_RUNS.labels("failed").inc()
            raise HookFailed(f"{self._argv[0]}: cannot be started: {error.strerror}") from None
        status = EXIT_CODES.get(-1 if ran.code is None else ran.code)
        HOOK_RUNS.labels(status or "failed").inc()
        said = printable(ran.output.decode("utf-8", "backslashreplace").strip())
        self._log.info(
            "ran", action=order.action, key=order.key, epoch=order.epoch, code=ran.code, seconds=round(ran.seconds, 3),
            status=status or "failed", output=said[-LOGGED_CHARS:],
        )  # fmt: skip
        if status is None:
            raise (HookTimedOut if ran.code is None else HookFailed)(_why(ran, self._seconds, said[-DETAIL_CHARS:]))
        return Done(status, said[-DETAIL_CHARS:])


def _why(ran: Ran, seconds: float, said: str) -> str:
    if ran.code is None:
        what = f"killed after {seconds:g} s"
    else:
        what = f"ended by signal {-ran.code}" if ran.code < 0 else f"exit code {ran.code}"
    return f"{what}: {said}" if said else what


def environment(order: Order, environ: Mapping[str, str]) -> dict[str, str]:
    """Of the command: what this process has but for our secrets, and the order as HALT_…, in printable text.

    Not ANDON_…, for `andon` itself refuses such variables as it does not know, and the command may call it.
    """
    kept = {
        name: value for name, value in environ.items() if not (name.startswith("ANDON_") and is_secret(name.lower()))
    }
    given = {f"HALT_{name.upper()}": printable(str(getattr(order, name))) for name in VARIABLES}
    rings = ",".join(map(printable, order.rings)), ",".join(map(printable, order.except_rings))
    return kept | given | {"HALT_RINGS": rings[0], "HALT_EXCEPT_RINGS": rings[1]}
