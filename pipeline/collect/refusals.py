"""Requests that are refused as a whole: status, reason code and a sentence for people."""

import math

from aiohttp import web

RETRY_BUFFER_FULL_SECONDS = 1
RETRY_BROKER_GONE_SECONDS = 5


class Refusal(Exception):
    """Becomes the answer `{"error": code, "detail": …}`."""

    def __init__(self, status: int, code: str, detail: str, **headers: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self) -> web.Response:
        """The HTTP answer."""
        body = {"error": self.code, "detail": self.detail}
        return web.json_response(body, status=self.status, headers=self.headers)


def unauthorized() -> Refusal:
    """Says the same for no token and for an unknown one."""
    detail = "send `Authorization: Bearer TOKEN`; `andon token FLEET --tokens-file F` makes one"
    return Refusal(401, "unauthorized", detail, WWW_Authenticate='Bearer realm="andon"')


def wrong_method(methods: str) -> Refusal:
    """There is something at this path, but not for this method."""
    return Refusal(405, "wrong_method", f"the methods of this path are: {methods}", Allow=methods)


def no_such_path(paths: str) -> Refusal:
    """A path that the gateway does not have."""
    return Refusal(404, "no_such_path", f"the gateway has these paths: {paths}")


def buffer_full(detail: str) -> Refusal:
    """The broker, or this process, is slower than the senders just now."""
    return Refusal(429, "buffer_full", detail, Retry_After=str(RETRY_BUFFER_FULL_SECONDS))


def beyond_quota(detail: str, retry_seconds: float = RETRY_BUFFER_FULL_SECONDS) -> Refusal:
    """This token takes more than its share; others are served."""
    return Refusal(429, "token_quota", detail, Retry_After=str(max(1, math.ceil(retry_seconds))))


def not_delivered(undelivered: int) -> Refusal:
    """Some or all of the events were not acknowledged: none is claimed. Sending all again is safe, for ids repeat."""
    detail = f"the broker did not acknowledge {undelivered} events in time; nothing is claimed, send the request again"
    return Refusal(503, "broker_unavailable", detail, Retry_After=str(RETRY_BROKER_GONE_SECONDS))
