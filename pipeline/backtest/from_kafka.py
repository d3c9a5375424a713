"""A backtest of the partials that Kafka keeps, with what people decided between them, compared with the halts that went
out."""

from pathlib import Path

from pipeline.backtest.follow import follow
from pipeline.backtest.judging import Judging
from pipeline.backtest.policies import read_policies
from pipeline.backtest.recorded import Recorded, halts_then
from pipeline.backtest.replayed import Recording
from pipeline.backtest.report import show_differences
from pipeline.backtest.stored import differences
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.logging import configure
from pipeline.runtime.partials import PartialsConfig, seal_of


def of_kafka(
    policy: Path | None, kafka: KafkaConfig, trust: TrustConfig, partials: PartialsConfig, as_json: bool
) -> None:
    """From the first partial that is there to the last.

    Raises:
        AndonError: when Kafka cannot be asked.
        ConfigError: when nothing of the audit could be believed, or the policy cannot be read.
    """
    policies = read_policies(policy)
    keys = trust.keys()
    if keys is None:
        what = "--trusted-keys-dir names the directory with the correlator's public keys"
        raise ConfigError(f"trust.keys_dir is empty: what people decided is believed by its signature; {what}")
    seal = seal_of(partials, configure("backtest"))
    recording = Recording(kafka, keys)
    entries = recording.entries()
    run = Recorded(Judging(policies), entries, recording.logs(), seal)
    orders = follow(run, lambda _: recording.partials(), None, as_json)
    show_differences(differences(halts_then(entries), orders, 0), as_json)
