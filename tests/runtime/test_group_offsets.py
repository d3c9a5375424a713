"""Offsets of a group: what a refusal of the moment may not spoil."""

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.runtime.errors import FatalStageError
from pipeline.runtime.group_offsets import commit_first, committed


class Refused(Consumer):
    """A member whose group is rebalancing for so many commits."""

    def __init__(self, refusals: int) -> None:
        super().__init__({"group.id": "none"})
        self.refusals = refusals
        self.committed_offsets: list[int] = []

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        """Of any log."""
        return (5, 120)

    def commit(self, *_: object, offsets: list[TopicPartition], **__: object) -> list[TopicPartition]:
        """As the brokers see it."""
        self.refusals -= 1
        if self.refusals >= 0:
            raise KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
        self.committed_offsets = [of.offset for of in offsets]
        return offsets


def test_the_start_of_a_new_log_is_committed_though_the_group_rebalances() -> None:
    """A successor without it would read on in the new log where it was in the old one."""
    member = Refused(3)
    commit_first(member, [TopicPartition("t", 0)], 5.0)
    assert member.committed_offsets == [5]
    member.close()


def test_a_refusal_that_lasts_ends_the_process() -> None:
    """In bounded time."""
    member = Refused(1_000)
    with pytest.raises(FatalStageError, match="cannot be set back"):
        commit_first(member, [TopicPartition("t", 0)], 0.3)
    member.close()


class Forgetful(Consumer):
    """Of a group whose old coordinator is cut off: so often it answers as if nothing had been committed since."""

    def __init__(self, old_answers: int) -> None:
        super().__init__({"group.id": "none"})
        self.old_answers = old_answers

    def committed(self, partitions: list[TopicPartition], *_: object, **__: object) -> list[TopicPartition]:
        """What it knows."""
        self.old_answers -= 1
        return [TopicPartition(of.topic, of.partition, 70 if self.old_answers >= 0 else 100) for of in partitions]


def test_an_answer_from_before_what_was_committed_here_is_asked_for_again() -> None:
    """To read on from there would count twice what this process has counted."""
    member = Forgetful(2)
    assert [of.offset for of in committed(member, [TopicPartition("t", 0)], 5.0, {("t", 0): 100})] == [100]
    assert [of.offset for of in committed(Forgetful(1), [TopicPartition("t", 0)], 5.0, {("t", 1): 100})] == [70]


def test_an_old_coordinator_is_not_believed_in_the_end() -> None:
    """The words name the partition and both offsets."""
    with pytest.raises(KafkaException, match=r"t\[0\]: 70 instead of 100"):
        committed(Forgetful(1_000), [TopicPartition("t", 0)], 0.3, {("t", 0): 100})
