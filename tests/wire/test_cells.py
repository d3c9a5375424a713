"""A cell's number and what it stands for."""

import numpy as np

from pipeline.wire.cells import BOOT, HEARTBEAT, KINDS, cell_count, cell_of, kind_of, stratum_of


def test_a_cell_says_its_stratum_and_its_kind() -> None:
    """Every stratum and kind have a number of their own, below the number of cells, and it leads back to both."""
    pairs = [(stratum, kind) for stratum in range(50) for kind in (BOOT, HEARTBEAT)]
    cells = [cell_of(stratum, kind) for stratum, kind in pairs]
    assert [(stratum_of(cell), kind_of(cell)) for cell in cells] == pairs
    assert sorted(cells) == list(range(cell_count(50)))


def test_arrays_are_taken_like_numbers() -> None:
    """An array of cells gives what its numbers give one by one."""
    strata, kinds = np.repeat(np.arange(50), KINDS), np.tile([BOOT, HEARTBEAT], 50)
    cells = cell_of(strata, kinds)
    assert cells.tolist() == [cell_of(s, k) for s, k in zip(strata.tolist(), kinds.tolist(), strict=True)]
    assert (stratum_of(cells) == strata).all()
    assert (kind_of(cells) == kinds).all()


def test_the_number_is_part_of_the_wire_format() -> None:
    """Partials of an older release are read by a newer one: boots of the third stratum are cell 4, heartbeats 5."""
    assert (cell_of(2, BOOT), cell_of(2, HEARTBEAT)) == (4, 5)
