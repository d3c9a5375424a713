"""The parts of pipeline/decide, each by itself: evidence, MaxSPRT, shares, deduplication, names, samples, policy."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.bench.maxsprt import critical_value
from pipeline.decide import evidence as ev
from pipeline.decide.arrays import Sizes, pack
from pipeline.decide.dedup import Recent, SiteMinutes, host_key
from pipeline.decide.name_index import NameIndex
from pipeline.decide.policy import PolicyError, PolicySet, load_policies
from pipeline.decide.samples import BIN_MINUTES, SAMPLES_PER_STRATUM_BIN, Samples
from pipeline.decide.trials import Trials
from pipeline.wire.partials import SampleRecord, UpdateId
from pipeline.wire.spans import DAY_MS, MINUTE_MS

T = 1_721_362_140_000
UPDATE = UpdateId("v", "p", "1")


class Same(dict[tuple[int, ...], tuple[int, ...]]):
    """Positions that are a partial's own numbers."""

    def __missing__(self, listed: tuple[int, ...]) -> tuple[int, ...]:
        return listed


def bernoulli_evidence(exposed: float, crashes: float, share: float) -> float:
    increment = ev.bernoulli_log_increment(np.array(exposed), np.array(crashes), np.array(share))
    return float(np.exp(ev.log_mixture(increment)))


@pytest.mark.parametrize("share", [0.001, 0.05, 0.3, 0.9])
@pytest.mark.parametrize("true_share", [0.5, 1.0])
def test_the_bernoulli_mixture_is_a_supermartingale(share: float, true_share: float) -> None:
    """Over all outcomes of ten crashes, the expected evidence is at most 1 when the share is not under-estimated."""
    p, n = share * true_share, 10
    expected = sum(math.comb(n, x) * p**x * (1 - p) ** (n - x) * bernoulli_evidence(x, n, share) for x in range(n + 1))
    assert expected <= 1 + 1e-9
    if true_share == 1.0:
        assert expected == pytest.approx(1.0)


@pytest.mark.parametrize("expected", [0.001, 0.2, 1.5])
def test_the_poisson_mixture_is_a_supermartingale(expected: float) -> None:
    """The expected evidence against history is at most 1: summed where the sum has converged, bet by bet."""
    for theta in ev.THETA[:8]:
        total = sum(
            math.exp(x * math.log(expected * theta) - expected * theta - math.lgamma(x + 1)) for x in range(400)
        )
        assert total <= 1 + 1e-9
    observed = np.arange(4.0)
    increments = ev.poisson_log_increment(observed, np.full(4, expected))
    assert increments[0] == pytest.approx(-expected * (ev.THETA - 1))
    assert (np.diff(increments, axis=0) > 0).all()


def test_weights_of_the_bets_sum_to_one() -> None:
    """Otherwise the mixture would not begin at 1."""
    assert np.exp(ev.LOG_WEIGHT).sum() == pytest.approx(1.0)
    assert np.exp(ev.LOG_PHI_WEIGHT).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("crashes", [0, 1, 10**3, 10**7])
@pytest.mark.parametrize("share", [0.0, 1e-9, 0.5, 1.0])
def test_evidence_is_stable_to_ten_million_crashes(crashes: int, share: float) -> None:
    """No inf and no nan, all exposed or none."""
    for exposed in (0, crashes // 2, crashes):
        increment = ev.bernoulli_log_increment(np.array(float(exposed)), np.array(float(crashes)), np.array(share))
        assert np.isfinite(ev.log_mixture(increment))
        assert np.isfinite(
            ev.log_mixture(ev.poisson_log_increment(np.array(float(exposed)), np.array(crashes * share)))
        )


def test_log_sum_exp_takes_nothing_and_everything() -> None:
    """-inf terms count as nothing, huge ones do not overflow."""
    assert ev.log_sum_exp(np.array([-np.inf, -np.inf])) == -np.inf
    assert ev.log_sum_exp(np.array([-np.inf, 3.0])) == pytest.approx(3.0)
    assert ev.log_sum_exp(np.array([1e7, 1e7])) == pytest.approx(1e7 + math.log(2))
    assert ev.log_sum_exp(np.array([-1e7, -1e7])) == pytest.approx(-1e7 + math.log(2))


@given(st.floats(1e-6, 1 - 1e-6), st.floats(1, 10))
def test_the_null_share_grows_with_the_tolerated_risk(share: float, risk: float) -> None:
    """A risk of 1 leaves the share as it is; a larger one raises it, never beyond 1."""
    assert ev.null_share(np.array(share), 1.0) == pytest.approx(share)
    assert share - 1e-12 <= ev.null_share(np.array(share), risk) <= 1.0


@pytest.mark.parametrize(("horizon", "published"), [(2, 3.046977), (5, 3.297183), (10, 3.467952)])
def test_maxsprt_has_the_published_critical_values(horizon: int, published: float) -> None:
    """Kulldorff et al. 2011, table 1, alpha 0.05."""
    assert critical_value(0.05, horizon) == pytest.approx(published, abs=2e-5)


def trials_with(exposed: float, total: float, strata: int = 2) -> Trials:
    """One update in stratum 0; as many trials without it in the other strata."""
    trials = Trials()
    trials.resize(Sizes(strata, 1, 0))
    trials.advance(1_000)
    for stratum in range(strata):
        at = np.array([1_000]), np.array([0]), np.array([stratum])
        trials.add_trials(*at, np.array([total]))
    here = np.array([1_000]), np.array([0]), np.array([0])
    trials.add_listed(trials.exposed, *here, np.array([0]), np.array([exposed]))
    return trials


def upper(exposed: float, total: float) -> float:
    trials = trials_with(exposed, total)
    return float(trials.shares(np.array([0]), np.ones((1, trials.trials.shape[2]))).upper[0, 0])


def lower(exposed: float, total: float) -> float:
    return float(trials_with(exposed, total).lower_share(np.array([0]))[0, 0])


def test_the_upper_share_is_positive_without_any_exposure() -> None:
    """Nobody exposed yet, or nobody seen at all: still not impossible."""
    assert 0 < upper(0, 0) <= 1
    assert 0 < upper(0, 10_000) < 0.001


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5_000), st.integers(0, 5_000))
def test_the_shares_enclose_the_point_estimate(exposed: int, others: int) -> None:
    """lower <= exposed/total <= upper, both within 0 and 1."""
    total = exposed + others
    if total:
        assert 0 <= lower(exposed, total) <= exposed / total + 1e-9
        assert exposed / total <= upper(exposed, total) + 1e-9
    assert upper(exposed, total) <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 500), st.integers(1, 100), st.integers(600, 2_000))
def test_the_upper_share_grows_with_exposure(exposed: int, more: int, total: int) -> None:
    """More exposed trials among as many never lower it."""
    assert upper(exposed, total) <= upper(exposed + more, total) + 1e-12


def test_a_boot_loop_counts_once_a_day() -> None:
    """1,500 crashes within a day are one; the next day's count again; signatures count by themselves."""
    recent = Recent()
    host = host_key("h1")
    assert [recent.first(host, T + 1_000 * n) for n in range(1_500)].count(True) == 1
    assert not recent.first(host, T - DAY_MS + 1)
    assert recent.first(host, T + DAY_MS)
    assert recent.first(host_key("h1", "0x50", "a.sys"), T)
    assert not recent.first(host_key("h1", "0x50", "a.sys"), T)
    assert recent.first(host_key("h1", "0x7e", "a.sys"), T)


def test_host_keys_do_not_run_into_each_other() -> None:
    """Parts are kept apart, and any text has a key."""
    assert host_key("ab", "c") != host_key("a", "bc")
    assert host_key("h") == host_key("h")
    assert 0 <= host_key("\ud800\x00'; DROP TABLE") < 1 << 64


def test_a_power_cut_is_one_event() -> None:
    """Three crashes a site, minute and kind count; other minutes, other sites, and hosts without one, are apart."""
    sites = SiteMinutes()
    start = T // MINUTE_MS * MINUTE_MS
    assert [sites.admit("ber", start + n, 3, ["hosts"]) for n in range(100)].count(True) == 3
    assert sites.admit("ber", start + MINUTE_MS, 3, ["hosts"])
    assert sites.admit("aus", start, 3, ["hosts"])
    assert all(sites.admit("", start, 3, ["hosts"]) for _ in range(10))


def test_a_report_of_two_kinds_needs_room_in_both() -> None:
    """What is refused in one of its kinds takes no place in the other."""
    sites = SiteMinutes()
    assert [sites.admit("ber", T, 3, ["0x50"]) for _ in range(5)].count(True) == 3
    assert not sites.admit("ber", T, 3, ["hosts", "0x50"])
    assert [sites.admit("ber", T, 3, ["hosts", "0x7e"]) for _ in range(5)].count(True) == 3


def test_long_texts_do_not_swell_what_is_remembered_of_sites() -> None:
    """Whatever endpoints call their sites and signatures, a site's minute takes a few bytes of a snapshot."""
    sites = SiteMinutes()
    assert sites.admit("s" * 128, T, 3, ["hosts", "c" * 128 + "m" * 128])
    assert len(pack(sites.counts)) < 2 * 16


def test_positions_are_bounded_and_used_again() -> None:
    """A full registry answers -1; a freed position is given to the next; the same survives a snapshot."""
    index: NameIndex[str] = NameIndex(2)
    assert [index.add(name) for name in ("a", "b", "a", "c")] == [0, 1, 0, -1]
    index.remove(0)
    assert (index.get("a"), len(index), index.live()) == (-1, 2, [(1, "b")])
    restored: NameIndex[str] = NameIndex(2, list(index.names))
    assert [restored.add("d"), restored.get("b")] == [0, 1]


def test_samples_keep_the_smallest_hashes_in_any_order() -> None:
    """Adding is idempotent, and neither order nor repetition shows."""
    draw = random.Random(5)
    rows = [(BIN_MINUTES * 7 + draw.randrange(10), draw.randrange(3), draw.getrandbits(64)) for _ in range(600)]
    kept = []
    for order in (rows, rows[::-1], [*rows, *rows]):
        samples = Samples()
        for minute, stratum, host in order:
            samples.add([SampleRecord(minute, 0, host, (stratum,), ())], [stratum], Same())
        kept.append(samples.bins)
    assert kept[0] == kept[1] == kept[2]
    for stratum, cell in kept[0][7].items():
        assert sorted(cell) == sorted(h for _, s, h in rows if s == stratum)[:SAMPLES_PER_STRATUM_BIN]


def test_samples_tell_the_share_of_hosts_without_another_update() -> None:
    """Of hosts without update 1, half have update 0; excluded ones are in neither count."""
    samples = Samples()
    lists = [((0,), ()), ((), ()), ((0, 1), ()), ((1,), ()), ((), (0,))]
    for host, (exposed, excluded) in enumerate(itertools.chain(lists, lists)):
        samples.add([SampleRecord(10, 0, host, exposed, excluded)], [0], Same())
    shares = samples.shares(update=0, without=1, strata=1, since_bin=1)
    assert (shares.eligible.sum(), shares.exposed.sum()) == (4, 2)
    samples.forget(np.array([0]))
    assert samples.shares(update=0, without=1, strata=1, since_bin=1).exposed.sum() == 0


POLICY = """
[default]
alpha = 1e-5
clear_risk_by_ring = { canary = 10 }

[[update]]
vendor = "contoso"
mode = "shadow"

[[update]]
vendor = "contoso"
product = "edr"
minimum_crashed_hosts = 7
"""


def test_the_last_rule_that_matches_holds() -> None:
    """Rules inherit the default; the built-in policy holds without a file."""
    policies = load_policies(POLICY)
    assert policies.for_update(UPDATE).mode == "enforce"
    assert policies.for_update(UpdateId("contoso", "vpn", "1")).mode == "shadow"
    edr = policies.for_update(UpdateId("contoso", "edr", "1"))
    assert (edr.mode, edr.minimum_crashed_hosts, edr.alpha) == ("enforce", 7, 1e-5)
    assert (edr.clear_risk_in("canary"), edr.clear_risk_in("broad")) == (10, 2.0)
    assert load_policies("") == PolicySet()
    assert edr.digest != PolicySet().default.digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alpha = ", ["not valid TOML"]),
        ("[defaults]", ["[defaults]", "did you mean [default]?"]),
        ("alpha = 0.1", ["alpha = 0.1 stands outside of a table", "under [default]"]),
        ("alhpa = 0.1", ["alhpa = 0.1", "did you mean alpha?", "under [default]"]),
        ("vendor = 'x'", ["vendor = 'x'", "under [[update]]"]),
        ("[crowdstrike]\nmode = 'shadow'", ["[crowdstrike]", "[[update]] with `vendor`"]),
        ("[default]\nalpha = 0.5", ["[default]", "alpha", "0.5", "<= 0.1"]),
        ("[default]\nalpha = 'low'", ["alpha", "'low'", "float"]),
        ("[default]\nmode = 'off'", ["mode", "'off'", "enforce, shadow"]),
        ("[default]\nminimum_crashed_hosts = 0", ["minimum_crashed_hosts", "0", ">= 1"]),
        ("[default]\nclear_risk_by_ring = { canary = 1 }", ["clear_risk_by_ring", "canary", "> 1"]),
        (
            "[default]\nalhpa = 0.1",
            ["[default] alhpa = 0.1", "did you mean alpha?", "known: alarm_alpha, alpha, clear_alpha"],
        ),
        ("[default]\nvendor = 'x'", ["[default] vendor = 'x'", "known: alarm_alpha"]),
        ("[[update]]\nvendor = 'x'\nalhpa = 0.1", ["number 1 alhpa = 0.1", "known: alpha", "product", "vendor"]),
        ("[[update]]\nvendor = 'x'\ncrashes_per_site_minute = 9", ["crashes_per_site_minute = 9", "only [default]"]),
        ("[[update]]\nvendor = 'x'\nalarm_alpha = 0.01", ["alarm_alpha = 0.01", "only [default]"]),
        ("[update]\nvendor = 'x'", ["[[update]]"]),
        ("default = 3", ["[default]"]),
        ("update = [3]", ["[[update]]"]),
        ("[[update]]\nproduct = 'x'", ["[[update]] number 1", "vendor"]),
        ("[[update]]\nvendor = 'x'\n[[update]]\nvendor = 'y'\nalpha = 0", ["number 2", "alpha", "> 0"]),
    ],
)
def test_a_policy_error_names_where_what_and_what_is_right(text: str, words: list[str]) -> None:
    """Table, key, value, and what would be right."""
    with pytest.raises(PolicyError) as error:
        load_policies(text)
    assert all(word in str(error.value) for word in words), str(error.value)
