"""`andon bench faults`: kills, cuts and restarts under load, and every event accounted for."""
