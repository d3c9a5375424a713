"""Draws of one value. Every draw comes from a generator that is handed in."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Value = TypeVar("Value")


def one_of(rng: np.random.Generator, weights: dict[Value, float]) -> Value:
    """One of the keys, as often as its weight says."""
    total = sum(weights.values())
    return list(weights)[int(rng.choice(len(weights), p=[weight / total for weight in weights.values()]))]


def any_of(rng: np.random.Generator, values: Sequence[Value]) -> Value:
    """One of them, all alike."""
    return values[int(rng.integers(len(values)))]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform: as often from 1 to 10 as from 10 to 100. Three digits, so that a family can be read."""
    return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")


def evenly(rng: np.random.Generator, low: float, high: float) -> float:
    """Uniform, to three decimals."""
    return round(float(rng.uniform(low, high)), 3)


def happens(rng: np.random.Generator, chance: float) -> bool:
    """So often."""
    return bool(rng.random() < chance)
