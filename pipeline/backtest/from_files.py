"""A backtest of files of events."""

from collections.abc import Iterable

from pipeline.backtest import lines
from pipeline.backtest.follow import ReadLines, follow
from pipeline.backtest.forms import Said
from pipeline.backtest.noted import InputNotes
from pipeline.backtest.run import Backtest
from pipeline.decide.policy import PolicySet


def judge(policies: PolicySet, files: Iterable[str], as_json: bool) -> None:
    """One after the other, as one stream.

    Raises:
        ConfigError: when one cannot be read.
        Unusable: when too little of them was events.
    """
    names = list(files)
    sizes = [lines.check(name) for name in names]
    notes = InputNotes()
    read = _read(names, lambda form: notes.forms.update([form]))
    follow(Backtest(policies, notes), read, sum(sizes) if all(sizes) else None, as_json)


def _read(files: Iterable[str], said: Said) -> ReadLines:
    """`said` gets the forms of them that had to be understood."""
    return lambda advance: (batch for name in files for batch in lines.batches(name, advance, said))
