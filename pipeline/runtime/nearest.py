"""What somebody may have meant by a word that nobody knows."""

import difflib
from collections.abc import Iterable

MOST = 3


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """The known words that are near it, the nearest first; none if none is."""
    words = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(word.casefold(), words, MOST, 0.6)
    begun = [each for each in words if len(word) > 2 and (word.casefold() in each or each in word.casefold())]
    return [words[each] for each in dict.fromkeys([*found, *begun])][:MOST]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean a or b?`, to be put behind a refusal; "" if nothing is near."""
    found = nearest(word, known)
    return f"; did you mean {' or '.join(found)}?" if found else ""
