"""`andon halts …`: a table of commands, each imported when it is called."""

from pipeline.cli import LazyGroup

COMMANDS = {
    "list": ("pipeline.halts.listing:command", "What stands halted, waits, was resumed, or is unknown."),
    "show": ("pipeline.halts.show:command", "One halt whole: evidence, who obeyed, whether it spreads."),
    "why": ("pipeline.halts.why:command", "Why is it halted, or not? One screen, and what to do next."),
    "force": ("pipeline.halts.people:force", "Halt an update now, by your signature alone."),
    "resume": ("pipeline.halts.people:resume", "Propose to lift a halt for a time."),
    "extend": ("pipeline.halts.people:extend", "Propose that a resume stands longer."),
    "withdraw": ("pipeline.halts.people:withdraw", "Take a proposal back before it is approved."),
    "approve": ("pipeline.halts.people:approve", "Complete another's proposal, or release a halt that waits."),
}

command = LazyGroup(COMMANDS, "halts", "Halts: what stands, why, and who obeys; and people in command.")
