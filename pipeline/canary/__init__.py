"""How large a canary, and how long, until a fault would be halted: the detector itself over simulated rollouts."""
