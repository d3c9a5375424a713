"""Words that screens and records have in common. Pure."""

from pipeline.wire.verdicts import Explanation

# Flags of a verdict that say: telemetry shows less of this than it seems to; and what that costs. `andon halts why`,
# `status` and a backtest show them, docs/design.md has the same table.
HALF_BLIND = {
    "strata_without_trials": "its crashes come from strata (ring, os, model) that no boot or heartbeat names: "
    "the share is guessed from wider groups, at its largest, so it halts later. Let crash reports name what "
    "heartbeats name",
    "strata_move": "os names a build that comes with the update: hosts with it and without it are never in one "
    "stratum, so there is nobody to compare with. Leave the revision out of os",
    "version_per_host": "nearly every host names a version of its own: none is on enough hosts to be judged. Leave "
    "host or build ids out of version",
    "one_product_for_many": "hosts install several versions of this product at once, and only the last counts: a fault "
    "of another is laid to it, or to none. Give each update (KB) a product of its own",
    "only_crashes_list_it": "no clean boot or heartbeat has listed it: who else has it is unknown, and its share may "
    "be far larger than was assumed",
    "shared_host_names": "hosts of one name tell of different models: machines that share a name count as one, so "
    "crashes are missing. The correlator's /state names them",
    "dirty_boot_burst": "many dirty boots in one minute that name neither site nor signature: counted like one site's, "
    "for it may have been a power cut. Send site, or the bugcheck",
    "changed_before_report": "hosts changed this product after the crash and before they told of it: which version "
    "crashed is unknown. Send what was rolled back in `removed`",
    "crashes_cut": "more crashes came at once than a partial lists: the rest is counted and no evidence, of the hosts "
    "without it either, so its evidence is not exact",
    "sampled": "it is told apart from other updates by a sample of the hosts: cut otherwise, the same stream would "
    "give slightly other figures",
}


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what is counted: 1 host, 2 hosts, 1,204 entries; `many` where an s is not enough."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def crashed_words(observed: int, crashed_hosts: int, explanation: Explanation) -> str:
    """The hosts that evidence rests on, and how many crashed in all where those are more: of a signature, or because
    a cap counts no more."""
    names = {
        "signature": f" with {explanation.code or '?'} / {explanation.module or '?'}",
        "history": " against history",
    }
    place = names.get(explanation.kind, f" in {', '.join(explanation.strata)}" if explanation.strata else "")
    if observed < crashed_hosts:
        return f"{observed:,} of {counted(crashed_hosts, 'crashed host')}{place}"
    return f"{counted(observed, 'host')} crashed{place}"
