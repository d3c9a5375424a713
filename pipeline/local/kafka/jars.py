"""Apache Kafka's jars and the Java that runs them: fetched once per user by Maven, then kept."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipeline.runtime.errors import AndonError

Say = Callable[[str], None]  # one line about something that takes a while

POM = Path(__file__).with_name("pom.xml")
PLUGIN_GOAL = "dependency:copy-dependencies"
OLDEST_JAVA = 17  # Kafka 4's brokers need it
FETCH_SECONDS = 600.0
JAVA_SECONDS = 20.0
# The compiler that starts fast, the collector that needs least, no files in /tmp/hsperfdata; a class archive that
# does not fit this Java is passed over in silence.
JVM_OPTIONS = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-Xlog:cds=off",
    "-Xlog:cds+dynamic=off",
)


class KafkaJars(NamedTuple):
    """What a broker's command line is made of. `archive`: shared classes, once made; they halve the time to start."""

    java: str
    jars: Path
    archive: Path

    def command(self, main: str, *arguments: str, heap_mib: int, options: tuple[str, ...] = ()) -> list[str]:
        """The command that runs a class of Kafka's."""
        shared = (f"-XX:SharedArchiveFile={self.archive}",) if self.archive.exists() and not options else ()
        path = ":".join(str(jar) for jar in sorted(self.jars.glob("*.jar")))  # in order: the archive depends on it
        return [self.java, f"-Xmx{heap_mib}m", *JVM_OPTIONS, *shared, *options, "-cp", path, main, *arguments]


def kafka_version() -> str:
    """Which Kafka this is, by the pom."""
    found = re.search(r"<kafka\.version>([^<]+)<", POM.read_text("utf-8"))
    if found is None:
        raise AndonError(f"{POM} names no kafka.version")
    return found[1]


def cache_dir() -> Path:
    """The user's own.

    Raises:
        AndonError: when nobody says where.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "andon"
    except RuntimeError as error:
        raise AndonError(f"no place to keep Apache Kafka's jars: {error}; set XDG_CACHE_HOME") from None


def find_jars(say: Say = lambda _: None) -> KafkaJars:
    """The jars, fetched if they are not there yet (20 s, 45 MB).

    Raises:
        AndonError: naming what is missing: Java, Maven, or the way to the repository.
    """
    java, build = find_java()
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    jars = cache_dir() / f"kafka-{kafka_version()}-{digest}"
    if not jars.is_dir():
        with locked():
            if not jars.is_dir():
                say(f"fetching Apache Kafka {kafka_version()} into {jars}")
                _fetch(jars)
    return KafkaJars(java, jars, jars / f"classes-{build}.jsa")


def find_java() -> tuple[str, str]:
    """Its path, and a word that tells this build of it from others.

    Raises:
        AndonError: when there is none, or one too old for Kafka.
    """
    java = shutil.which("java")
    if java is None:
        raise AndonError(
            f"Apache Kafka needs Java {OLDEST_JAVA} or newer, and there is no `java` in PATH: "
            "install one (Debian: openjdk-17-jre-headless), or use --broker embedded"
        )
    try:
        asked = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=JAVA_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AndonError(f"{java} cannot be run: {error}") from None
    found = re.search(r'version "(\d+)', asked.stderr)
    if found is None or int(found[1]) < OLDEST_JAVA:
        said = (asked.stderr.splitlines() or ["nothing"])[0]
        raise AndonError(f"Apache Kafka needs Java {OLDEST_JAVA} or newer; {java} -version says: {said}")
    return java, hashlib.sha256((java + asked.stderr).encode()).hexdigest()[:8]


@contextmanager
def locked() -> Iterator[None]:
    """One process at a time fetches, or makes the class archive.

    Raises:
        AndonError: when nothing can be kept there.
    """
    place = cache_dir()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (place / "kafka.lock").open("w")
    except OSError as error:
        why = error.strerror or error
        raise AndonError(f"Apache Kafka's jars cannot be kept in {place}: {why}; set XDG_CACHE_HOME") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise AndonError(
            "Apache Kafka's jars are not here yet, and there is no `mvn` in PATH to fetch them: "
            "install Maven (Debian: maven), or use --broker embedded"
        )
    with tempfile.TemporaryDirectory(prefix=jars.name + ".", dir=jars.parent) as half:
        argv = [
            maven,
            "-q",
            "-B",
            "-f",
            str(POM),
            PLUGIN_GOAL,
            "-DincludeScope=runtime",
            f"-DoutputDirectory={half}/jars",
        ]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False, cwd=half)
        except subprocess.TimeoutExpired:
            raise AndonError(f"Maven took more than {FETCH_SECONDS:.0f} s to fetch Apache Kafka's jars") from None
        if done.returncode:
            raise AndonError(f"Maven cannot fetch Apache Kafka's jars: {_reason(done.stdout + done.stderr)}")
        (Path(half) / "jars").rename(jars)  # whole or not at all


def _reason(said: str) -> str:
    """Maven's first error, and the usual cause of it."""
    errors = [line.removeprefix("[ERROR]").strip() for line in said.splitlines() if line.startswith("[ERROR]")]
    words = (errors or [said.strip() or "it said nothing"])[0][:500]
    if re.search(r"Could not transfer|Unknown host|UnknownHost|Connect|timed out|offline", said):
        return f"no way to the repository (network, proxy, or mirror in ~/.m2/settings.xml): {words}"
    return words
