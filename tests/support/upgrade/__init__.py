"""What an earlier version leaves behind for the next one: written under that version, read under this one."""
