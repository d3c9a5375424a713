"""Keys of compacted records. Parts are percent-encoded, so a "/" inside a vendor's name cannot forge another key."""

from urllib.parse import quote, unquote

HEARTBEAT = "heartbeat"


def update_key(fleet: str, vendor: str, product: str, version: str) -> str:
    """`fleet/vendor/product/version`, the key of `fleet.halts`."""
    return "/".join(quote(part, safe=" !$&'()*+,;=:@") for part in (fleet, vendor, product, version))


def verdict_key(fleet: str, vendor: str, product: str, version: str, ring: str) -> str:
    """`fleet/vendor/product/version/ring`, the key of `fleet.verdicts`."""
    return update_key(fleet, vendor, product, version) + "/" + quote(ring, safe=" !$&'()*+,;=:@")


def heartbeat_key(fleet: str) -> str:
    """`fleet/-/heartbeat`: three parts, so it never equals a verdict's key of five."""
    return quote(fleet, safe=" !$&'()*+,;=:@") + "/-/" + HEARTBEAT


def parse_key(key: str) -> tuple[str, ...]:
    """The decoded parts of a key."""
    return tuple(unquote(part) for part in key.split("/"))
