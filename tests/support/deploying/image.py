"""What deploy/Dockerfile says of the image: how a container of it begins, as whom, with what."""

import json
import re
import shlex
from functools import cache
from typing import NamedTuple

from support.sources import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
NAME = "andon:"  # how compose and chart call it


class Image(NamedTuple):
    """Of the final stage."""

    entrypoint: list[str]
    healthcheck: list[str]
    environ: dict[str, str]
    user: int
    workdir: str


@cache
def image() -> Image:
    """The final stage's instructions that say so."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text("utf-8")).rpartition("\nFROM ")[2]
    said = dict(re.findall(r"^(ENTRYPOINT|HEALTHCHECK|ENV|USER|WORKDIR) (.*)$", text, re.MULTILINE))
    return Image(
        json.loads(said["ENTRYPOINT"]),
        json.loads(said["HEALTHCHECK"].partition(" CMD ")[2]),
        dict(word.split("=", 1) for word in shlex.split(said["ENV"])),
        int(said["USER"].partition(":")[0]),
        said["WORKDIR"],
    )
