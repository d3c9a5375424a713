"""What reads Andon's topics: the ClickHouse archive, rollout systems, notifications."""
