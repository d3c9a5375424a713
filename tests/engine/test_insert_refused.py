"""An INSERT that is refused after its rows were read is an error to the client: what is acknowledged is stored."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from support.clickhouse import LocalClickHouse

pytestmark = pytest.mark.system


def test_a_refused_insert_is_an_error_and_only_that_one(tmp_path: Path) -> None:
    """No room on the disk, a broken constraint: refused with the engine's words; others at the same time are not."""
    with LocalClickHouse(tmp_path) as line:
        client = line.client()
        client.command("CREATE TABLE small (n Int64, CONSTRAINT below_ten CHECK n < 10) ENGINE = MergeTree ORDER BY n")
        good, bad = pa.table({"n": [1, 2]}), pa.table({"n": [1, 99]})
        with pytest.raises(DatabaseError, match="below_ten"):
            client.insert_arrow("small", bad)

        def insert(number: int) -> bool:
            try:
                line.client().insert_arrow("small", bad if number % 2 else good)
            except DatabaseError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(insert, range(8))) == [True, False] * 4
        assert client.command("SELECT count() FROM small") == 8
        client.command(f"ALTER TABLE small MODIFY SETTING min_free_disk_bytes_to_perform_insert = {1 << 60}")
        with pytest.raises(DatabaseError, match="NOT_ENOUGH_SPACE"):
            client.insert_arrow("small", good)
        client.command("ALTER TABLE small MODIFY SETTING min_free_disk_bytes_to_perform_insert = 0")
        client.insert_arrow("small", good)
        assert client.command("SELECT count() FROM small") == 10
