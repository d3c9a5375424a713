"""The demo with two acts, kept: a replayed incident on a whole line, for tests of what is left of it."""

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.local.machine.process import andon
from support.waiting import DEADLINE_SECONDS, until

SCENARIO = Path(__file__).parents[3] / "pipeline" / "simulate" / "scenarios" / "crowdstrike-2024-07-19.toml"
FAULT = "[updates.fault]"


def scenario_text() -> str:
    """July 2024 without its second act."""
    text = SCENARIO.read_text("utf-8")
    return text.replace('with_rings = "crowdstrike-2024-07-19-rings"', "")


def swapped() -> str:
    """With guilt and look of another update."""
    text = scenario_text().replace("csagent.sys", "nettap64.sys").replace('"0x50"', '"0x3b"')
    place = text.rindex('vendor = "crowdstrike"')
    fault = text[place:].replace('vendor = "crowdstrike"', 'vendor = "fabrikam"').replace('"291"', '"8.0.2"')
    return text[:place] + fault.replace('"falcon-content"', '"net-tap"')


def innocent() -> str:
    """The same night without the fault, in a fleet of its own."""
    text = scenario_text().replace('name = "acme"', 'name = "unharmed"')
    return text[: text.index(FAULT)] + text[text.index("# Azure Central US") :]


class Played(NamedTuple):
    """Two acts on a line that is still up."""

    accounts: list[dict[str, Any]]
    told: str
    environ: dict[str, str]  # for other commands
    data_dir: Path

    @property
    def info(self) -> dict[str, Any]:
        """Where everything is: stack.json."""
        found: dict[str, Any] = json.loads((self.data_dir / "stack.json").read_text())
        return found


@contextmanager
def demo_in(folder: Path, program: Sequence[str] = tuple(andon())) -> Iterator[Played]:
    """The demo with two acts, until the block ends; its exit code is 0 then. `program` is the `andon` that plays it."""
    first, second, told = folder / "swapped.toml", folder / "innocent.toml", folder / "told"
    second.write_text(innocent(), "utf-8")
    first.write_text(f"with_rings = {json.dumps(str(second))}\n" + swapped(), "utf-8")
    words = ["demo", "--scenario", str(first), "--seed", "77", "--hosts", "6000", "--quick", "--json", "--keep"]
    with told.open("w") as stderr:
        demo = subprocess.Popen(
            [*program, *words, "--data-dir", str(folder / "data")],
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
        )
    assert demo.stdout is not None
    with demo.stdout as accounts:
        try:
            until(
                "both acts are played", lambda: "The line stays up" in told.read_text() or demo.poll() is not None, 380
            )
            assert demo.poll() is None, told.read_text()
            exports = re.findall("^export (ANDON_[A-Z_]+)=(.*)$", (folder / "data" / "env").read_text(), re.MULTILINE)
            environ = os.environ | {name: shlex.split(value)[0] for name, value in exports}
            yield Played(
                [json.loads(accounts.readline()) for _ in range(2)], told.read_text(), environ, folder / "data"
            )
        finally:
            demo.send_signal(signal.SIGINT)
            assert demo.wait(DEADLINE_SECONDS) == 0, told.read_text()
