#!/bin/bash
# Run by ClickHouse's image when its directory is new: the accounts of users.sql, each with the password of its secret.
# Only the passwords' hashes are sent, and on standard input.
set -euo pipefail
CLICKHOUSE_PASSWORD=$(cat "$CLICKHOUSE_PASSWORD_FILE")
export CLICKHOUSE_PASSWORD
{
    cat /etc/andon/users.sql
    for user in andon andon_write andon_read andon_grafana andon_backup; do
        hash=$(tr -d '\n' < "/run/secrets/clickhouse-$user" | sha256sum | cut -d' ' -f1)
        echo "ALTER USER $user IDENTIFIED WITH sha256_hash BY '$hash' HOST ANY;"
    done
} | clickhouse-client --user "$CLICKHOUSE_USER" --multiquery
