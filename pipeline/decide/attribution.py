"""Who is to blame when several updates travel together, and whether it is enough to halt. From values to values."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from pipeline.decide.evidence import LIMIT_ERRORS, LN10, control_rises, log_mixture
from pipeline.decide.samples import KEPT_BINS
from pipeline.decide.weighing import Weighed
from pipeline.wire.partials import BUCKET_MS, Partial
from pipeline.wire.spans import DAY_MS

SUSPECT = 2.0  # log10 evidence from which an update is a suspect
MAX_SUSPECTS = 8
LEAD = 0.5  # log10 by which one must explain the separating hosts better than the other
DOUBT = 2.0  # log10 by which another explains the separating hosts better than one that is halted: it is doubtful
# Of the hosts with an update so many at most do not have the halted one that hides it: there is nobody to judge it on.
HIDDEN_SHARE = 0.05
HIDDEN_COST = 1.2  # log10 that such evidence costs more: it is one more explanation, with a weight of a sixteenth
ALONE_SHARE = 0.25  # of a halted update's crashed hosts, without the other: more, and it explains crashes by itself
HIDDEN = "hidden"
INSEPARABLE_CRASHES = 20  # crashed hosts after which waiting for one on a separating host ends
TOLD_CRASHES = 5.0  # on separating hosts, if the update is at fault alone: by then they have said what they can
ASKED_BINS = 6  # of 10 minutes, whose samples tell how many hosts have one of two updates only
ASKED_HOSTS = 20.0


class Due(NamedTuple):
    """A halt that is due: the update's position, the moment of the event that decided (unix ms), flags."""

    update: int
    decided_at: int
    flags: tuple[str, ...]


def judge(weighed: Weighed, partial: Partial, minute_passed: bool = False) -> list[Due]:
    """The halts that are due after this partial. Once a minute also of what halted updates hide."""
    guilty: list[tuple[int, tuple[str, ...]]] = []
    for update in suspects(weighed):
        if update not in weighed.state.standing.halted and len(guilty) < MAX_SUSPECTS:
            flags = _flags_of_halt(weighed, update)
            if flags is not None:
                guilty.append((update, flags))
    found = _together(guilty)
    if minute_passed and not found:
        found = [(update, ()) for update in _overlooked(weighed)]
    return [Due(update, _decided_at(weighed, update, partial), flags) for update, flags in found]


def _together(guilty: list[tuple[int, tuple[str, ...]]]) -> list[tuple[int, tuple[str, ...]]]:
    """Judged before any is halted, so that two that cannot be told apart halt both; a clear culprit halts alone."""
    clear = [found for found in guilty if not found[1]]
    return clear or guilty


def suspects(weighed: Weighed) -> list[int]:
    """Updates under suspicion, the most suspect first. Whether a signature counts is not asked here: a culprit whose
    excess does not show yet is a rival of the innocent all the same."""
    total, names = weighed.explained.suspicion / LN10, weighed.state.names.updates.names
    live = [u for u in np.flatnonzero(total >= SUSPECT).tolist() if names[u] is not None]
    return sorted(live, key=lambda u: -total[u])


def rivals_of(weighed: Weighed, update: int) -> list[int]:
    """The other suspects and halted updates with which this one, if it is either, shares crashed hosts, most shared
    first."""
    if weighed.explained.suspicion[update] < SUSPECT * LN10 and update not in weighed.state.standing.halted:
        return []
    if update not in weighed.rivals:
        shared: Counter[int] = Counter()
        for crash in weighed.state.crashes.crashes:
            if update in crash.exposed:
                shared.update(crash.exposed)
        del shared[update]
        others = {*suspects(weighed), *weighed.state.standing.halted}
        found = [rival for rival, _ in shared.most_common() if rival in others]
        weighed.rivals[update] = found[:MAX_SUSPECTS]
    return weighed.rivals[update]


def _flags_of_halt(weighed: Weighed, update: int) -> tuple[str, ...] | None:
    """The flags of a halt that is due, or None."""
    policy, crashed = weighed.policies.of(update), weighed.state.counts.crashed
    enough = bar_of(weighed, update) * LN10
    explained = weighed.explained
    lost = crashed[update].sum() + weighed.state.silence.of(update).observed
    if lost < policy.minimum_crashed_hosts or explained.total[update] < enough:
        return None
    if is_unlisted(weighed, update):
        return None
    if explained.concurrent[update] < enough and not _history_may(weighed, update):
        return None
    flags = _flags_of_silence(weighed, update, enough)
    if flags is None:
        return None
    for rival in rivals_of(weighed, update):
        mine = weighed.without(update, rival)
        if mine.log_evidence >= enough:
            continue
        if rival in weighed.state.standing.halted:
            return None
        theirs = weighed.without(rival, update)
        lead = (mine.log_evidence - theirs.log_evidence) / LN10
        if lead >= LEAD:
            continue
        if lead <= -LEAD or not _told_all(weighed, update, rival):
            return None
        flags = ("inseparable",)
    return flags


def _flags_of_silence(weighed: Weighed, update: int, enough: float) -> tuple[str, ...] | None:
    """Of a halt that rests on silent hosts, which told of nothing: what came with it to the same hosts may have done it
    as well. None while another explains them as well, and they are few."""
    explained, silence = weighed.explained, weighed.state.silence
    others = np.delete(explained.terms[update], explained.layout.rows("silence"))
    if np.logaddexp.reduce(others) >= enough:
        return ()
    mine = explained.of("silence")[update, 0]
    rivals = [explained.of("silence")[other, 0] for other in silence.logs if other != update]
    if mine - max(rivals, default=-np.inf) >= LEAD * LN10:
        return ()
    beaten = mine - max(rivals) <= -LEAD * LN10
    return None if beaten or silence.of(update).observed < INSEPARABLE_CRASHES else ("inseparable",)


def _told_all(weighed: Weighed, update: int, rival: int) -> bool:
    """Whether waiting for a crash on hosts that have only one of the two is of no use any more: each has crashed
    INSEPARABLE_CRASHES hosts; or there are no such hosts, or so many that they would have told by now."""
    pairs = ((update, rival), (rival, update))
    crashed = weighed.state.counts.crashed
    if min(crashed[update].sum(), crashed[rival].sum()) >= INSEPARABLE_CRASHES:
        return True
    return all(_has_told(weighed, *pair) for pair in pairs)


def _has_told(weighed: Weighed, update: int, rival: int) -> bool:
    """Of the hosts that have `update` without `rival`: they are too few, or, were it at fault alone, enough of them
    would have crashed."""
    samples, strata = weighed.state.samples, len(weighed.state.groups.ring_of)
    since = samples.newest_bin - ASKED_BINS + 1
    alone, every = (float(samples.shares(update, without, strata, since).exposed.sum()) for without in (rival, -1))
    share = alone / max(every, 1.0)
    would = share * weighed.state.counts.crashed[update].sum()
    return every >= ASKED_HOSTS and (share * INSEPARABLE_CRASHES < 1.0 or bool(would >= TOLD_CRASHES))


def _overlooked(weighed: Weighed) -> list[int]:
    """Updates that no host has without a halted one, and that explain the crashed hosts far better than that does: by
    evidence on its hosts that reaches the threshold by itself."""
    due = []
    for update, rival in hidden(weighed):
        if update in weighed.state.standing.halted:
            continue
        enough = (bar_of(weighed, update) + HIDDEN_COST) * LN10
        if weighed.among_hosts_of(update, rival).log_evidence >= enough and all(
            _explains_little(weighed, halted, update) for halted in {rival, *_halted_with(weighed, update)}
        ):
            due.append(update)
    return due


def _halted_with(weighed: Weighed, update: int) -> list[int]:
    """The halted updates that half of its crashed hosts had, or more: of several that could not be told apart any may
    have crashed them."""
    halted = weighed.state.standing.halted
    crashed = [crash.exposed for crash in weighed.state.crashes.crashes if update in crash.exposed]
    shared = Counter(other for exposed in crashed for other in exposed if other in halted)
    return [other for other, hosts in shared.items() if 2 * hosts >= len(crashed)]


def hidden(weighed: Weighed) -> list[tuple[int, int]]:
    """Updates, and for each the halted one that nearly all of its hosts have: there is nobody to judge it on without
    that. Of those with most crashed hosts."""
    if HIDDEN not in weighed.pairs:
        weighed.pairs[HIDDEN] = [
            (update, rival) for update, rival in _masked(weighed) if _is_hidden(weighed, update, rival)
        ]
    return weighed.pairs[HIDDEN]


def _masked(weighed: Weighed) -> list[tuple[int, int]]:
    """The updates of which most crashed hosts had a halted one too, each with the one that most of them had."""
    state, standing = weighed.state, weighed.state.standing
    least = weighed.policies.policies.default.minimum_crashed_hosts
    masked = np.flatnonzero(state.counts.masked >= least).tolist() if standing.halted else []
    watched = [u for u in masked if u not in standing.resumed and state.names.updates.names[u] is not None]
    shared = {u: Counter[int]() for u in sorted(watched, key=lambda u: -state.counts.masked[u])[:MAX_SUSPECTS]}
    for crash in state.crashes.crashes if shared else ():
        halted = [u for u in crash.exposed if u in standing.halted]
        for update in crash.exposed if halted else ():
            if update in shared:
                shared[update].update(u for u in halted if u != update)
    return [(update, rivals.most_common(1)[0][0]) for update, rivals in shared.items() if rivals]


def _is_hidden(weighed: Weighed, update: int, rival: int) -> bool:
    """Whether hardly a host has the update without the rival, as far as samples tell."""
    samples, strata = weighed.state.samples, len(weighed.state.groups.ring_of)
    since = samples.newest_bin - KEPT_BINS + 1
    without, among = (samples.shares(update, rival, strata, since, has).exposed.sum() for has in (False, True))
    return bool(without <= HIDDEN_SHARE * (without + among))


def _explains_little(weighed: Weighed, halted: int, update: int) -> bool:
    """Whether the halted update, for its part, is hardly seen to crash hosts that do not have the other: it is not
    under suspicion there, and few of them crashed within half a day before the other came and since."""
    if weighed.without(halted, update).log_evidence >= SUSPECT * LN10:
        return False
    crashes = [c for c in weighed.state.crashes.crashes if halted in c.exposed]
    since = int(weighed.state.ages.since[update]) * BUCKET_MS
    alone = sum(update not in c.exposed for c in crashes if c.at >= since - DAY_MS // 2)
    return alone <= ALONE_SHARE * sum(update in c.exposed for c in crashes)


def doubted_for(weighed: Weighed, update: int) -> list[int]:
    """Of a halted update, the rivals that later evidence speaks for instead: on hosts that have only one of the two,
    they are under suspicion and it is not."""
    if update not in weighed.state.standing.halted:
        return []
    found = []
    for rival in rivals_of(weighed, update):
        mine, theirs = (weighed.without(*pair).log_evidence / LN10 for pair in ((update, rival), (rival, update)))
        if theirs >= SUSPECT > mine and theirs - mine >= DOUBT:
            found.append(rival)
    for other, rival in hidden(weighed):
        theirs = weighed.among_hosts_of(other, rival).log_evidence / LN10 - HIDDEN_COST
        if rival == update and theirs >= SUSPECT + DOUBT and _explains_little(weighed, update, other):
            found.append(other)
    return found


def better_culprits(weighed: Weighed, update: int) -> tuple[str, ...]:
    """The names of those."""
    names = weighed.state.names.updates.names
    return tuple(["/".join(names[rival] or ()) for rival in doubted_for(weighed, update)])


def is_unlisted(weighed: Weighed, update: int) -> bool:
    """Whether nobody knows who else has it: only crash reports list updates here, no clean trial any; or it is not
    known yet whether trials of a kind list any."""
    trials = weighed.state.trials
    if not weighed.state.counts.crashed[update].any():
        return False
    silent = trials.silent()
    return bool((silent & ~trials.deaf).any() or (silent.any() and not trials.listed.any()))


def falling_silent(weighed: Weighed, update: int) -> bool:
    """Whether hosts fall silent rather where the update has just come: evidence of ten, and three hosts."""
    told, log = weighed.state.silence.of(update), weighed.state.silence.logs.get(update)
    return log is not None and told.observed >= 3 and bool(log_mixture(log) >= LN10)


def bar_of(weighed: Weighed, update: int) -> float:
    """The evidence (log10) at which an update halts: what alpha asks for; after a resume, more than there was then."""
    needed = float(-np.log10(weighed.policies.of(update).alpha))
    resumed = weighed.state.standing.resumed.get(update)
    return needed if resumed is None else max(needed, resumed[0])


def bar_after_resume(weighed: Weighed, update: int) -> float:
    """What it would be if the update were resumed now, whatever resumes there were before."""
    policy = weighed.policies.of(update)
    reached = max(float(-np.log10(policy.alpha)), float(weighed.explained.total[update]) / LN10)
    return reached + policy.resumed_bar


def _history_may(weighed: Weighed, update: int) -> bool:
    """Whether evidence against history alone may halt: policy allows it, and control hosts do not crash more too."""
    return weighed.policies.of(update).historical_may_halt and not shock_seen(weighed, update)


def shock_seen(weighed: Weighed, update: int) -> bool:
    """Whether hosts without the update crash more than history allows: over all strata, or clearly in one."""
    past = weighed.state.past
    trials, exposed, excluded = weighed.state.trials.slow_of(update)
    control = np.maximum(trials - exposed - excluded, 0.0)
    expected = np.nan_to_num(control * past.rates[:, update])
    crashes = past.control_crashes[2, :, update]
    tolerated = weighed.policies.of(update).tolerated_risk
    pooled = control_rises(crashes.sum(keepdims=True), expected.sum(keepdims=True), 1.0, LIMIT_ERRORS)
    return bool(pooled.any() or control_rises(crashes, expected, tolerated, 4.0).any())


def _decided_at(weighed: Weighed, update: int, partial: Partial) -> int:
    """The moment (unix ms) of the newest crash with the update in this partial; stream time when there is none."""
    name = weighed.state.names.updates.names[update]
    index = next((i for i, u in enumerate(partial.updates) if u == name), -1)
    moments = [c.at for c in partial.crashes if index in c.exposed]
    return max(moments, default=weighed.state.clock.now_ms)
