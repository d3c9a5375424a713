"""`andon backup …`: a table of commands, each imported when it is called."""

from pipeline.cli import LazyGroup

COMMANDS = {
    "create": ("pipeline.backup.making:command", "Back up ClickHouse, topics, state, keys and policies, sealed."),
    "list": ("pipeline.backup.listing:command", "What the store holds, and how old the newest good one is."),
    "verify": ("pipeline.backup.verifying:command", "Read a backup whole; with an identity, unseal it as well."),
    "restore": ("pipeline.backup.restoring:command", "Bring a backup back into an empty place."),
    "prune": ("pipeline.backup.pruning:command", "Take old backups away, never the last good one."),
}

command = LazyGroup(COMMANDS, "backup", "Backup and restore: sealed, incremental, signed.")
