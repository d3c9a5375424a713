"""Words that screens and records have in common. Pure."""

from pipeline.wire.verdicts import Explanation


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what is counted: 1 host, 2 hosts, 1,204 entries; `many` where an s is not enough."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def crashed_words(observed: int, crashed_hosts: int, explanation: Explanation) -> str:
    """The hosts that evidence rests on, and how many crashed in all where those are more: of a signature, or because
    a cap counts no more."""
    if explanation.kind == "silence":
        return f"{counted(observed, 'host')} fell silent where it had just come (inferred: they told of nothing)"
    names = {
        "signature": f" with {explanation.code or '?'} / {explanation.module or '?'}",
        "history": " against history",
    }
    place = names.get(explanation.kind, f" in {', '.join(explanation.strata)}" if explanation.strata else "")
    if observed < crashed_hosts:
        return f"{observed:,} of {counted(crashed_hosts, 'crashed host')}{place}"
    return f"{counted(observed, 'host')} crashed{place}"
