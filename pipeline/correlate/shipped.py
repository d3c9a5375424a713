"""The detectors that ship: those of pipeline/decide, under policies from a file."""

from pathlib import Path
from typing import NamedTuple

from pipeline.decide.detector import Detector
from pipeline.decide.policy import PolicyError, PolicySet, load_policies
from pipeline.runtime.errors import ConfigError


class ShippedDetectors(NamedTuple):
    """Makes detectors that share a policy set."""

    policies: PolicySet

    @classmethod
    def from_file(cls, policy_file: str) -> "ShippedDetectors":
        """Policies of a TOML file, or the built-in ones when its name is "". Raises ConfigError."""
        if not policy_file:
            return cls(PolicySet())
        try:
            return cls(load_policies(Path(policy_file).read_text("utf-8")))
        except (OSError, UnicodeDecodeError, PolicyError) as error:
            raise ConfigError(f"correlate.policy_file = {policy_file!r}: {error}") from None

    def new(self, fleet: str) -> Detector:
        """One that has seen nothing."""
        return Detector(fleet, self.policies)

    def restore(self, fleet: str, raw: bytes) -> Detector:
        """The one whose snapshot this is. Raises ValueError when this code cannot read it."""
        return Detector.restore(raw, self.policies)
