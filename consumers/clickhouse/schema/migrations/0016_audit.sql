-- Every command, every answer and every halt, as the correlator chained and signed them. No row of it ever expires.
CREATE TABLE audit
(
    fleet LowCardinality(String) COMMENT 'whose chain it is',
    seq UInt64 COMMENT 'the number of the entry in it, from 0',
    at DateTime64(3, 'UTC') COMMENT 'when it was written',
    kind LowCardinality(String)
        COMMENT 'answer (to a command), lapse (a resume is over), issued (a halt that the detector decided)',
    command LowCardinality(String) COMMENT 'force, resume, approve or extend; empty: it answers no command',
    command_id String COMMENT 'as its author named it',
    operator LowCardinality(String) COMMENT 'who signed the command',
    outcome LowCardinality(String) COMMENT 'applied or refused',
    why LowCardinality(String) COMMENT 'reason code of a refusal',
    detail String COMMENT 'the answer in words',
    halt_key String COMMENT 'fleet/vendor/product/version that it is about',
    epoch UInt64 COMMENT 'of the record of fleet.halts that it holds; 0: it holds none',
    action LowCardinality(String) COMMENT 'of that record: halt or resume',
    partials_partition UInt32 COMMENT 'where its effect begins: partition of fleet.partials',
    partials_offset UInt64 COMMENT 'and the first partial that comes after it',
    kid LowCardinality(String) COMMENT 'key that signed it',
    record String COMMENT 'the entry as it was chained and signed' CODEC(ZSTD(3)),
    source_partition UInt32 COMMENT 'partition of fleet.audit',
    source_offset UInt64 COMMENT 'offset in it'
)
ENGINE = ReplacingMergeTree
ORDER BY (fleet, seq, source_partition, source_offset)
SETTINGS non_replicated_deduplication_window = 10000;
