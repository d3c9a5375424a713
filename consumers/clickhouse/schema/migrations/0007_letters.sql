-- A flood of garbage must not be kept for ever: the bytes are on the topic for a week and here for three months.
ALTER TABLE dead_letters MODIFY COLUMN at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1));

ALTER TABLE dead_letters MODIFY TTL toDateTime(at) + INTERVAL 90 DAY;
