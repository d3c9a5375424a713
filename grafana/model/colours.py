"""Colours that people who see colours differently tell apart (Okabe and Ito, 2008), and what they stand for. A colour
never says alone what matters: beside it stands a word or a number."""

from collections.abc import Mapping

BLUE = "#0072B2"  # as it should be
ORANGE = "#E69F00"  # look at it
RED = "#D55E00"  # act
SKY = "#56B4E9"
PURPLE = "#CC79A7"
GREY = "#8C8C8C"  # says nothing, or is not known

# How updates and halts stand, in the words of verdicts, of `andon halts list` and of acknowledgements.
STATES: Mapping[str, str] = {
    "halted": RED,
    "standing": RED,
    "in force": RED,
    "expired": RED,
    "unknown": RED,
    "pending": ORANGE,
    "unanswered": ORANGE,
    "requested": ORANGE,
    "failed": RED,
    "resumed": PURPLE,
    "shadow_halted": SKY,
    "watching": GREY,
    "cleared": BLUE,
    "confirmed": BLUE,
    "effective": BLUE,
}
