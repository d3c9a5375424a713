"""A token's share of the gateway, what it may send in the long run, and how fast a body must come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from pipeline.collect.body import Pace
from pipeline.collect.config import CollectConfig
from pipeline.collect.quotas import BURST_SECONDS, Quotas, within_quota
from pipeline.collect.refusals import Refusal
from pipeline.runtime.web.connections import Places, places
from pipeline.wire.deadletter import DeadLetter
from pipeline.wire.reasons import Reason


def quotas(**settings: float) -> Quotas:
    """With these settings."""
    return Quotas(CollectConfig(tokens_file="x", **settings))  # type: ignore[arg-type]


def letter(value: bytes = b"{") -> DeadLetter:
    """A refused line."""
    return DeadLetter(value, None, Reason.INVALID_JSON, "", "/v1/events", -1, -1, "collect")


def test_requests_of_a_token_are_its_share_of_what_others_leave() -> None:
    """Of 8 at once the first token gets 4, the next 2, the next 1; and each what it had when it is done."""
    shared = quotas(max_requests=8)
    with ExitStack() as stack:
        for token, share in (("a", 4), ("b", 2), ("c", 1)):
            account = shared.account(token, 0.0)
            for _ in range(share):
                stack.enter_context(shared.request(account))
            with pytest.raises(Refusal, match="429 token_quota"), shared.request(account):
                pass
    with shared.request(shared.account("c", 0.0)):
        pass


def test_lines_under_way_are_bounded_too() -> None:
    """Half of the buffer for one token, and half of the rest for the next."""
    shared = quotas(max_buffered_events=100)
    assert shared.max_lines == 50
    account = shared.account("a", 0.0)
    with shared.lines(account, 30, 0.0):
        with pytest.raises(Refusal, match="429 token_quota"), shared.lines(account, 21, 0.0):
            pass
        with shared.lines(shared.account("b", 0.0), 35, 0.0):
            pass


def test_lines_a_second_are_bounded_in_the_long_run() -> None:
    """A burst of ten seconds' worth; then the wait is said, and over when it is."""
    shared = quotas(sender_lines_per_second=100)
    account = shared.account("a", 0.0)
    for _ in range(2):
        with shared.lines(account, 600, 0.0):
            pass
    with pytest.raises(Refusal) as refused, shared.lines(account, 1, 0.0):
        pass
    assert (refused.value.code, refused.value.headers["Retry-After"]) == ("token_quota", "2")
    with shared.lines(account, 1, 2.1):
        pass


def test_dead_letters_are_kept_within_a_quota() -> None:
    """The first ones of a flood are kept, large ones count for more, and a second later there is room again."""
    account = quotas(sender_deadletters_per_second=2).account("a", 0.0)
    flood = [letter()] * 100
    assert len(within_quota(flood, account, 0.0)) == 2 * BURST_SECONDS
    assert within_quota(flood, account, 0.0) == []
    assert len(within_quota(flood, account, 1.0)) == 2
    assert len(within_quota([letter(b"x" * 512 * 1024)] * 2, account, 10.0)) == 1
    assert within_quota([], account, 11.0) == []


def test_an_account_of_a_revoked_token_is_forgotten() -> None:
    """What is held in memory is bounded by the tokens in force."""
    shared = quotas()
    kept, gone = shared.account("a", 0.0), shared.account("b", 0.0)
    shared.keep_only({"a"})
    assert (shared.account("a", 0.0), shared.account("b", 0.0) is gone) == (kept, False)


@pytest.mark.parametrize(("every_seconds", "arrives"), [(0.0, True), (0.2, False)])
def test_a_body_that_trickles_is_given_up(every_seconds: float, arrives: bool) -> None:
    """Each byte earns some time: who keeps the rate is heard to the end, who does not is cut off."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            await asyncio.sleep(every_seconds)
            yield b"x"

    async def receive() -> int:
        pace = Pace(60.0, 1000)
        pace.first_seconds = 0.5
        async with asyncio.timeout(pace.first_seconds) as deadline:
            return sum([len(chunk) async for chunk in pace.keep(chunks(), deadline)])

    if arrives:
        assert asyncio.run(receive()) == 20
    else:
        with pytest.raises(TimeoutError):
            asyncio.run(receive())


@pytest.mark.parametrize(
    ("wanted", "files", "found"),
    [
        (1000, 1160, Places(1000, 128)),
        (1000, 128, Places(64, 32)),
        (1000, 40, Places(-2, 10)),
        (5, 1024, Places(5, 128)),
    ],
)
def test_connections_fit_the_open_files(wanted: int, files: int, found: Places) -> None:
    """What else is open, and what is accepted in one go before anybody can refuse it, leaves so many places."""
    assert places(wanted, files) == found
