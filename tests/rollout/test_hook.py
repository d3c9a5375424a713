"""A hook's command: what it is given, how its end is read, and that nothing of it stays behind."""

import json
import os
import sys
from pathlib import Path

import msgspec
import pytest
import structlog
from support.rollout_world import NOW, gate_of, halt

from consumers.rollout.hooked import Hook, HookFailed, HookTimedOut, check_command, environment
from consumers.rollout.orders import Order, Orders
from consumers.rollout.settings import SubscriberConfig
from pipeline.halt import keyring
from pipeline.halt.signing import load_trusted
from pipeline.runtime.errors import ConfigError

pytestmark = pytest.mark.service


def order(**other: object) -> Order:
    """What a halt asks for."""
    ((found,),) = Orders(gate_of(halt(**other)).record, ["acme"]).changes(NOW).values()  # type: ignore[arg-type]
    return found


def hook(code: str, seconds: float = 30.0) -> Hook:
    """One that runs a program of Python."""
    return Hook([sys.executable, "-c", code], seconds, structlog.get_logger())


@pytest.mark.parametrize(
    ("code", "status"), [(0, "confirmed"), (113, "requested"), (114, "effective"), (115, "ignored")]
)
def test_exit_codes_are_answers(code: int, status: str) -> None:
    """And what it prints is kept, made harmless."""
    done = hook(f"import sys; print('a\\x1b[2J'); sys.exit({code})")(order())
    assert (done.status, done.detail) == (status, r"a\x1b[2J")


def test_any_other_end_is_none() -> None:
    """A code, a signal, and no such program."""
    with pytest.raises(HookFailed, match="exit code 1"):
        hook("raise SystemExit(1)")(order())
    with pytest.raises(HookFailed, match="signal 9"):
        hook("import os; os.kill(os.getpid(), 9)")(order())
    with pytest.raises(HookFailed, match="cannot be started"):
        Hook(["/nowhere"], 1.0, structlog.get_logger())(order())


def test_it_is_killed_in_time_with_all_that_it_began() -> None:
    """However it clings to life."""
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(900)"
    )
    with pytest.raises(HookTimedOut, match="killed after 1 s: on"):
        hook(code, 1.0)(order())


def test_it_gets_the_order_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON as it is, printable text in the environment."""
    monkeypatch.setenv("ANDON_KAFKA_SASL_PASSWORD", "x")
    hostile = order(version="1\n$(reboot)\x00")
    assert "ANDON_KAFKA_SASL_PASSWORD" not in environment(hostile, os.environ)
    assert environment(hostile, {})["HALT_VERSION"] == r"1\n$(reboot)\x00"
    code = "import json, sys, os; print(json.load(sys.stdin)['version'].encode().hex(), os.environ['HALT_RINGS'])"
    assert hook(code)(hostile).detail == f"{hostile.version.encode().hex()} *"
    assert json.loads(json.dumps(hostile.version)) == hostile.version


@pytest.mark.parametrize("name", ["./nosuch.sh", "no-such-command", "./plain"])
def test_a_command_that_is_not_there_is_refused_at_the_start(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the first halt: by a path, by a name, and one that may not be executed; one that is there is taken."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").touch(mode=0o600)
    with pytest.raises(ConfigError, match="cannot be started"):
        check_command(name)
    check_command("sh")


def test_a_name_and_a_key_that_disagree_are_refused_at_the_start(tmp_path: Path) -> None:
    """By the public half beside the private one, or by the one that is trusted: nobody would believe a word."""
    made = keyring.make("subscriber", "hooky", tmp_path / "keys")
    trusted = load_trusted(tmp_path / "keys")
    config = SubscriberConfig(name="other", key_file=str(made.private), fleets="acme")
    with pytest.raises(ConfigError, match="is the key of subscriber hooky"):
        config.subscriber()
    made.public.unlink()
    with pytest.raises(ConfigError, match="is the key of subscriber hooky"):
        config.subscriber(trusted)
    assert msgspec.structs.replace(config, name="hooky").subscriber(trusted).name == "hooky"
