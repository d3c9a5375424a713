"""The page about operations: its sizes are the command's, and its list of steps for a new key works as it stands."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.correlate_world import LOG, World, live

from pipeline.halt.keys import command as keys_command
from pipeline.halt.safety import SafetyRecord
from pipeline.halt.signing import load_or_create, load_trusted
from pipeline.size.main import command as size_command
from pipeline.wire.seal import Seal

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
ENDPOINTS = 10_000, 1_000_000, 100_000_000


def part(name: str) -> str:
    """What stands between two marks of the page."""
    return PAGE.partition(f"<!-- {name}: begin -->\n")[2].partition(f"<!-- {name}: end -->")[0]


def test_the_sizes_are_those_of_the_command() -> None:
    """Row by row."""
    words = [word for each in ENDPOINTS for word in ("--endpoints", str(each))]
    assert part("sizes") == CliRunner().invoke(size_command, words).stdout


def steps() -> list[str]:
    """The lines of the list, without what they say."""
    return [line.partition("#")[0].strip() for line in part("rotation").splitlines()[1:-1]]


def test_the_steps_for_a_new_key(tmp_path: Path) -> None:
    """Typed one after the other while a correlator lives on: at no moment does a reader doubt what stands, and at the
    end nothing is left that the old key signed."""
    mine, trust, world = tmp_path / "keys", tmp_path / "trust", World(LOG)
    asyncio.run(live(world, mine))
    trust.mkdir(mode=0o700)
    old = load_or_create(mine).kid
    shutil.copy(mine / f"{old}.pub.pem", trust)
    standing = {halt.key for halt in world.halts()}
    for line in steps():
        _do(line.replace("DIR", str(mine)).replace("TRUST", str(trust)).replace("OLD", old), world, mine)
        reader = SafetyRecord(load_trusted(trust))
        for topic, name, value, _ in world.records:
            if topic == "fleet.halts":
                reader.take_halt(name, value)
        assert (reader.doubts(), reader.halts.keys()) == ([], standing), line
    assert {halt.key: halt.kid == old for halt in world.halts()} == dict.fromkeys(standing, False)
    assert len(load_trusted(trust)) == 2


def _do(line: str, world: World, keys: Path) -> None:
    if line.startswith("systemctl restart"):

        async def scene() -> None:
            process = await live(world, keys)
            await process.renew()

        asyncio.run(scene())
    elif line.startswith("cp "):
        _, pattern, place = line.split()
        for path in Path(pattern).parent.glob(Path(pattern).name):
            shutil.copy(path, place)
    else:
        program, command, *words = line.split()
        assert (program, command) == ("andon", "keys")
        done = CliRunner().invoke(keys_command, words)
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("step", range(3))
def test_the_steps_for_a_new_seal(step: int) -> None:
    """As the table has them: whoever has done a step believes whoever has not, and the other way round."""
    words = re.search(r"the new line \*\*below\*\* .* the new one \*\*first\*\* .* take the old one away", PAGE)
    assert words is not None
    old, new = "an old secret of more than 32 characters", "a new secret of more than 32 characters"
    files = [[old], [old, new], [new, old], [new]]
    before, after = Seal(files[step]), Seal(files[step + 1])
    raw = LOG[0]
    for writer, reader in ((before, after), (after, before)):
        reader.check(writer.sealed(raw))
