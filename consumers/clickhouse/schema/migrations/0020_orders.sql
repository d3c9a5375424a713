-- The newest order of each update with its own times: `first_issued_at` was that of the first order, beside the name and
-- the reason of whoever gave the newest. Of a halt and a resume of one epoch the halt holds, as for every reader.
DROP VIEW halts_now;

CREATE VIEW halts_now AS
SELECT
    fleet, vendor, product, version,
    max(orders.epoch) AS epoch,
    argMax(orders.action, orders.rank) AS action,
    argMax(orders.rings, orders.rank) AS rings,
    argMax(orders.first_issued_at, orders.rank) AS first_issued_at,
    argMax(orders.expires_at, orders.rank) AS expires_at,
    argMax(orders.decided_by, orders.rank) AS decided_by,
    argMax(orders.reason, orders.rank) AS reason
FROM
(
    SELECT
        fleet, vendor, product, version, epoch, action, (epoch, action = 'halt') AS rank,
        min(halts.issued_at) AS first_issued_at,
        argMax(halts.rings, halts.issued_at) AS rings,
        argMax(halts.expires_at, halts.issued_at) AS expires_at,
        argMax(halts.decided_by, halts.issued_at) AS decided_by,
        argMax(halts.reason, halts.issued_at) AS reason
    FROM halts
    GROUP BY fleet, vendor, product, version, epoch, action
) AS orders
GROUP BY fleet, vendor, product, version;

ALTER VIEW halts_now COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN epoch 'number of the order; the higher one counts',
    COMMENT COLUMN action 'halt or resume: the newest', COMMENT COLUMN rings 'rings that it stops; * is all',
    COMMENT COLUMN first_issued_at 'when this order was first made (UTC)',
    COMMENT COLUMN expires_at 'when it expires unless renewed; then nothing is known',
    COMMENT COLUMN decided_by 'andon, or an operator', COMMENT COLUMN reason 'why, in a sentence';

ALTER VIEW halts_now MODIFY COMMENT 'Each update that was ever halted: its newest order';
