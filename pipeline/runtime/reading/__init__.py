"""Whether a stage reads on: one rule for all of them."""
