"""What a statement of an account with a role may not name. Pure.

The engine is embedded, and reads files as the command-line client does: no privilege stops a scalar `file('…')`, nor a
format that takes its template from a file. Whoever could name them could read this machine's secrets, and forge halts
with the key. (Table functions that reach out are the engine's own to refuse: no SOURCES.)
"""

import re

from pipeline.local.clickhouse_sql import Statement, StatementError, tokens

_NAMES = frozenset({"file", "eval"})  # eval: runs text as SQL, which nobody has looked at
_SETTINGS = re.compile(
    r"format_template|format_schema|output_format_schema|input_format_record_errors_file|rename_files_after"
    r"|format_avro_schema_registry|allow_experimental_eval|http_allow_|allow_introspection",
    re.IGNORECASE,
)


def check(sql: bytes, statement: Statement) -> None:
    """Raises StatementError for a statement that names what reaches out of the database.

    Text in strings is data and may say anything; so may the data of an INSERT … FORMAT, but for Values, whose data are
    expressions. A quoted name with a backslash is refused as such: what it spells is not known here.
    """
    data_at = statement.data_at if statement.format.upper() != "VALUES" else 0
    for quoted, text in tokens(sql[: data_at or len(sql)]):
        if quoted and text[0] not in '`"':
            continue  # a string
        if quoted and "\\" in text:
            raise _refused(text)
        check_name(text[1:-1] if quoted else text)


def check_name(name: str) -> None:
    """Raises StatementError for the name of such a function or setting."""
    if name.lower() in _NAMES or _SETTINGS.match(name):
        raise _refused(name)


def _refused(what: str) -> StatementError:
    return StatementError(497, "ACCESS_DENIED", f"{what!r} is not for this user: it can reach out of the database")
