"""What librdkafka says: as lines of a stage's log, each kind now and then, and as the reason of a failure."""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException

from pipeline.runtime.seldom import Seldom

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

EVERY_SECONDS = 15.0  # with no broker there, a client says so several times a second
# The more telling ones first: a client that is refused also says that it reaches nobody.
_TELLING = (
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._SSL,
    KafkaError._RESOLVE,
    KafkaError._TRANSPORT,
)
WARNINGS = 4  # librdkafka's `log_level`, as syslog counts
# What an error means to whoever reads it, by its code, or by what librdkafka's text has in it. The text follows where
# it says more than the words.
_RIGHTS = "; `andon doctor --as ROLE` says what this account lacks"
_BY_CODE = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "this account may not do that with the topic" + _RIGHTS,
    KafkaError.GROUP_AUTHORIZATION_FAILED: "this account may not use that consumer group" + _RIGHTS,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "this account may not use that transactional id" + _RIGHTS,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "this account may not do that with the cluster" + _RIGHTS,
    KafkaError.UNKNOWN_TOPIC_OR_PART: "there is no such topic; `andon topics apply` creates those that Andon needs",
    KafkaError._MSG_TIMED_OUT: "no broker took it in time",
    KafkaError._TIMED_OUT: "no answer in time",
    KafkaError._ALL_BROKERS_DOWN: "no broker can be reached",
}
_LOGIN = "; look at kafka.sasl_username, ANDON_KAFKA_SASL_PASSWORD (or its file) and kafka.sasl_mechanism"
_BY_CODE_AND_TEXT = {
    KafkaError._AUTHENTICATION: "authentication fails",
    KafkaError.SASL_AUTHENTICATION_FAILED: "authentication fails",
    KafkaError._SSL: "TLS fails",
}
_BY_TEXT = (
    ("Connection refused", "nothing listens there"),
    ("Failed to resolve", "there is no such host"),
    ("incorrect security.protocol", "whoever listens there hangs up on this client: look at kafka.security_protocol"),
    ("No route to host", "no network leads there"),
    ("Network is unreachable", "no network leads there"),
    ("timed out", "whoever listens there does not answer"),
    ("metadata: Local: Broker transport failure", "whoever listens there does not answer"),
    ("isconnected", "whoever listens there hangs up"),
)


class Forward(logging.Handler):
    """Lines of one client. A kind is librdkafka's own word for it, such as FAIL; those left out are counted."""

    def __init__(self, log: "FilteringBoundLogger", clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._log, self._seldom = log, Seldom(EVERY_SECONDS, clock)

    def emit(self, record: logging.LogRecord) -> None:
        """Called from the client's poll."""
        kind, text = _parts(record)
        if (more := self._seldom.turn(kind)) is not None:
            self._log.log(record.levelno, "Kafka client", kind=kind, says=text, **more)


def _parts(record: logging.LogRecord) -> tuple[str, str]:
    """The kind and the text; confluent_kafka logs kind, client and text, which begins with the thread's name."""
    if not isinstance(record.args, tuple) or len(record.args) != 3:
        return "", record.getMessage()
    kind, _, text = map(str, record.args)
    return kind, text.partition("]: ")[2] if text.startswith("[thrd:") else text


def spoken(log: "FilteringBoundLogger") -> dict[str, Any]:
    """Client settings that let a client speak in the log, if it is polled all the time: else what it says piles up."""
    logger = logging.Logger("librdkafka")  # of its own, not in logging's tree: nobody else handles it
    logger.addHandler(Forward(log))
    return {"logger": logger, "log_level": WARNINGS}


def meaning(failure: Exception | KafkaError | str) -> str:
    """In words, of what a client of Kafka raised, or was told."""
    error = failure.args[0] if isinstance(failure, KafkaException) else failure
    if not isinstance(error, KafkaError):
        return "no answer in time" if isinstance(error, TimeoutError) else str(error)
    if words := _BY_CODE.get(error.code()):
        return words
    if words := _BY_CODE_AND_TEXT.get(error.code()):
        return f"{words}: {error.str()}{'' if error.code() == KafkaError._SSL else _LOGIN}"
    return next((words for part, words in _BY_TEXT if part in error.str()), error.str())


class Errors:
    """What a silent client met, for the one sentence that its user says. `settings` go to the client."""

    def __init__(self) -> None:
        met: dict[int, KafkaError] = {}
        self._met = met
        # Not a method: it would tie this object and the client into a cycle, and the client would outlive its use.
        self.settings: dict[str, Any] = {"error_cb": lambda error: met.setdefault(error.code(), error)}

    def why(self, failure: KafkaException | str, poll: Callable[[float], object]) -> str:
        """The reason of a failure; `poll` is the client's, which hands over what it met."""
        poll(0)
        told = [self._met[code] for code in _TELLING if code in self._met]
        return meaning(told[0] if told else failure)
