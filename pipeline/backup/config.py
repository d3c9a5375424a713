"""Settings of backups."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from pipeline.correlate.config import CorrelateConfig
from pipeline.halt.signing import PRIVATE_NAME, SigningKey, load_private
from pipeline.halt.trust import TrustConfig
from pipeline.halt.verify import TrustedKey
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.partials import PartialsConfig

Doc = msgspec.Meta
OF_KEYS = "correlate.data_dir"


class BackupConfig(msgspec.Struct, frozen=True):
    """Section `backup`."""

    store_dir: Annotated[
        str, Doc(description="where backups are kept: a disk or a mounted share of another machine")
    ] = ""
    recipients: Annotated[
        str, Doc(description="age public keys (age1…), comma-separated: who holds one of their identities can restore")
    ] = ""
    key_file: Annotated[
        str,
        Doc(
            description="PEM file of the key that signs backups (`andon keys new backup NAME`)",
            extra={"option": "backup_key_file"},
        ),
    ] = ""
    paths: Annotated[
        str, Doc(description="more files and directories to keep, comma-separated: tokens, TLS keys, this file")
    ] = ""
    clickhouse_disk: Annotated[
        str, Doc(pattern="^[A-Za-z0-9_]+$", description="ClickHouse's disk for BACKUP (<backups><allowed_disk>)")
    ] = "backups"
    clickhouse_dir: Annotated[str, Doc(description="where this command finds that disk")] = ""
    keep_daily: Annotated[int, Doc(ge=0, description="days of which `prune` keeps the newest backup")] = 7
    keep_weekly: Annotated[int, Doc(ge=0, description="weeks of which it keeps the newest")] = 5

    def store(self) -> Path:
        """Raises ConfigError when none is set."""
        return Path(needed(self.store_dir, "store_dir", "the directory that keeps the backups")).absolute()

    def disk(self) -> Path:
        """Raises ConfigError when it is not set, or not there."""
        what = f"where ClickHouse's disk {self.clickhouse_disk!r} is for this command"
        path = Path(needed(self.clickhouse_dir, "clickhouse_dir", what)).absolute()
        if not path.parent.is_dir():
            raise ConfigError(
                f"backup.clickhouse_dir = {self.clickhouse_dir!r}: no {path.parent} is there; it is {what}"
            )
        return path


def needed(value: str, key: str, what: str) -> str:
    """Raises ConfigError for a key of this section that is empty."""
    if not value:
        raise ConfigError(f"backup.{key} is empty: name {what} (ANDON_BACKUP_{key.upper()})")
    return value


def listed(text: str) -> list[str]:
    """The parts of a comma-separated setting."""
    return [part.strip() for part in text.split(",") if part.strip()]


def keys_dir(correlate: CorrelateConfig) -> Path:
    """Of the correlator: its own key, and the public keys that it believes."""
    return Path(correlate.data_dir).absolute() / "keys"


def kept_paths(
    backup: BackupConfig, correlate: CorrelateConfig, trust: TrustConfig, partials: PartialsConfig
) -> list[Path]:
    """Every file and directory that a backup holds.

    Raises:
        ConfigError: when one is not there: a backup without the detector's key brings no halt back into force.
    """
    named = {
        OF_KEYS: str(keys_dir(correlate) / PRIVATE_NAME),
        "correlate.policy_file": correlate.policy_file,
        "trust.keys_dir": trust.keys_dir,
        "partials.secret_file": partials.secret_file,
    } | {f"backup.paths ({path})": path for path in listed(backup.paths)}
    for key, path in named.items():
        if path and not Path(path).exists():
            raise ConfigError(f"{key}: there is no {path}, and a backup without it would not be whole")
    found = [keys_dir(correlate), *(Path(path).absolute() for key, path in named.items() if path and key != OF_KEYS)]
    return [path for path in dict.fromkeys(found) if not any(above in path.parents for above in found)]


def trusted_keys(trust: TrustConfig) -> dict[str, TrustedKey]:
    """Who is believed of backups.

    Raises:
        ConfigError: when nobody is.
    """
    found = trust.keys()
    if not found:
        raise ConfigError(
            f"trust.keys_dir = {trust.keys_dir!r} holds no key: --trusted-keys-dir names the directory with "
            "backup.NAME.KID.pub.pem, without which no backup is believed"
        )
    return dict(found)


def signing_key(backup: BackupConfig, trust: TrustConfig, trusted: Mapping[str, TrustedKey]) -> SigningKey:
    """The key of whoever makes backups.

    Raises:
        ConfigError: when there is none, or nobody would believe it.
    """
    made_by = "the key that signs backups; `andon keys new backup NAME` makes one"
    key = load_private(Path(needed(backup.key_file, "key_file", made_by)))
    if key.kid not in trusted or trusted[key.kid].role != "backup":
        raise ConfigError(
            f"backup.key_file = {backup.key_file!r}: nobody who believes trust.keys_dir = {trust.keys_dir!r} would "
            f"believe what it signs: copy backup.NAME.{key.kid}.pub.pem there (`andon keys new backup NAME` made it)"
        )
    return key
