"""Whether settings mean the line of this machine: then `andon status` has its stages, and `andon doctor` its rest."""

from pathlib import Path

import pytest

from pipeline.local import stack
from pipeline.local.stack import StackInfo
from pipeline.runtime.kafka import KafkaConfig

LINE = StackInfo(supervisor_pid=1, started_at=0, data_dir="", fleet="a", bootstrap_servers="127.0.0.1:1", stages={})


@pytest.mark.parametrize(
    ("settings", "named", "is_meant"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"bootstrap_servers": "127.0.0.1:1"}, False, True),
        ({"bootstrap_servers": " LOCALHOST:1 "}, True, True),
        ({"bootstrap_servers": "[::1]:1"}, False, True),
        ({"bootstrap_servers": "127.0.0.1:11"}, False, False),
        ({"bootstrap_servers": "127.0.0.1:1,kafka.example:1"}, False, False),
        ({"bootstrap_servers": "127.0.0.1:1", "topic_prefix": "x."}, False, False),
        ({"bootstrap_servers": "127.0.0.1:1", "sasl_username": "x"}, False, False),
    ],
)
def test_the_address_of_the_line_means_it(
    settings: dict[str, str], named: bool, is_meant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever words; not with settings that its broker does not have."""
    monkeypatch.setattr(stack, "running", lambda _: LINE)
    assert stack.meant(Path("nowhere"), KafkaConfig(**settings), named) == is_meant
