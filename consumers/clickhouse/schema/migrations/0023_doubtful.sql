-- Which updates later evidence speaks for instead of one that is halted.
ALTER TABLE verdicts ADD COLUMN doubted_for Array(String)
    COMMENT 'updates (vendor/product/version) that later evidence speaks for instead of this one, which is halted';

-- Halts that are in doubt by their newest verdict, and who is to blame instead.
CREATE VIEW doubtful_halts AS
SELECT
    fleet, vendor, product, version,
    max(newest.told_at) AS at,
    groupUniqArrayArray(newest.better) AS doubted_for,
    max(newest.evidence) AS log10_evidence
FROM
(
    SELECT
        fleet, vendor, product, version, ring,
        max(verdicts.at) AS told_at,
        argMax(verdicts.state, verdicts.at) AS state,
        argMax(verdicts.flags, verdicts.at) AS flags,
        argMax(verdicts.doubted_for, verdicts.at) AS better,
        argMax(verdicts.log10_evidence, verdicts.at) AS evidence
    FROM verdicts
    GROUP BY fleet, vendor, product, version, ring
) AS newest
WHERE has(newest.flags, 'doubtful')
GROUP BY fleet, vendor, product, version;

ALTER VIEW doubtful_halts COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN at 'time of the newest verdict that says so, by the events (UTC)',
    COMMENT COLUMN doubted_for 'updates that later evidence speaks for instead',
    COMMENT COLUMN log10_evidence 'power of ten of its own evidence by now';

ALTER VIEW doubtful_halts MODIFY COMMENT 'Halts that later evidence speaks against, and what it speaks for instead';
