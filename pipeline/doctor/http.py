"""The stages, over the HTTP that they serve."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pipeline.doctor.finding import ANSWER_SECONDS, Finding, Hung, clock_finding, ok, plain, problem, warning
from pipeline.runtime.errors import ConfigError
from pipeline.runtime.secrets import refuse_other_readers
from pipeline.wire.words import counted

MAX_ANSWER_BYTES = 1 << 20


class Answer(NamedTuple):
    """What an HTTP server said; `body` is {} unless it is a JSON object."""

    status: int
    date: str
    body: dict[str, Any]


def ask(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    """Raises OSError when there is no HTTP answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, headers or {}), timeout=ANSWER_SECONDS) as response:
            return _answer(response.status, response.headers, response.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error.code, error.headers, error.read(MAX_ANSWER_BYTES))
    except TimeoutError:  # of the answer: one of the connection comes as a URLError
        raise Hung from None
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else OSError(str(error.reason)) from None


def advised(error: OSError, advice: str) -> str:
    """`advice`, unless the server is there and hangs."""
    return Hung.advice if isinstance(error, Hung) else advice


def _answer(status: int, headers: Any, raw: bytes) -> Answer:
    try:
        body = json.loads(raw)
    except ValueError:
        body = {}
    return Answer(status, headers.get("Date") or "", body if isinstance(body, dict) else {})


def check_url(key: str, url: str) -> None:
    """Raises ConfigError unless it is http(s)://host[:port]."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{key} = {url!r}: should be http(s)://host:port")


def check_gateway(url: str, token_file: str, max_skew_seconds: float) -> list[Finding]:
    """Health, clock, and whether the token opens it."""
    check_url("doctor.gateway_url", url)
    health_url = url.rstrip("/") + "/health"
    try:
        answer = ask(health_url)
    except OSError as error:
        advice = "start `andon collect`, or correct doctor.gateway_url"
        return [problem("gateway", f"{url}: {plain(error)}", advised(error, advice))]
    findings = [_gateway_health(url, answer)]
    if answer.body.get("tokens_file") == "unusable":
        advice = "mend the file (`andon token FLEET --tokens-file F`); its log says what is wrong"
        findings.append(problem("gateway tokens", "the file cannot be used: tokens read before stay in force", advice))
    if answer.date:
        skew = parsedate_to_datetime(answer.date).timestamp() - time.time()
        # The Date header has whole seconds, rounded down.
        findings.append(clock_finding("gateway clock", skew + 0.5, max_skew_seconds + 1, "its Date header"))
    if token_file:
        findings.append(check_token(url, token_file))
    return findings


def _gateway_health(url: str, answer: Answer) -> Finding:
    status = str(answer.body.get("status", f"HTTP {answer.status}"))
    if answer.status == 200 and status == "ok":
        return ok("gateway", f"{url} takes events, and its broker answers")
    if "status" not in answer.body:
        return problem("gateway", f"{url} answers, but not as the gateway does: {status}", "correct doctor.gateway_url")
    return problem("gateway", f"{url} answers, but cannot deliver: {status}", "see its broker and topics above")


def check_token(url: str, token_file: str) -> Finding:
    """An empty batch is refused as empty by whoever accepts the token: nothing is sent."""
    try:
        token = Path(token_file).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"doctor.gateway_token_file = {token_file!r}: cannot be read: {error}") from None
    refuse_other_readers(Path(token_file), f"doctor.gateway_token_file = {token_file!r}")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    try:
        status = ask(url.rstrip("/") + "/v1/events", b"", headers).status
    except OSError as error:
        return problem("gateway token", plain(error), "see the gateway above")
    if status == 400:
        return ok("gateway token", f"the token in {token_file} is accepted")
    if status == 401:
        advice = "add one with `andon token FLEET --tokens-file F`, with F the gateway's file"
        return problem("gateway token", f"the token in {token_file} is refused", advice)
    return problem("gateway token", f"unexpected answer: HTTP {status}", "see the gateway's log")


def _stream_time(ahead: Any) -> list[Finding]:
    """Of the fleets whose time has run ahead: the correlator still lives, and hardly hears them."""
    if not isinstance(ahead, list) or not ahead:
        return []
    words = (
        f"stream time is ahead of the clock, so crashes of now count late or not at all: {', '.join(map(str, ahead))}"
    )
    advice = (
        "set the clocks of these fleets' hosts, and it passes by itself; if it is ahead by more than an hour, restart "
        "the correlator: it does not take up such a state, and builds it anew from the partials that are retained"
    )
    return [problem("correlator time", words, advice)]


def _clocks(ahead: Any) -> list[Finding]:
    """Of the fleets with many hosts whose clocks are ahead: they look well, and are judged by few hosts or none."""
    if not isinstance(ahead, dict) or not ahead:
        return []
    named = ", ".join(f"{fleet} ({hosts} hosts)" for fleet, hosts in ahead.items())
    words = f"clocks or time zones are ahead, so what these hosts install is no evidence: {named}"
    advice = (
        "set them: `andon query unused -p fleet=FLEET` counts what was not used, the correlator's /state names hosts"
    )
    return [warning("correlator clocks", words, advice)]


def _seals(health: Mapping[str, Any]) -> list[Finding]:
    """Whether partials are believed only from the combiner, and whether somebody else wrote some."""
    if health.get("partials_sealed") is False:
        words = "partials are not sealed: whoever can write fleet.partials can halt anything"
        return [warning("partials", words, "give `andon combine` and `andon correlate` one partials.secret_file")]
    if unsealed := health.get("partials_unsealed"):
        words = f"{unsealed} without the combiner's seal were refused since the correlator started"
        advice = (
            "find out who writes to fleet.partials (`andon deadletter list --reason unsealed_partial`); if it is a "
            "combiner of yours, its partials.secret differs"
        )
        return [problem("partials", words, advice)]
    return []


def check_stage(check: str, stage: str, url: str) -> list[Finding]:
    """Whether the combiner, notify or the archive gets on, by its own word."""
    check_url(f"doctor.{stage}_url", url)
    try:
        answer = ask(url.rstrip("/") + "/readyz")
    except OSError as error:
        advice = f"start `andon {stage}`, or correct doctor.{stage}_url"
        return [problem(check, f"{url}: {plain(error)}", advised(error, advice))]
    if answer.status == 200 and answer.body.get("ready") is True:
        return [ok(check, f"{url} gets on, and nothing waits for long")]
    return [_not_ready(check, url, answer, "if this lasts, see its log")]


def _not_ready(check: str, url: str, answer: Answer, advice: str) -> Finding:
    why = "; ".join(map(str, answer.body.get("why_not") or [f"HTTP {answer.status}"]))
    return problem(check, f"{url} answers, but is not ready: {why}", advice)


def check_correlator(url: str) -> list[Finding]:
    """Whether decisions are being made."""
    check_url("doctor.correlate_url", url)
    try:
        answer = ask(url.rstrip("/") + "/readyz")
    except OSError as error:
        advice = "start `andon correlate`, or correct doctor.correlate_url: nothing is decided meanwhile"
        return [problem("correlator", f"{url}: {plain(error)}", advised(error, advice))]
    if answer.status == 200 and answer.body.get("ready") is True:
        words = f"{url} decides on {counted(answer.body.get('fleets', 0), 'fleet')}"
        return [
            ok("correlator", words),
            *_stream_time(answer.body.get("stream_time_ahead")),
            *_clocks(answer.body.get("clocks_ahead")),
            *_seals(answer.body),
        ]
    advice = "if this lasts, see its log: nothing may be decided meanwhile"
    return [_not_ready("correlator", url, answer, advice)]
