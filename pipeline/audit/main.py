"""`andon audit …`: a table of commands, each imported when it is called."""

from pipeline.cli import LazyGroup

COMMANDS = {"verify": ("pipeline.audit.verify:command", "Prove that the audit is whole, or say what is wrong.")}

command = LazyGroup(COMMANDS, "audit", "Audit: every command, answer and halt, chained and signed.")
