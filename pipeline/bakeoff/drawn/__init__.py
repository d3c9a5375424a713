"""Fleets drawn at random, each a seeded combination of all that the simulator can vary: nobody tuned a rule on them."""
