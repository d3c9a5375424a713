"""A correlator, but for what is there only once its stage runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from pipeline.correlate import records
from pipeline.correlate.config import CorrelateConfig, working_dir
from pipeline.correlate.correlator import Correlator
from pipeline.correlate.detectors import Detectors
from pipeline.correlate.fleets import Fleets
from pipeline.halt.issuer import HaltIssuer
from pipeline.halt.trust import own_and_trusted
from pipeline.runtime.errors import writable
from pipeline.wire.seal import Seal

Begin = Callable[..., Correlator]  # of issuer, ports, clock and log


def beginning(detectors: Detectors, seal: Seal | None) -> Begin:
    """What makes a correlator with these detectors once its issuer, ports, clock and log are there; with a seal it
    believes no partial without it."""
    return partial(Correlator, Fleets(detectors), partials=records.PartialReader(seal))


def issuer_of(config: CorrelateConfig, log: FilteringBoundLogger) -> HaltIssuer:
    """Who signs, with the keys of the stage's directory, which is made.

    Raises:
        ConfigError: when it cannot be written to.
    """
    with writable("correlate.data_dir", place := Path(config.data_dir)):
        issuer = HaltIssuer(*own_and_trusted(place / "keys", log.error), config.halt_lifetime_seconds * 1000)
        working_dir(config).mkdir(parents=True, exist_ok=True)
    return issuer
