"""What a line needs of the machine: child processes that do not outlive it, and free ports."""
