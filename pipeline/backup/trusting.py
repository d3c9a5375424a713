"""Who signs backups, and who is believed of them."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.backup.config import BackupConfig, needed
from pipeline.halt.signing import SigningKey, load_private
from pipeline.halt.trust import TrustConfig
from pipeline.halt.verify import TrustedKey
from pipeline.runtime.errors import ConfigError


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
