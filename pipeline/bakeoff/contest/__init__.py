"""The contest: every contender and the oracle over the families, what came of it, and how it is told."""
