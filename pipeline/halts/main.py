"""`andon halts …`: a table of commands, each imported when it is called."""

from pipeline.cli import LazyGroup

COMMANDS = {
    "list": ("pipeline.halts.listing:command", "What stands halted, waits, was resumed, or is unknown."),
    "show": ("pipeline.halts.show:command", "One halt whole: evidence, who obeyed, whether it spreads."),
    "why": ("pipeline.halts.why:command", "Why is it halted, or not? One screen, and what to do next."),
}

command = LazyGroup(COMMANDS, "halts", "Halts: what stands, why, and who obeys.")
