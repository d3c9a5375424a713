-- What the detector said of a fleet that crashed far more than it ever did, with nobody to be named for it.
CREATE TABLE alarms
(
    fleet LowCardinality(String) COMMENT 'name of the fleet',
    at DateTime64(3, 'UTC') COMMENT 'when it was said, by the events' CODEC(Delta, ZSTD(1)),
    state LowCardinality(String) COMMENT 'sounding or over',
    since DateTime64(3, 'UTC') COMMENT 'when the crashes began to be too many, by the events',
    over_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it was over, by the events; NULL: it sounds',
    ended LowCardinality(String) COMMENT 'why: usual (as few as before), named (by a halt), lasting (for a day)',
    crashed_hosts UInt64 COMMENT 'since then, those aside that a halted update explains',
    usual Float64 COMMENT 'as many as there would be in the worst usual hour',
    rise Float64 COMMENT 'the one over the other',
    tolerated_rise Float64 COMMENT 'up to which it is no alarm',
    log10_evidence Float64 COMMENT 'power of ten of the evidence that it rose by more',
    threshold Float64 COMMENT 'power of ten at which it sounds',
    signatures Array(String) COMMENT 'what most of them reported: code / module',
    rings Array(LowCardinality(String)) COMMENT 'where most of them are',
    suspects Array(String) COMMENT 'vendor/product/version that speak for something, and cannot be named',
    flags Array(LowCardinality(String)) COMMENT 'no_history: nothing was known of the fleet',
    record String COMMENT 'the alarm as it was signed' CODEC(ZSTD(3)),
    source_partition UInt32 COMMENT 'partition of fleet.verdicts',
    source_offset UInt64 COMMENT 'offset in it'
)
ENGINE = ReplacingMergeTree
ORDER BY (fleet, since, at, source_partition, source_offset)
SETTINGS non_replicated_deduplication_window = 10000;

ALTER TABLE alarms MODIFY COMMENT 'Every word of an unattributed alarm of a fleet; times are of the events; read with FINAL';

CREATE VIEW fleet_alarms AS
SELECT
    fleet, since,
    min(alarms.at) AS told_at,
    max(alarms.over_at) AS over_at,
    argMax(alarms.state, alarms.at) AS state,
    argMax(alarms.ended, alarms.at) AS ended,
    argMax(alarms.crashed_hosts, alarms.at) AS crashed_hosts,
    argMax(alarms.usual, alarms.at) AS usual,
    argMax(alarms.rise, alarms.at) AS rise,
    argMax(alarms.signatures, alarms.at) AS signatures,
    argMax(alarms.rings, alarms.at) AS rings,
    argMax(alarms.suspects, alarms.at) AS suspects,
    argMax(alarms.flags, alarms.at) AS flags
FROM alarms
GROUP BY fleet, since;

ALTER VIEW fleet_alarms COMMENT COLUMN fleet 'name of the fleet',
    COMMENT COLUMN since 'when the crashes began to be too many, by the events',
    COMMENT COLUMN told_at 'when it was first said, by the events',
    COMMENT COLUMN over_at 'when it was over; NULL: it sounds',
    COMMENT COLUMN state 'sounding or over', COMMENT COLUMN ended 'usual, named or lasting',
    COMMENT COLUMN crashed_hosts 'hosts that crashed, and nobody is to be named for',
    COMMENT COLUMN usual 'as many as there would be in the worst usual hour',
    COMMENT COLUMN rise 'the one over the other', COMMENT COLUMN signatures 'what most of them reported',
    COMMENT COLUMN rings 'where most of them are', COMMENT COLUMN suspects 'updates that speak for something',
    COMMENT COLUMN flags 'no_history: nothing was known of the fleet';

ALTER VIEW fleet_alarms MODIFY COMMENT 'Each unattributed alarm of a fleet: from when, until when, how many hosts';
