-- The newest verdict of each ring, with what its evidence is compared with.
DROP VIEW verdicts_now;

CREATE VIEW verdicts_now AS
SELECT
    fleet, vendor, product, version, ring,
    max(verdicts.at) AS at,
    argMax(verdicts.state, verdicts.at) AS state,
    argMax(verdicts.log10_evidence, verdicts.at) AS log10_evidence,
    argMax(verdicts.threshold, verdicts.at) AS threshold,
    argMax(verdicts.basis, verdicts.at) AS basis,
    argMax(verdicts.crashed_hosts, verdicts.at) AS crashed_hosts,
    argMax(verdicts.exposed_trials, verdicts.at) AS exposed_trials,
    argMax(verdicts.needs_trials, verdicts.at) AS needs_trials,
    argMax(verdicts.flags, verdicts.at) AS flags
FROM verdicts
GROUP BY fleet, vendor, product, version, ring;

ALTER VIEW verdicts_now COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN ring 'rollout ring of the host, as it said',
    COMMENT COLUMN at 'time of the newest verdict, by the events (UTC)',
    COMMENT COLUMN state 'watching, halted, shadow_halted, pending, cleared or resumed',
    COMMENT COLUMN log10_evidence 'power of ten of the evidence',
    COMMENT COLUMN threshold 'power of ten at which it halts',
    COMMENT COLUMN basis 'what it is compared with: concurrent, or historical, which assumes more',
    COMMENT COLUMN crashed_hosts 'crashed hosts with it, in this ring',
    COMMENT COLUMN exposed_trials 'boots, heartbeats and crashes of hosts with it',
    COMMENT COLUMN needs_trials 'trials that are missing to clear it',
    COMMENT COLUMN flags 'what to know about it; docs/design.md names them';

-- What each table and view is for, in a sentence, for `andon query tables` and whatever shows comments. "internal": nobody
-- asks it. On a cluster the rows' own tables (…_local) have them: ClickHouse comments on no Distributed table.

ALTER TABLE audit MODIFY COMMENT 'Every command, answer and halt, as the correlator chained and signed them';

ALTER TABLE crashes MODIFY COMMENT 'Every report of a crash, whole: three years; read with FINAL';

ALTER TABLE dead_letters MODIFY COMMENT 'Messages that were refused, their bytes untouched, with the reason: 90 days; read with FINAL';

ALTER TABLE events MODIFY COMMENT 'Every report of every host: 90 days; read with FINAL, or through events_once';

ALTER TABLE halt_acks MODIFY COMMENT 'What subscribers said to halts and resumes, as they signed it';

ALTER TABLE halts MODIFY COMMENT 'Every record of fleet.halts that was believed: halts, their renewals, and resumes; read with FINAL';

ALTER TABLE heartbeats MODIFY COMMENT 'Signs of life of the detector, a row each, by fleet: 90 days';

ALTER TABLE hosts MODIFY COMMENT 'Every host as it last said it was, with its updates: 400 days; read with FINAL';

ALTER TABLE stratum_days MODIFY COMMENT 'Days of each ring, system and model: sets of hosts and crashes, to be merged; three years';

ALTER TABLE stratum_hours MODIFY COMMENT 'Hours of each kind, ring, system and model: sets, to be merged; three years (strata_by_hour counts them)';

ALTER TABLE stratum_minutes MODIFY COMMENT 'Minutes of each kind, ring, system and model: sets, to be merged; 90 days (strata_by_minute counts them)';

ALTER TABLE update_days MODIFY COMMENT 'Days of each update by ring, system and model: sets of hosts and crashes, to be merged; three years';

ALTER TABLE update_hours MODIFY COMMENT 'Hours of each update: sets of crashes, to be merged; a year (updates_by_hour counts them)';

ALTER TABLE update_installs MODIFY COMMENT 'Hosts of each update by the hour in which they installed it: sets; a year (exposure_over_time counts them)';

ALTER TABLE update_minutes MODIFY COMMENT 'Minutes of each update: sets of crashes, to be merged; 90 days (updates_by_minute counts them)';

ALTER TABLE verdicts MODIFY COMMENT 'Every verdict on an update in a ring, with its evidence, as the detector said it; times are of the events';

ALTER VIEW crash_free_hosts MODIFY COMMENT 'Hosts that did not crash, and their share, by day and ring';

ALTER VIEW crash_rate_by_day MODIFY COMMENT 'Share of hosts that crashed, by day';

ALTER VIEW crash_rate_by_model MODIFY COMMENT 'Share of hosts that crashed, by day and model';

ALTER VIEW crash_rate_by_ring MODIFY COMMENT 'Share of hosts that crashed, by day and ring';

ALTER VIEW crash_rate_by_update MODIFY COMMENT 'Share of the hosts with each update that crashed, whatever crashed them';

ALTER VIEW crash_rate_by_update_day MODIFY COMMENT 'Share of the hosts with each update that crashed, by day, whatever crashed them';

ALTER VIEW crash_rate_by_update_model MODIFY COMMENT 'Share of the hosts with each update that crashed, by model, whatever crashed them';

ALTER VIEW crash_rate_by_update_os MODIFY COMMENT 'Share of the hosts with each update that crashed, by operating system, whatever crashed them';

ALTER VIEW crash_rate_by_update_ring MODIFY COMMENT 'Share of the hosts with each update that crashed, by ring, whatever crashed them';

ALTER VIEW events_once MODIFY COMMENT 'Every report of every host, once: what to read instead of events';

ALTER VIEW exposure_over_time MODIFY COMMENT 'How far each update had come, by hour of installation';

ALTER VIEW halt_moments MODIFY COMMENT 'When each halt was decided and told, in the time of the events, and how long its fleet was heard after it';

ALTER VIEW halts_now MODIFY COMMENT 'Each update that was ever halted: its newest order';

ALTER VIEW machines_spared MODIFY COMMENT 'What each halt can have spared, as a range, and what proves it';

ALTER VIEW new_signatures MODIFY COMMENT 'When and where each crash signature was first seen, and what had been installed there last';

ALTER VIEW obedience MODIFY COMMENT 'Who obeyed which order, and how fast; and who has not answered';

ALTER VIEW strata_by_hour MODIFY COMMENT 'Hosts, crashed hosts and crashes by hour, kind, ring, system and model';

ALTER VIEW strata_by_minute MODIFY COMMENT 'Reports, hosts, crashed hosts and crashes by minute, kind, ring, system and model';

ALTER VIEW time_to_halt MODIFY COMMENT 'From the release of an update to the decision, the halt and the last subscriber that stopped';

ALTER VIEW top_signatures MODIFY COMMENT 'Crash signatures by day, with hosts, models and sites';

ALTER VIEW update_pairs MODIFY COMMENT 'Updates that stand on the same hosts, and the hosts that tell them apart';

ALTER VIEW updates_by_hour MODIFY COMMENT 'Crashed hosts and crashes of each update by hour, ring, system and model';

ALTER VIEW updates_by_minute MODIFY COMMENT 'Crashed hosts and crashes of each update by minute, ring, system and model';

ALTER VIEW verdicts_now MODIFY COMMENT 'How each update stands in each ring by its newest verdict; times are of the events';

ALTER VIEW crashes_feed MODIFY COMMENT 'internal: fills crashes';

ALTER VIEW hosts_feed MODIFY COMMENT 'internal: fills hosts';

ALTER VIEW stratum_days_feed MODIFY COMMENT 'internal: fills stratum_days';

ALTER VIEW stratum_hours_feed MODIFY COMMENT 'internal: fills stratum_hours';

ALTER VIEW stratum_minutes_feed MODIFY COMMENT 'internal: fills stratum_minutes';

ALTER VIEW update_days_feed MODIFY COMMENT 'internal: fills update_days';

ALTER VIEW update_hours_feed MODIFY COMMENT 'internal: fills update_hours';

ALTER VIEW update_installs_feed MODIFY COMMENT 'internal: fills update_installs';

ALTER VIEW update_minutes_feed MODIFY COMMENT 'internal: fills update_minutes';
