"""Tokens that are added or revoked while the gateway runs."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from pipeline.collect.tokens import TokenTable
from pipeline.runtime.metrics import TOKENS_UNUSABLE
from pipeline.runtime.seldom import Seldom

TOKENS_EVERY_SECONDS = 2.0  # a revoked token is refused this soon
COMPLAIN_EVERY_SECONDS = 60.0  # about a tokens file that is not usable


async def keep_fresh(
    tokens: TokenTable, on_change: Callable[[], None], look: asyncio.Event, log: FilteringBoundLogger
) -> None:
    """Take over changes of the tokens file for as long as the task lives; at once when `look` is set, by SIGHUP."""
    seldom = Seldom(COMPLAIN_EVERY_SECONDS)
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(look.wait(), TOKENS_EVERY_SECONDS)
        asked = look.is_set()
        look.clear()
        if tokens.refresh(even_unchanged=asked):
            on_change()
            log.info("tokens read again", fleets=len(tokens))
        TOKENS_UNUSABLE.set(bool(tokens.trouble))
        if tokens.trouble and (more := seldom.turn(tokens.trouble)) is not None:
            text = "the tokens file is not usable; the tokens read before stay in force"
            log.error(text, error=tokens.trouble, **more)
