"""A correlator, but for what is there only once its stage runs."""

from collections.abc import Callable
from functools import partial

from pipeline.correlate import records
from pipeline.correlate.correlator import Correlator
from pipeline.correlate.detectors import Detectors
from pipeline.correlate.fleets import Fleets
from pipeline.wire.seal import Seal


def beginning(detectors: Detectors, seal: Seal | None) -> Callable[..., Correlator]:
    """What makes a correlator with these detectors once its issuer, ports, clock and log are there; with a seal it
    believes no partial without it."""
    return partial(Correlator, Fleets(detectors), partials=records.PartialReader(seal))
