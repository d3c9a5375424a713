"""Settings of the correlator."""

from pathlib import Path
from typing import Annotated

import msgspec

Doc = msgspec.Meta

STAGE = "correlate"
GROUP = "andon-correlate"  # of consumers, and the name of the Faust app


class CorrelateConfig(msgspec.Struct, frozen=True):
    """Section `correlate`."""

    slot: Annotated[
        str,
        Doc(pattern=r"^[0-9A-Za-z_-]{1,32}$", description="name of this process in its group, stable over restarts"),
    ] = "0"
    data_dir: Annotated[
        str, Doc(min_length=1, description="where the signing key and Faust's working files are kept")
    ] = ".andon/correlate"
    policy_file: Annotated[str, Doc(description='TOML file of policies, "" for the built-in ones')] = ""
    web_host: Annotated[str, Doc(min_length=1, description="address of the state view")] = "127.0.0.1"
    web_port: Annotated[int, Doc(ge=1, le=65535, description="port of the state view")] = 6066
    web_names: Annotated[
        str, Doc(description="names that it is called by, comma-separated, besides addresses and localhost")
    ] = ""
    checkpoint_seconds: Annotated[
        float,
        Doc(ge=0.05, le=3600, description="longest time that state waits for its changelog, replayed after a kill"),
    ] = 30.0
    heartbeat_seconds: Annotated[
        float, Doc(ge=0.1, le=15, description="interval of the heartbeat record, which opens nothing after 30 s")
    ] = 10.0
    halt_lifetime_seconds: Annotated[
        int, Doc(ge=60, le=30 * 86_400, description="a halt expires after this unless renewed, at half of it")
    ] = 86_400


def working_dir(config: CorrelateConfig) -> Path:
    """Where Faust keeps what it writes: of this slot alone."""
    return Path(config.data_dir) / f"faust-{config.slot}"


def instance_of(slot: str) -> str:
    """The static member of the group that a slot is (group.instance.id)."""
    return f"{GROUP}-{slot}"
