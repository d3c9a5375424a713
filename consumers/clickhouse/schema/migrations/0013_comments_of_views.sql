-- The same of the views. ALTER VIEW is ours: ClickHouse says ALTER TABLE, and on a cluster a view has no local twin.

ALTER VIEW events_once COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN host 'name of the host',
    COMMENT COLUMN kind 'boot, crash or heartbeat', COMMENT COLUMN ts 'moment of the report by the host (UTC)',
    COMMENT COLUMN ingested_at 'when Kafka had it (UTC)', COMMENT COLUMN ring 'rollout ring of the host, as it said',
    COMMENT COLUMN os 'operating system, as the host said', COMMENT COLUMN model 'hardware model, as the host said',
    COMMENT COLUMN region 'where the host is, as it said; may be empty',
    COMMENT COLUMN site 'site of the host, as it said; may be empty',
    COMMENT COLUMN prior 'of a boot: how the session before ended',
    COMMENT COLUMN prior_ended_at 'of a boot: when the session before ended, if the host knows',
    COMMENT COLUMN signature_code 'bugcheck or exception code of the crash, as the host said',
    COMMENT COLUMN signature_module 'module that crashed, as the host said',
    COMMENT COLUMN `updates.vendor` 'vendors of the updates that the host listed',
    COMMENT COLUMN `updates.product` 'their products, in the same order',
    COMMENT COLUMN `updates.version` 'their versions, in the same order',
    COMMENT COLUMN `updates.installed_at` 'when each was installed, in the same order',
    COMMENT COLUMN id 'id of the report', COMMENT COLUMN crashed 'whether it reports a crash';

ALTER VIEW strata_by_minute COMMENT COLUMN fleet 'name of the fleet',
    COMMENT COLUMN minute 'minute of the reports (UTC)', COMMENT COLUMN kind 'boot, crash or heartbeat',
    COMMENT COLUMN ring 'rollout ring of the host, as it said',
    COMMENT COLUMN os 'operating system, as the host said', COMMENT COLUMN model 'hardware model, as the host said',
    COMMENT COLUMN events 'distinct reports', COMMENT COLUMN crashes 'distinct crash reports',
    COMMENT COLUMN hosts 'distinct hosts that reported', COMMENT COLUMN crashed_hosts 'distinct hosts that crashed';

ALTER VIEW strata_by_hour COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN hour 'hour of the reports (UTC)',
    COMMENT COLUMN kind 'boot, crash or heartbeat', COMMENT COLUMN ring 'rollout ring of the host, as it said',
    COMMENT COLUMN os 'operating system, as the host said', COMMENT COLUMN model 'hardware model, as the host said',
    COMMENT COLUMN crashes 'distinct crash reports', COMMENT COLUMN hosts 'distinct hosts that reported',
    COMMENT COLUMN crashed_hosts 'distinct hosts that crashed';

ALTER VIEW updates_by_minute COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN minute 'minute of the reports (UTC)', COMMENT COLUMN ring 'rollout ring of the host, as it said',
    COMMENT COLUMN os 'operating system, as the host said', COMMENT COLUMN model 'hardware model, as the host said',
    COMMENT COLUMN crashes 'distinct crash reports', COMMENT COLUMN crashed_hosts 'distinct hosts that crashed';

ALTER VIEW updates_by_hour COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN hour 'hour of the reports (UTC)', COMMENT COLUMN ring 'rollout ring of the host, as it said',
    COMMENT COLUMN os 'operating system, as the host said', COMMENT COLUMN model 'hardware model, as the host said',
    COMMENT COLUMN crashes 'distinct crash reports', COMMENT COLUMN crashed_hosts 'distinct hosts that crashed';

ALTER VIEW crash_rate_by_update COMMENT COLUMN fleet 'name of the fleet',
    COMMENT COLUMN vendor 'vendor of the update', COMMENT COLUMN product 'product of the update',
    COMMENT COLUMN version 'version of the update', COMMENT COLUMN hosts 'distinct hosts that listed it as installed',
    COMMENT COLUMN crashed_hosts 'distinct hosts that crashed', COMMENT COLUMN crashes 'distinct crash reports',
    COMMENT COLUMN crash_rate 'crashed_hosts / hosts',
    COMMENT COLUMN crash_rate_low 'lower 95 % limit of it (Wilson)',
    COMMENT COLUMN crash_rate_high 'upper 95 % limit of it (Wilson)';

ALTER VIEW crash_rate_by_update_ring COMMENT COLUMN fleet 'name of the fleet',
    COMMENT COLUMN vendor 'vendor of the update', COMMENT COLUMN product 'product of the update',
    COMMENT COLUMN version 'version of the update', COMMENT COLUMN ring 'rollout ring of the host, as it said',
    COMMENT COLUMN hosts 'distinct hosts that listed it as installed',
    COMMENT COLUMN crashed_hosts 'distinct hosts that crashed', COMMENT COLUMN crashes 'distinct crash reports',
    COMMENT COLUMN crash_rate 'crashed_hosts / hosts',
    COMMENT COLUMN crash_rate_low 'lower 95 % limit of it (Wilson)',
    COMMENT COLUMN crash_rate_high 'upper 95 % limit of it (Wilson)';

ALTER VIEW crash_rate_by_update_model COMMENT COLUMN fleet 'name of the fleet',
    COMMENT COLUMN vendor 'vendor of the update', COMMENT COLUMN product 'product of the update',
    COMMENT COLUMN version 'version of the update', COMMENT COLUMN model 'hardware model, as the host said',
    COMMENT COLUMN hosts 'distinct hosts that listed it as installed',
    COMMENT COLUMN crashed_hosts 'distinct hosts that crashed', COMMENT COLUMN crashes 'distinct crash reports',
    COMMENT COLUMN crash_rate 'crashed_hosts / hosts',
    COMMENT COLUMN crash_rate_low 'lower 95 % limit of it (Wilson)',
    COMMENT COLUMN crash_rate_high 'upper 95 % limit of it (Wilson)';

ALTER VIEW crash_rate_by_update_os COMMENT COLUMN fleet 'name of the fleet',
    COMMENT COLUMN vendor 'vendor of the update', COMMENT COLUMN product 'product of the update',
    COMMENT COLUMN version 'version of the update', COMMENT COLUMN os 'operating system, as the host said',
    COMMENT COLUMN hosts 'distinct hosts that listed it as installed',
    COMMENT COLUMN crashed_hosts 'distinct hosts that crashed', COMMENT COLUMN crashes 'distinct crash reports',
    COMMENT COLUMN crash_rate 'crashed_hosts / hosts',
    COMMENT COLUMN crash_rate_low 'lower 95 % limit of it (Wilson)',
    COMMENT COLUMN crash_rate_high 'upper 95 % limit of it (Wilson)';

ALTER VIEW crash_rate_by_update_day COMMENT COLUMN fleet 'name of the fleet',
    COMMENT COLUMN vendor 'vendor of the update', COMMENT COLUMN product 'product of the update',
    COMMENT COLUMN version 'version of the update', COMMENT COLUMN day 'day of the reports (UTC)',
    COMMENT COLUMN hosts 'distinct hosts that listed it as installed',
    COMMENT COLUMN crashed_hosts 'distinct hosts that crashed', COMMENT COLUMN crashes 'distinct crash reports',
    COMMENT COLUMN crash_rate 'crashed_hosts / hosts',
    COMMENT COLUMN crash_rate_low 'lower 95 % limit of it (Wilson)',
    COMMENT COLUMN crash_rate_high 'upper 95 % limit of it (Wilson)';

ALTER VIEW crash_rate_by_day COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN day 'day of the reports (UTC)',
    COMMENT COLUMN hosts 'distinct hosts that reported', COMMENT COLUMN crashed_hosts 'distinct hosts that crashed',
    COMMENT COLUMN crashes 'distinct crash reports', COMMENT COLUMN crash_rate 'crashed_hosts / hosts',
    COMMENT COLUMN crash_rate_low 'lower 95 % limit of it (Wilson)',
    COMMENT COLUMN crash_rate_high 'upper 95 % limit of it (Wilson)';

ALTER VIEW crash_rate_by_ring COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN day 'day of the reports (UTC)',
    COMMENT COLUMN ring 'rollout ring of the host, as it said', COMMENT COLUMN hosts 'distinct hosts that reported',
    COMMENT COLUMN crashed_hosts 'distinct hosts that crashed', COMMENT COLUMN crashes 'distinct crash reports',
    COMMENT COLUMN crash_rate 'crashed_hosts / hosts',
    COMMENT COLUMN crash_rate_low 'lower 95 % limit of it (Wilson)',
    COMMENT COLUMN crash_rate_high 'upper 95 % limit of it (Wilson)';

ALTER VIEW crash_rate_by_model COMMENT COLUMN fleet 'name of the fleet',
    COMMENT COLUMN day 'day of the reports (UTC)', COMMENT COLUMN model 'hardware model, as the host said',
    COMMENT COLUMN hosts 'distinct hosts that reported', COMMENT COLUMN crashed_hosts 'distinct hosts that crashed',
    COMMENT COLUMN crashes 'distinct crash reports', COMMENT COLUMN crash_rate 'crashed_hosts / hosts',
    COMMENT COLUMN crash_rate_low 'lower 95 % limit of it (Wilson)',
    COMMENT COLUMN crash_rate_high 'upper 95 % limit of it (Wilson)';

ALTER VIEW crash_free_hosts COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN day 'day of the reports (UTC)',
    COMMENT COLUMN ring 'rollout ring of the host, as it said', COMMENT COLUMN hosts 'distinct hosts that reported',
    COMMENT COLUMN crashed_hosts 'distinct hosts that crashed',
    COMMENT COLUMN crash_free_hosts 'hosts that did not crash', COMMENT COLUMN crash_free_share 'their share',
    COMMENT COLUMN crash_free_share_low 'lower 95 % limit of it',
    COMMENT COLUMN crash_free_share_high 'upper 95 % limit of it';

ALTER VIEW top_signatures COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN day 'day of the reports (UTC)',
    COMMENT COLUMN signature_code 'bugcheck or exception code of the crash, as the host said',
    COMMENT COLUMN signature_module 'module that crashed, as the host said',
    COMMENT COLUMN hosts 'distinct hosts with it', COMMENT COLUMN crashes 'distinct crash reports',
    COMMENT COLUMN models 'distinct models with it', COMMENT COLUMN sites 'distinct sites with it';

ALTER VIEW new_signatures COMMENT COLUMN fleet 'name of the fleet',
    COMMENT COLUMN signature_code 'bugcheck or exception code of the crash, as the host said',
    COMMENT COLUMN signature_module 'module that crashed, as the host said',
    COMMENT COLUMN first_seen 'when it was first reported', COMMENT COLUMN first_host 'by which host',
    COMMENT COLUMN first_ring 'of which ring', COMMENT COLUMN newest_update_there 'what that host had installed last',
    COMMENT COLUMN last_seen 'when it was last reported', COMMENT COLUMN hosts 'distinct hosts with it',
    COMMENT COLUMN crashes 'distinct crash reports';

ALTER VIEW exposure_over_time COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN hour 'hour of the installation (UTC)', COMMENT COLUMN hosts 'hosts that installed it in it',
    COMMENT COLUMN hosts_so_far 'all that had it by its end';

ALTER VIEW halts_now COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN epoch 'number of the order; the higher one counts',
    COMMENT COLUMN action 'halt or resume: the newest', COMMENT COLUMN rings 'rings that it stops; * is all',
    COMMENT COLUMN first_issued_at 'when the first halt was made (UTC)',
    COMMENT COLUMN expires_at 'when it expires unless renewed; then nothing is known',
    COMMENT COLUMN decided_by 'andon, or an operator', COMMENT COLUMN reason 'why, in a sentence';

ALTER VIEW verdicts_now COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN ring 'rollout ring of the host, as it said',
    COMMENT COLUMN at 'time of the newest verdict, by the events (UTC)',
    COMMENT COLUMN state 'watching, halted, shadow_halted, pending, cleared or resumed',
    COMMENT COLUMN log10_evidence 'power of ten of the evidence',
    COMMENT COLUMN threshold 'power of ten at which it halts', COMMENT COLUMN crashed_hosts 'crashed hosts with it',
    COMMENT COLUMN exposed_trials 'boots, heartbeats and crashes of hosts with it',
    COMMENT COLUMN needs_trials 'trials that are missing to clear it',
    COMMENT COLUMN flags 'what to know about it; docs/design.md names them';

ALTER VIEW halt_moments COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN epoch 'number of the order; the higher one counts',
    COMMENT COLUMN rings 'rings that it stops; * is all',
    COMMENT COLUMN halted_at 'when the record was made, by the clock on the wall',
    COMMENT COLUMN decided_at 'when the crash that decided happened, by the events',
    COMMENT COLUMN crashed_hosts_at_halt 'crashed hosts with it, by then',
    COMMENT COLUMN replayed 'whether the events came in faster than life, or a day late',
    COMMENT COLUMN told_at 'how far the events had come when the record was made',
    COMMENT COLUMN heard_until 'last report within seven days',
    COMMENT COLUMN heard_since 'who has not reported since then, until heard_until, is silent';

ALTER VIEW machines_spared COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN halted_at 'when the first halt was made (UTC)',
    COMMENT COLUMN proof 'acknowledged, installations ended, or unproven',
    COMMENT COLUMN spared_low 'at least so many; 0 while unproven', COMMENT COLUMN spared_high 'at most so many',
    COMMENT COLUMN hosts_with_it 'hosts that listed it', COMMENT COLUMN crashed_hosts 'of these, reported a crash',
    COMMENT COLUMN hosts_without_it 'hosts that reported at the end and never listed it',
    COMMENT COLUMN hosts_in_line 'of these, had another version of the product',
    COMMENT COLUMN silent_hosts 'hosts that fell silent and never listed it: unknown',
    COMMENT COLUMN crash_rate_low 'share that it crashed if no silent host had it crash, lower limit',
    COMMENT COLUMN crash_rate_high 'share that it crashed if it crashed every silent host, upper limit';

ALTER VIEW time_to_halt COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN vendor 'vendor of the update',
    COMMENT COLUMN product 'product of the update', COMMENT COLUMN version 'version of the update',
    COMMENT COLUMN epoch 'number of the order; the higher one counts',
    COMMENT COLUMN released_at 'first installation that was reported',
    COMMENT COLUMN first_crash_at 'first crash with it',
    COMMENT COLUMN decided_at 'when the crash that decided happened, by the events',
    COMMENT COLUMN halted_at 'when the record was made, by the clock on the wall',
    COMMENT COLUMN stopped_at 'when the last subscriber had stopped',
    COMMENT COLUMN subscribers_stopped 'subscribers that said so',
    COMMENT COLUMN replayed 'whether the events came in faster than life, or a day late',
    COMMENT COLUMN seconds_release_to_decision 'released_at to decided_at',
    COMMENT COLUMN seconds_decision_to_halt 'decided_at to halted_at; NULL after a replay',
    COMMENT COLUMN seconds_halt_to_stopped 'halted_at to stopped_at',
    COMMENT COLUMN crashed_hosts_at_halt 'crashed hosts with it, when it was halted';

ALTER VIEW update_pairs COMMENT COLUMN fleet 'name of the fleet', COMMENT COLUMN update_a 'vendor/product/version',
    COMMENT COLUMN update_b 'vendor/product/version of another', COMMENT COLUMN hosts_both 'hosts that have both',
    COMMENT COLUMN hosts_only_a 'hosts that have only the first',
    COMMENT COLUMN hosts_only_b 'hosts that have only the second',
    COMMENT COLUMN overlap 'hosts_both as a share of all that have either';
