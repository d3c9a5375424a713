"""Settings of `fleet.partials`: the secret that combiner and correlator share."""

from typing import TYPE_CHECKING, Annotated

import msgspec

from pipeline.runtime.errors import ConfigError
from pipeline.runtime.secrets import read_secret
from pipeline.wire.seal import Seal

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

Doc = msgspec.Meta

UNSEALED = "partials are not sealed: whoever can write fleet.partials can halt anything; set partials.secret_file"


class PartialsConfig(msgspec.Struct, frozen=True):
    """Section `partials`."""

    secret: Annotated[str, Doc(description="what partials are sealed with; environment or file only")] = ""
    secret_file: Annotated[
        str,
        Doc(
            description="file that holds it; of several lines the first seals, all are accepted",
            extra={"option": "partials_secret_file"},
        ),
    ] = ""


def seal_of(config: PartialsConfig, log: "FilteringBoundLogger") -> Seal | None:
    """The seal, or None without a secret, which is said.

    Raises:
        ConfigError: when the secret cannot be read, or could be guessed.
    """
    secrets = read_secret(config, "partials", "secret").split()
    if not secrets and not config.secret_file:
        log.warning(UNSEALED)
        return None
    try:
        return Seal(secrets)
    except ValueError as error:
        where = f"partials.secret_file = {config.secret_file!r}" if config.secret_file else "partials.secret"
        raise ConfigError(f"{where}: {error}") from None
