"""Epochs: what is newer of one halt key."""

from typing import Annotated

import msgspec

MAX_EPOCH = 2**53 - 1  # the largest integer that every JSON reader keeps exact
Epoch = Annotated[int, msgspec.Meta(ge=1, le=MAX_EPOCH)]
