"""Backup and restore: encrypted, incremental, signed; and what was lost is stated, not guessed."""
