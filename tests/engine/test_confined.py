"""The engine's process reaches its own directory and nothing else of the machine: the kernel holds it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from support.clickhouse import LocalClickHouse

CHILD = """
import sys, threading
from pathlib import Path
from pipeline.local.clickhouse.confine import confine
if why := confine(Path(sys.argv[1])):
    print("SKIP", why)
    sys.exit()
def attempt(name, what):
    try:
        what()
    except OSError as error:
        print(name, error.errno)
    else:
        print(name, "ok")
def everything(who):
    import socket, subprocess
    attempt(who + " own", lambda: Path(sys.argv[1], "mine").write_text("x"))
    attempt(who + " read", lambda: Path(sys.argv[2]).read_text())
    attempt(who + " write", lambda: Path(sys.argv[2]).write_text("x"))
    link = Path(sys.argv[1], who)
    link.symlink_to(sys.argv[2])
    attempt(who + " link", link.read_text)
    attempt(who + " environ", lambda: Path("/proc/self/environ").read_bytes())
    attempt(who + " auxv", lambda: Path("/proc/self/auxv").read_bytes())  # without it one start in twenty crashed
    attempt(who + " run", lambda: subprocess.run(["/bin/true"], check=True))
    attempt(who + " connect", lambda: socket.create_connection(("127.0.0.1", int(sys.argv[3]))))
everything("main")
thread = threading.Thread(target=everything, args=("thread",))
thread.start()
thread.join()
import wave  # a module that was not loaded yet
print("import ok")
"""


def confined(tmp_path: Path, port: int) -> dict[str, str]:
    """What a confined process got, by what it tried: "ok" or the error's number."""
    own, secret = tmp_path / "own", tmp_path / "secret"
    own.mkdir()
    secret.write_text("secret")
    argv = [sys.executable, "-c", CHILD, str(own), str(secret), str(port)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    if done.stdout.startswith("SKIP"):
        pytest.skip(done.stdout)
    assert secret.read_text() == "secret"
    return {name: outcome for name, _, outcome in (line.rpartition(" ") for line in done.stdout.splitlines())}


@pytest.mark.service
def test_a_confined_process_reaches_its_directory_only(tmp_path: Path) -> None:
    """Its own files and modules work; others' files, by a link too, programs and its own environment do not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = confined(tmp_path, server.getsockname()[1])
    for who in ("main", "thread"):
        assert (found[f"{who} own"], found[f"{who} auxv"]) == ("ok", "ok")
        connect = found.pop(f"{who} connect")
        assert connect in ("13", "ok"), "no connections out from Linux 6.7 on"
        for name in ("read", "write", "link", "environ", "run"):
            assert found[f"{who} {name}"] == "13", name
    assert found["import"] == "ok"


def test_not_even_the_owner_reads_files(own_clickhouse: LocalClickHouse, tmp_path: Path) -> None:
    """Whatever a statement says: passwords, keys and the process's environment are out of the engine's reach."""
    secret = tmp_path / "secret"
    secret.write_text("very secret")
    if "does not keep the engine" in (tmp_path / "clickhouse.log").read_text("utf-8"):
        pytest.skip("this kernel has no Landlock")
    process = own_clickhouse.stage.pid
    for path in (secret, "/etc/passwd", "/proc/self/environ", f"/proc/{process}/environ", f"/proc/{process}/mem"):
        for sql in (f"SELECT file('{path}')", f"SELECT 1 FORMAT Template SETTINGS format_template_row = '{path}'"):
            with pytest.raises(DatabaseError) as refused:
                own_clickhouse.client().raw_query(sql)
            assert refused.value.code == 76, sql
            assert "Permission denied" in str(refused.value)
