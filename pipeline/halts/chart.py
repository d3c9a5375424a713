"""Evidence over time as a chart of plain text blocks. Pure."""

from collections.abc import Sequence

from pipeline.status.times import moment

BLOCKS = " ▁▂▃▄▅▆▇█"
LABEL_COLUMNS = 7
MAX_TIMES_THRESHOLD = 2.0  # evidence reaches 10^3000; what lies beyond says no more than the top row


def chart(points: Sequence[tuple[int, float]], threshold: float, width: int, height: int) -> list[str]:
    """Lines of at most `width` columns: `height` rows of blocks, and one of times.

    Args:
        points: moments (unix ms) and log10 of the evidence then; of a column's moments the largest is shown.
        threshold: log10 at which it halts: a row is marked with it.
    """
    columns = width - LABEL_COLUMNS - 1
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    highest = max(value for _, value in points)
    top = max(1.0, min(max(threshold, highest), threshold * MAX_TIMES_THRESHOLD))
    levels: list[float] = [0.0] * columns
    seen: set[int] = set()
    for at, value in points:
        column = round((at - first) / max(last - first, 1) * (columns - 1))
        levels[column] = max(levels[column], value) if column in seen else value
        seen.add(column)
    for column in range(1, columns):  # until something new was said, the last word holds
        if column not in seen:
            levels[column] = levels[column - 1]
    marked = min(height - 1, int(threshold / top * height)) if threshold <= top else -1
    lines = []
    for row in reversed(range(height)):
        highest_label = f"{'≥' if highest > top else ''}10^{top:.3g}"
        label = f"10^{threshold:g}" if row == marked else highest_label if row == height - 1 else ""
        bar = "".join(_block(level / top * height - row) for level in levels)
        if row == marked:
            bar = "".join("┄" if block == " " else block for block in bar)
        lines.append(f"{label:>{LABEL_COLUMNS}} {bar}".rstrip())
    begin, end = moment(first)[11:], moment(last)[11:]
    lines.append(f"{'':{LABEL_COLUMNS}} {begin}{end:>{columns - len(begin)}}")
    return lines


def _block(share: float) -> str:
    return BLOCKS[max(0, min(8, round(share * 8)))]
