"""What a statement's asker is told when it fails: ClickHouse's code, name and words."""

import re

_ERROR = re.compile(r"Code: (\d+)\. (DB::\w*Exception: .*)", re.DOTALL)


class EngineError(Exception):
    """What the engine raised, or the endpoint in its place: ClickHouse's error code, and a server's words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @classmethod
    def named(cls, code: int, name: str, text: str) -> "EngineError":
        """In a server's words."""
        return cls(code, f"Code: {code}. DB::Exception: {text}. ({name})")

    @classmethod
    def of(cls, error: Exception) -> "EngineError":
        """From an exception of the engine's binding."""
        found = _ERROR.search(str(error))
        if found is None:
            return cls.named(1002, "UNKNOWN_EXCEPTION", str(error))
        return cls(int(found[1]), found[0])
