"""Where a server may be reached from, and by which name. Pure."""

import ipaddress
from collections.abc import Iterable


def is_loopback(host: str) -> bool:
    """Whether what listens there is reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_meant(host_header: str, names: Iterable[str]) -> bool:
    """Whether a request's Host is an address, localhost, or one of these names.

    A page in somebody's browser can have its own name resolved to an address of ours (DNS rebinding) and read the
    answers: the name that it used still stands in Host, and it cannot be an address.
    """
    name = host_header.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name == "localhost" or name in {known.strip().lower() for known in names if known.strip()}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
