"""Section `notify`: whom to tell of halts."""

from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import msgspec

from consumers.notify.outbox import Pace
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.secrets import refuse_other_readers

Doc = msgspec.Meta
MAX_URLS = 8


class Access(NamedTuple):
    """Where it is, and how it is reached. The token's file is read at every request, so that it may be changed."""

    url: str
    token_file: str = ""
    ca_file: str = ""
    timeout_seconds: float = 5.0


class NotifyConfig(msgspec.Struct, frozen=True):
    """Section `notify`."""

    alertmanager_urls: Annotated[
        str, Doc(description="Alertmanagers, comma-separated; each is told, as its members want it")
    ] = ""
    gauges_alone: Annotated[
        bool, Doc(description="where no Alertmanager is named, run for the gauges alone instead of refusing")
    ] = False
    fleets: Annotated[str, Doc(description="whose halts, comma-separated; empty: every fleet's")] = ""
    resend_seconds: Annotated[
        float, Doc(ge=60, le=3_600, description="between two words on an alert that still fires")
    ] = 60.0
    resolved_seconds: Annotated[
        float, Doc(ge=60, le=86_400, description="how long a resolved alert is said to be so")
    ] = 300.0
    hold_seconds: Annotated[
        float,
        Doc(ge=600, le=604_800, description="how long Alertmanager keeps an alert firing that it hears no more of"),
    ] = 86_400.0
    timeout_seconds: Annotated[float, Doc(ge=0.1, le=60, description="of one request")] = 5.0
    token_file: Annotated[str, Doc(description="file with a bearer token for Alertmanager")] = ""
    ca_file: Annotated[str, Doc(description="PEM file of the authority that signed Alertmanager's certificate")] = ""
    runbook_url: Annotated[str, Doc(description="annotation of every alert: what to do")] = ""
    dashboard_url: Annotated[str, Doc(description="annotation of every alert: where to look")] = ""

    def fleet_names(self) -> list[str] | None:
        """None is every fleet."""
        return [name.strip() for name in self.fleets.split(",") if name.strip()] or None

    def pace(self) -> Pace:
        """How often the same is said."""
        return Pace(self.resend_seconds, self.resolved_seconds)

    def links(self) -> dict[str, str]:
        """Annotations that every alert has."""
        named = {"runbook_url": self.runbook_url, "dashboard_url": self.dashboard_url}
        return {name: url for name, url in named.items() if url}

    def accesses(self) -> list[Access]:
        """Raises ConfigError for one that is no address; when there is none, unless that was said to be meant."""
        urls = [url.strip() for url in self.alertmanager_urls.split(",") if url.strip()]
        if not urls and not self.gauges_alone:
            raise ConfigError(
                "notify.alertmanager_urls is empty: name at least one, as http://alertmanager.example:9093 "
                "(ANDON_NOTIFY_ALERTMANAGER_URLS)"
            )
        if len(urls) > MAX_URLS:
            raise ConfigError(f"notify.alertmanager_urls names {len(urls)}, and at most {MAX_URLS} are told")
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigError(f"notify.alertmanager_urls: {url!r} should be http(s)://host:port")
        for key, file in (("token_file", self.token_file), ("ca_file", self.ca_file)):
            if file and not Path(file).is_file():
                raise ConfigError(f"notify.{key} = {file!r}: there is no such file")
        if self.token_file:
            refuse_other_readers(Path(self.token_file), f"notify.token_file = {self.token_file!r}")
        return [Access(url, self.token_file, self.ca_file, self.timeout_seconds) for url in urls]
