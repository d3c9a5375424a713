"""Why a message was refused. One word serves as dead-letter reason, metric label and HTTP response text."""

from enum import StrEnum


class Reason(StrEnum):
    """Closed set of rejection codes; the comment says when each is given."""

    OVERSIZED = "oversized"  # more than MAX_MESSAGE_BYTES
    INVALID_JSON = "invalid_json"  # not JSON, truncated, NaN, bad UTF-8, nested too deeply
    NOT_AN_OBJECT = "not_an_object"  # JSON, but no object
    UNKNOWN_VERSION = "unknown_version"  # `v` is not 1
    UNKNOWN_KIND = "unknown_kind"  # `kind` is not boot, crash or heartbeat
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"  # a field has another type, or a word outside its list
    EMPTY_TEXT = "empty_text"  # a required text is ""
    TEXT_TOO_LONG = "text_too_long"  # more than 128 characters
    OUT_OF_RANGE = "out_of_range"  # a number below 0 or above 2**53
    ANCIENT_TIMESTAMP = "ancient_timestamp"  # `ts` before 2020
    FUTURE_TIMESTAMP = "future_timestamp"  # `ts` later than its ingestion by more than MAX_SKEW_MS
    FLEET_MISMATCH = "fleet_mismatch"  # gateway: the token belongs to another fleet
    MALFORMED_PARTIAL = "malformed_partial"  # correlator: not a partial, or with what no batch can hold
    UNSEALED_PARTIAL = "unsealed_partial"  # correlator: a partial without the combiner's MAC, or with another one
    UNTRUSTED_COMMAND = "untrusted_command"  # correlator: a command that no trusted operator signed for its key


class MalformedMessage(ValueError):
    """A message that cannot be used; `reason` says why in a word, `detail` in a sentence fit for a person."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
