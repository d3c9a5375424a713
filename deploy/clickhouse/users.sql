-- Andon's users on a ClickHouse server with access control by SQL. Run once by an administrator; then set a password each:
--     ALTER USER andon IDENTIFIED WITH sha256_password BY '…'      (or better: ssl_certificate, ldap, kerberos)
-- Until then nobody can log in as one of them. The database is `andon`; name yours if [clickhouse] database says otherwise.

-- Limits: a query of an analyst may take a minute, one of a dashboard 15 seconds; neither may raise that. readonly = 2
-- lets an analyst choose a shorter time and an answer's form, which clients do, and change nothing. 0 would be no limit:
-- MIN 1. Grafana's plugin sets two settings with every query, so these two may change although readonly = 1: how long it
-- waits (its queryTimeout and 5 s more), and whether answers are packed. Without that "Save & test" may pass, and every
-- query fails. A server takes CHANGEABLE_IN_READONLY where its <access_control_improvements> have
-- <settings_constraints_replace_previous>true, as the config.xml that ClickHouse ships has.
CREATE SETTINGS PROFILE IF NOT EXISTS andon_analyst SETTINGS
    readonly = 2,
    max_execution_time = 60 MIN 1 MAX 60,
    max_memory_usage = 8589934592 MIN 1 MAX 8589934592,
    max_result_rows = 10000000 MIN 1 MAX 10000000;

CREATE SETTINGS PROFILE IF NOT EXISTS andon_grafana SETTINGS
    readonly = 1,
    max_execution_time = 15 MIN 1 MAX 15 CHANGEABLE_IN_READONLY,
    enable_http_compression = 1 CHANGEABLE_IN_READONLY,
    max_memory_usage = 4294967296,
    max_result_rows = 1000000;

-- andon migrate, backfill, forget: owns the tables.
CREATE ROLE IF NOT EXISTS andon_owner;
GRANT SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE, SHOW ON andon.* TO andon_owner;
GRANT CREATE DATABASE ON andon.* TO andon_owner;
GRANT SELECT ON system.parts TO andon_owner;
-- backfill and migrate wait for INSERTs of whichever user that began before a new feed.
GRANT SELECT ON system.processes TO andon_owner;
-- Only for [clickhouse] cluster: ON CLUSTER; Distributed tables, and what runs on every replica; replicas that catch up.
GRANT CLUSTER, REMOTE ON *.* TO andon_owner;
GRANT SYSTEM SYNC REPLICA ON andon.* TO andon_owner;

-- andon archive: can insert into the tables that it fills, and do nothing else; on a cluster their rows are in …_local.
CREATE ROLE IF NOT EXISTS andon_writer;
GRANT INSERT ON andon.events TO andon_writer;
GRANT INSERT ON andon.verdicts TO andon_writer;
GRANT INSERT ON andon.heartbeats TO andon_writer;
GRANT INSERT ON andon.alarms TO andon_writer;
GRANT INSERT ON andon.halts TO andon_writer;
GRANT INSERT ON andon.halt_acks TO andon_writer;
GRANT INSERT ON andon.dead_letters TO andon_writer;
GRANT INSERT ON andon.audit TO andon_writer;
GRANT INSERT ON andon.events_local TO andon_writer;
GRANT INSERT ON andon.verdicts_local TO andon_writer;
GRANT INSERT ON andon.heartbeats_local TO andon_writer;
GRANT INSERT ON andon.alarms_local TO andon_writer;
GRANT INSERT ON andon.halts_local TO andon_writer;
GRANT INSERT ON andon.halt_acks_local TO andon_writer;
GRANT INSERT ON andon.dead_letters_local TO andon_writer;
GRANT INSERT ON andon.audit_local TO andon_writer;

-- andon backup create: has the server back the database up onto its disk for that, and can read nothing. A restore is the
-- owner's, or an administrator's.
CREATE ROLE IF NOT EXISTS andon_backup;
GRANT BACKUP ON andon.* TO andon_backup;
-- Newer releases ask for `GRANT WRITE ON DISK TO andon_backup`, too, which older ones do not know.

-- People: can read, and do nothing else.
CREATE ROLE IF NOT EXISTS andon_reader;
GRANT SELECT ON andon.* TO andon_reader;
-- What fills the aggregates is nobody's to read, and out of sight of SHOW TABLES.
REVOKE SELECT ON andon.crashes_feed FROM andon_reader;
REVOKE SELECT ON andon.hosts_feed FROM andon_reader;
REVOKE SELECT ON andon.ring_hours_feed FROM andon_reader;
REVOKE SELECT ON andon.stratum_days_feed FROM andon_reader;
REVOKE SELECT ON andon.stratum_hours_feed FROM andon_reader;
REVOKE SELECT ON andon.stratum_minutes_feed FROM andon_reader;
REVOKE SELECT ON andon.update_days_feed FROM andon_reader;
REVOKE SELECT ON andon.update_hours_feed FROM andon_reader;
REVOKE SELECT ON andon.update_installs_feed FROM andon_reader;
REVOKE SELECT ON andon.update_minutes_feed FROM andon_reader;

-- Dashboards: the same, but for what Andon keeps for itself.
CREATE ROLE IF NOT EXISTS andon_dashboard;
GRANT SELECT ON andon.* TO andon_dashboard;
REVOKE SELECT ON andon.crashes_feed FROM andon_dashboard;
REVOKE SELECT ON andon.hosts_feed FROM andon_dashboard;
REVOKE SELECT ON andon.ring_hours_feed FROM andon_dashboard;
REVOKE SELECT ON andon.stratum_days_feed FROM andon_dashboard;
REVOKE SELECT ON andon.stratum_hours_feed FROM andon_dashboard;
REVOKE SELECT ON andon.stratum_minutes_feed FROM andon_dashboard;
REVOKE SELECT ON andon.update_days_feed FROM andon_dashboard;
REVOKE SELECT ON andon.update_hours_feed FROM andon_dashboard;
REVOKE SELECT ON andon.update_installs_feed FROM andon_dashboard;
REVOKE SELECT ON andon.update_minutes_feed FROM andon_dashboard;
REVOKE SELECT ON andon.schema_migrations FROM andon_dashboard;
REVOKE SELECT ON andon.schema_objects FROM andon_dashboard;

CREATE USER IF NOT EXISTS andon IDENTIFIED WITH no_authentication HOST NONE DEFAULT ROLE andon_owner;
CREATE USER IF NOT EXISTS andon_write IDENTIFIED WITH no_authentication HOST NONE DEFAULT ROLE andon_writer;
CREATE USER IF NOT EXISTS andon_backup IDENTIFIED WITH no_authentication HOST NONE DEFAULT ROLE andon_backup;
CREATE USER IF NOT EXISTS andon_read IDENTIFIED WITH no_authentication HOST NONE DEFAULT ROLE andon_reader SETTINGS PROFILE 'andon_analyst';
CREATE USER IF NOT EXISTS andon_grafana IDENTIFIED WITH no_authentication HOST NONE DEFAULT ROLE andon_dashboard SETTINGS PROFILE 'andon_grafana';

GRANT andon_owner TO andon;
GRANT andon_writer TO andon_write;
GRANT andon_backup TO andon_backup;
GRANT andon_reader TO andon_read;
GRANT andon_dashboard TO andon_grafana;
