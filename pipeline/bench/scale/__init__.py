"""How much of a fleet of any size reaches the correlator, and what it makes of that."""
