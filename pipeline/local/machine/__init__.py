"""What a line needs of the machine: child processes that do not outlive it, their use, free ports, private files."""
