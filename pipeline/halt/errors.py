"""Why a signed record is not to be believed; `reason` is a word for logs and metrics."""


class UntrustedRecord(ValueError):
    """The signature proves nothing; do not act on the record."""

    reason = "untrusted"


class UnknownKey(UntrustedRecord):
    """No trusted public key has the record's `kid`."""

    reason = "unknown_key"


class WrongRole(UntrustedRecord):
    """A trusted key signed it, but one that is not believed for this."""

    reason = "wrong_role"


class BadSignature(UntrustedRecord):
    """`sig` is missing, is not base64, or does not cover these canonical bytes."""

    reason = "bad_signature"


class MalformedRecord(UntrustedRecord):
    """The bytes are no record of this topic."""

    reason = "malformed"


class WrongKey(UntrustedRecord):
    """The record stands under a Kafka key that is another's."""

    reason = "wrong_key"


class Unapproved(UntrustedRecord):
    """A resume that two operators did not sign."""

    reason = "unapproved"
