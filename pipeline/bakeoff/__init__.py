"""The bake-off: seeded families of rollouts with the truth beside them, and every rule that decides, on one stream."""
