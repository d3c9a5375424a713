"""Who a subscriber is and what it follows: section `subscriber`, and all that a program of one's own needs."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NamedTuple

import msgspec

from consumers.rollout.acknowledging import Subscriber
from consumers.rollout.duties import Pace
from consumers.rollout.follower import Source
from pipeline.halt.believe import TrustedKey, TrustedKeys
from pipeline.halt.signing import PUBLIC_SUFFIX, files, load_private, read_public
from pipeline.halt.trust import TrustConfig
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.kafka import KafkaConfig

Doc = msgspec.Meta
# As it stands in the name of the public key's file, so that acknowledgements are believed.
NAME_PATTERN = "^[a-z0-9][a-z0-9_@.-]{0,63}$"


class SubscriberConfig(msgspec.Struct, frozen=True):
    """Section `subscriber`: a rollout system that obeys."""

    name: Annotated[str, Doc(pattern=f"{NAME_PATTERN}|^$", description="its name, one of its own: a-z 0-9 _ @ . -")] = (
        ""
    )
    key_file: Annotated[str, Doc(description="PEM file of its private key (`andon keys new subscriber NAME`)")] = ""
    fleets: Annotated[str, Doc(description="whose halts it obeys, comma-separated")] = ""
    again_seconds: Annotated[
        float, Doc(ge=1, le=86_400, description="until what is requested or failed is handed over again")
    ] = 60.0
    handler_seconds: Annotated[
        float, Doc(ge=0.1, le=86_400, description="how long its handler may take before that counts as failed")
    ] = 60.0

    def fleet_names(self) -> list[str]:
        """Raises ConfigError when there are none."""
        found = [name.strip() for name in self.fleets.split(",") if name.strip()]
        if not found:
            raise ConfigError("subscriber.fleets is empty: name at least one fleet (ANDON_SUBSCRIBER_FLEETS)")
        return found

    def subscriber(self, trusted: Mapping[str, TrustedKey] = MappingProxyType({})) -> Subscriber:
        """Raises ConfigError when name or key is missing, the key is not to be used, or it is another's by its public
        half among `trusted` or beside it: nobody would believe what is acknowledged."""
        for key in ("name", "key_file"):
            if not getattr(self, key):
                raise ConfigError(
                    f"subscriber.{key} is empty: acknowledgements are signed (ANDON_SUBSCRIBER_{key.upper()}); "
                    "`andon keys new subscriber NAME` makes a key"
                )
        path = Path(self.key_file)
        own = load_private(path)
        beside = [
            read_public(each)[1]
            for each in files(path.absolute().parent, f"{own.kid}{PUBLIC_SUFFIX}")
            if each.name != f"{own.kid}{PUBLIC_SUFFIX}"  # a name without a role says nothing of whose it is
        ]
        for owner in [trusted[own.kid]] if own.kid in trusted else beside:
            if (owner.role, owner.name) != ("subscriber", self.name):
                raise ConfigError(
                    f"subscriber.name = {self.name!r} (ANDON_SUBSCRIBER_NAME), but subscriber.key_file = "
                    f"{self.key_file!r} is the key of {owner.role} {owner.name}: nobody would believe what it signs"
                )
        return Subscriber(self.name, own)

    def pace(self) -> Pace:
        """How often orders are handed over."""
        return Pace(again_seconds=self.again_seconds, handler_seconds=self.handler_seconds)


class Settings(NamedTuple):
    """All that a subscriber or a gate of one's own is made from."""

    kafka: KafkaConfig
    trusted: TrustedKeys
    config: SubscriberConfig

    def source(self, fleets: str = "") -> Source:
        """Raises ConfigError when no fleet is named."""
        named = msgspec.structs.replace(self.config, fleets=fleets) if fleets else self.config
        return Source(self.kafka, self.trusted, named.fleet_names())


def load_settings(file: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """From `ANDON_KAFKA_…`, `ANDON_TRUST_…` and `ANDON_SUBSCRIBER_…` in the environment, over those sections of a file:
    this one, or `ANDON_CONFIG`.

    Raises:
        ConfigError: naming key, value, source and what would be right.
    """
    from pipeline.runtime.config import load, refuse_strangers

    refuse_strangers(environ)
    named = environ.get("ANDON_CONFIG")
    path = file if file is not None else Path(named) if named else None
    kafka = load(KafkaConfig, "kafka", file=path, environ=environ, options={})
    trust = load(TrustConfig, "trust", file=path, environ=environ, options={})
    config = load(SubscriberConfig, "subscriber", file=path, environ=environ, options={})
    return Settings(kafka, trusted_keys(trust), config)


def trusted_keys(trust: TrustConfig) -> TrustedKeys:
    """Whose records are believed.

    Raises:
        ConfigError: when nobody's are.
    """
    trusted = trust.keys()
    if not trusted:
        where = f"{trust.keys_dir} holds none" if trusted is not None else "none is set"
        raise ConfigError(
            f"nothing could be believed without the correlator's public keys, and {where}: "
            "--trusted-keys-dir (trust.keys_dir) names the directory with KID.pub.pem"
        )
    return trusted
