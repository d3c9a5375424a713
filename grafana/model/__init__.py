"""What a dashboard is made of, typed; and the classic JSON that Grafana provisions from files (its newer schema it
refuses there). Written here rather than with grafana-foundation-sdk: that has no ClickHouse query, and of what it has
this needs a twentieth."""
