"""Two processes of one slot: who is thrown out says it in our words, also when nobody can be asked."""

import pytest

from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.reading import slots

NOWHERE = KafkaConfig(bootstrap_servers="127.0.0.1:1")


def test_a_slot_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do, and Kafka's own words at the end; that nobody answers is said."""
    monkeypatch.setattr(slots, "ASK_SECONDS", 0.2)
    fenced = (
        "consumer: KafkaError{code=_FATAL,val=-150,str=Fatal error: Broker: Static consumer fenced by other consumer}"
    )
    with pytest.raises(FatalStageError) as told, slots.one_process(NOWHERE, "andon-combine", 3):
        raise FatalStageError(fenced)
    said = str(told.value)
    assert said.startswith("slot 3 is taken: another process is member andon-combine-3 of group andon-combine (which")
    assert "stop one of them, or give it another --slot" in said
    assert said.endswith(f"({fenced})")
    assert told.value.exit_code == 70


@pytest.mark.parametrize("words", ["transaction could not be aborted", "FENCED_LEADER_EPOCH"])
def test_other_ends_are_left_as_they_are(words: str) -> None:
    """Nobody is asked."""
    with pytest.raises(FatalStageError, match=words) as told, slots.one_process(NOWHERE, "andon-combine", "0"):
        raise FatalStageError(words)
    assert told.value.__cause__ is None
