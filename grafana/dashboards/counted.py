"""What stages hold, and whatever else they count: the lower half of pipeline health."""

from collections.abc import Mapping

from grafana.model.kinds import lines
from grafana.model.panels import Panel
from grafana.model.queries import Query, metric, prom

HERE = 'instance=~"$instance"'
P99 = "histogram_quantile(0.99, sum by (le) (rate({}[$__rate_interval])))"
SMALL = {"width": 6, "height": 6}


def _small(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "ops",
    no_value: str = "none, or nobody tells",
    limits: Mapping[str, float] | None = None,
) -> Panel:
    return lines(title, description, *queries, unit=unit, no_value=no_value, limits=limits or {}, **SMALL)


def rate(name: str) -> str:
    """How much of a counter a second."""
    return f"rate({metric(name, HERE)}[$__rate_interval])"


def _by(name: str, *labels: str, legend: str = "") -> Query:
    """A counter's rate by these labels."""
    shown = legend or " ".join(f"{{{{{label}}}}}" for label in labels)
    return prom(f"sum by ({', '.join(labels)}) ({rate(name)})", shown)


NOTED = lines(
    "What became no evidence, or was mended?",
    "Late, undated, cut, ahead of the clock: by its word in docs/design.md, since the detector began.",
    prom(f"max by (what) ({metric('andon_noted', HERE)})", "{{what}}"),
    unit="none",
    width=12,
    no_value="nothing, or nobody tells",
)
BLIND = lines(
    "Where does telemetry show less than it seems to?",
    "Updates whose figures say less than they seem to, by the reason; what each costs: docs/design.md, half-blind "
    "telemetry.",
    prom(f"max by (reason) ({metric('andon_half_blind_updates', HERE)})", "{{reason}}"),
    unit="none",
    width=12,
    no_value="nowhere, or nobody tells",
)
USUAL = lines(
    "What is usual?",
    "Crashed hosts for each boot and heartbeat of a ring, of the last day and without halted updates: what the "
    "detector expects of hosts that have nothing new.",
    prom(f"max by (fleet, ring) ({metric('andon_baseline_crashes_per_trial')})", "{{fleet}} {{ring}}"),
    unit="percentunit",
    width=12,
    limits={"min": 0},
    no_value="no fleet has a day of history yet, or nobody tells",
)
STATE = [
    _small(
        "How much does the detector hold?",
        "Updates under watch, and times that there was no place for one.",
        prom(f"max({metric('andon_live_updates', HERE)})", "under watch"),
        prom(f"max({metric('andon_unwatched_updates', HERE)})", "no place"),
        unit="none",
        no_value="it is not scraped",
    ),
    _small(
        "How large is its state?",
        "Of the newest checkpoint of each fleet, compressed.",
        prom(f"max by (fleet) ({metric('andon_state_bytes')})", "{{fleet}}"),
        unit="bytes",
        no_value="nothing was saved yet, or nobody tells",
    ),
    _small(
        "How long does it take to save?",
        "A checkpoint of one fleet: 99 of 100 are faster.",
        prom(P99.format(metric("andon_checkpoint_seconds_bucket", HERE)), "99 %"),
        unit="s",
        limits={"min": 0},
        no_value="nothing was saved in this time, or nobody tells",
    ),
    _small(
        "How much disk is left?",
        "Share of the disk of each directory that a process writes to.",
        prom(
            f"min by (stage, directory) ({metric('andon_disk_free_bytes', HERE)}) / min by (stage, directory) "
            f"({metric('andon_disk_size_bytes', HERE)})",
            "{{stage}} {{directory}}",
        ),
        unit="percentunit",
        limits={"min": 0, "max": 1},
        no_value="no process here writes to a disk, or nobody tells",
    ),
]
STATE += [USUAL, NOTED, BLIND]
COUNTED = [
    _small(
        "How do updates stand?",
        "Updates by how they stand in their worst ring, and newest verdicts, one for each update and ring.",
        prom(f"count by (state) ({metric('andon_update_state')})", "updates: {{state}}"),
        prom(f"sum by (state) (max by (fleet, state) ({metric('andon_verdicts')}))", "verdicts: {{state}}"),
        unit="none",
        no_value="no update is under watch, or nobody tells",
    ),
    _small(
        "How often do their hosts crash?",
        "Crashes for each report of hosts that have it, and what was expected of them: of the three that crash most.",
        prom(
            f"topk(3, max by (arm, vendor, product, version) ({metric('andon_update_crashes_per_trial')}))",
            "{{arm}}: {{vendor}}/{{product}}/{{version}}",
        ),
        unit="percentunit",
        no_value="no update is under watch, or nobody tells",
    ),
    _small(
        "What do gauges leave out?",
        "Updates that no gauge names, for there are so many, and the most evidence against any of these (a power of "
        "ten).",
        prom(f"max by (fleet) ({metric('andon_updates_not_shown')})", "{{fleet}}: updates"),
        prom(f"max by (fleet) ({metric('andon_updates_not_shown_evidence_log10')})", "{{fleet}}: evidence"),
        unit="none",
        no_value="nothing, or nobody tells",
    ),
    _small(
        "What is read again?",
        "Messages that a stage's client handed over again, a second; they were left out.",
        _by("andon_read_again_total", "stage"),
        no_value="nothing, or nobody tells",
    ),
    _small(
        "How far has event time come?",
        "Now less the time of the newest event of a stage. In a fleet that sends little it grows between two events.",
        prom(f"time() - max by (stage) ({metric('andon_stream_time_seconds', HERE)} > 0)", "{{stage}}"),
        unit="s",
        no_value="no event was read, or nobody tells",
    ),
    _small(
        "What does the detector order?", "Halts that it published a second, by mode.", _by("andon_halts_total", "mode")
    ),
    _small(
        "What is commanded?",
        "Operators' commands that the detector answered, a second.",
        _by("andon_commands_total", "status", "reason"),
    ),
    _small(
        "Are records as they were left?",
        "Entries of fleet.audit that were found changed, missing or moved, a second.",
        _by("andon_audit_faults_total", "what"),
    ),
    _small(
        "How fresh is what it knows of halts?",
        "Age of the newest whole reading of fleet.halts.",
        prom(f"time() - max by (stage) ({metric('andon_halts_read_timestamp_seconds', HERE)} > 0)", "{{stage}}"),
        unit="s",
        no_value="nobody reads halts here, or nobody tells",
    ),
    _small(
        "How large are batches?",
        "Messages of one: half are smaller.",
        prom(f"histogram_quantile(0.5, sum by (stage, le) ({rate('andon_batch_messages_bucket')}))", "{{stage}}"),
        unit="none",
    ),
    _small("How many batches?", "Micro-batches that were committed, a second.", _by("andon_batches_total", "stage")),
    _small(
        "How much state is written?",
        "To the changelog, bytes a second.",
        prom(f"sum({rate('andon_changelog_bytes_total')})", "written"),
        unit="Bps",
    ),
    _small(
        "What is stored?",
        "Rows that ClickHouse has acknowledged, a second.",
        _by("andon_archive_rows_total", "table"),
        unit="wps",
    ),
    _small(
        "What went to the dead letters?",
        "Refused messages that were written to fleet.deadletter a second, and such that a token's quota left no room "
        "for.",
        _by("andon_deadletters_total", "stage"),
        _by("andon_deadletters_not_kept_total", "stage", legend="not kept: {{stage}}"),
    ),
    _small(
        "What was understood after all?",
        "Bodies that came in another form, a second.",
        _by("andon_understood_total", "form"),
    ),
    _small(
        "Whose clocks are ahead?",
        "Hosts whose clocks were ahead within the last day.",
        prom(f"max({metric('andon_clocks_ahead_hosts', HERE)})", "hosts"),
        unit="none",
        no_value="it is not scraped",
    ),
    _small(
        "Can tokens be read?",
        "1 while the tokens that were read before stay in force instead of the file.",
        prom(f"max({metric('andon_tokens_file_unusable', HERE)})", "unusable"),
        unit="none",
        no_value="no gateway is scraped",
    ),
    _small(
        "Does every fleet report?",
        "Boots, heartbeats and crashes that the detector took in a second, by fleet.",
        prom(f"sum by (fleet, kind) (deriv({metric('andon_fleet_reports')}[$__rate_interval]))", "{{fleet}} {{kind}}"),
        unit="cps",
        no_value="no fleet reports, or nobody tells",
    ),
    _small(
        "What does the supervisor keep?",
        "Of a line that `andon up` runs: processes that are up and ready, and how often any was started anew.",
        prom(f"sum({metric('andon_process_up', HERE)})", "up"),
        prom(f"sum(increase({metric('andon_process_restarts_total', HERE)}[$__rate_interval]))", "started anew"),
        unit="none",
        no_value="no andon up is scraped",
    ),
    _small(
        "How often was state recovered?",
        "Times within this time; the first is at the start.",
        prom(f"sum by (stage) (increase({metric('andon_recoveries_total', HERE)}[$__rate_interval]))", "{{stage}}"),
        unit="none",
    ),
    _small(
        "What fires by now?",
        "Alerts of halts, as `andon notify` sends them.",
        prom(f"max({metric('andon_notify_firing_alerts', HERE)})", "alerts"),
        unit="none",
        no_value="no andon notify is scraped",
    ),
]
