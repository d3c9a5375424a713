"""Pure statistics and policy: evidence that an update crashes hosts, and what follows from it. No I/O, no clock."""
