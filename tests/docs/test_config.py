"""What is in deploy/ says what the code knows: every section, every key, every default, every right on Kafka."""

import ast
import tomllib
from pathlib import Path

import msgspec
import pytest
from support.secured import roles_shown, roles_table

from consumers.clickhouse.archive.config import ArchiveConfig
from consumers.clickhouse.connect import ClickHouseConfig
from consumers.notify.config import NotifyConfig
from consumers.rollout.settings import SubscriberConfig
from pipeline.access.roles import rights_of, shipped
from pipeline.backup.config import BackupConfig
from pipeline.collect.config import CollectConfig
from pipeline.combine.config import CombineConfig
from pipeline.correlate.config import CorrelateConfig
from pipeline.decide.policy import Policy, load_policies
from pipeline.doctor.rights import NEEDS
from pipeline.doctor.targets import STAGES, DoctorConfig
from pipeline.halt.trust import TrustConfig
from pipeline.local.clickhouse.config import EngineConfig
from pipeline.local.up import UpConfig
from pipeline.runtime import config
from pipeline.runtime.config import load
from pipeline.runtime.kafka import KafkaConfig
from pipeline.runtime.partials import PartialsConfig
from pipeline.runtime.secrets import is_secret
from pipeline.runtime.web.serving import MetricsConfig
from pipeline.status.main import StatusConfig
from pipeline.wire import topics
from pipeline.wire.hosts import HostsConfig
from pipeline.wire.partials import UpdateId

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "andon.toml"
POLICY = ROOT / "deploy" / "policy.toml"
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "kafka": KafkaConfig,
    "metrics": MetricsConfig,
    "partials": PartialsConfig,
    "hosts": HostsConfig,
    "collect": CollectConfig,
    "combine": CombineConfig,
    "correlate": CorrelateConfig,
    "archive": ArchiveConfig,
    "clickhouse": ClickHouseConfig,
    "engine": EngineConfig,
    "up": UpConfig,
    "status": StatusConfig,
    "doctor": DoctorConfig,
    "trust": TrustConfig,
    "subscriber": SubscriberConfig,
    "notify": NotifyConfig,
    "backup": BackupConfig,
}
WITHOUT_DEFAULT = {"collect": {"tokens_file": "/etc/andon/tokens.toml"}}


def section_text(section: str) -> str:
    """The lines of one section of the example."""
    return EXAMPLE.read_text("utf-8").partition(f"\n[{section}]")[2].partition("\n[")[0]


@pytest.mark.parametrize("section", SECTIONS)
def test_example_loads_and_shows_the_defaults(section: str) -> None:
    """Each section is accepted as it stands and differs from the defaults only where there is none."""
    cls, more = SECTIONS[section], WITHOUT_DEFAULT.get(section, {})
    assert load(cls, section, file=EXAMPLE, environ={}, options={}) == cls(**more)


@pytest.mark.parametrize("section", SECTIONS)
def test_example_names_every_key(section: str) -> None:
    """Every key stands there; secrets as comments, with the environment variable to use."""
    names = {field.name for field in msgspec.structs.fields(SECTIONS[section])}
    secrets = {name for name in names if is_secret(name)}
    assert set(tomllib.loads(EXAMPLE.read_text("utf-8"))[section]) == names - secrets
    for name in secrets:
        assert f'# {name} = ""' in section_text(section)
        assert f"ANDON_{section}_{name}".upper() in section_text(section)


def test_example_has_every_section() -> None:
    """No command takes a section, or a struct for it, that the example does not have, and a file may have no other."""
    assert set(tomllib.loads(EXAMPLE.read_text("utf-8"))) == set(SECTIONS) == set(config.SECTIONS)
    known = {cls.__name__ for cls in SECTIONS.values()}
    used = set()
    for package in ("pipeline", "consumers"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "configured":
                    used |= {ast.unparse(pair.elts[1]) for pair in node.args if isinstance(pair, ast.Tuple)}
    assert {name.rpartition(".")[2] for name in used} == known


def test_policy_example_shows_every_key_and_the_defaults() -> None:
    """All keys of a policy stand there; all but the example of a ring are the built-in ones."""
    policies = load_policies(POLICY.read_text("utf-8"))
    document = tomllib.loads(POLICY.read_text("utf-8"))
    assert set(document["default"]) == {field.name for field in msgspec.structs.fields(Policy)}
    assert msgspec.structs.replace(policies.default, clear_risk_by_ring={}) == Policy()
    watched = policies.for_update(UpdateId("example-vendor", "agent", "1"))
    assert (watched.mode, watched.historical_may_halt) == ("shadow", False)
    assert policies.for_update(UpdateId("another", "agent", "1")) == policies.default


def test_roles_are_those_that_the_doctor_knows() -> None:
    """Each role of the file can be asked for with --as."""
    assert tuple(shipped()) == tuple(NEEDS) == STAGES


def test_the_page_shows_the_roles() -> None:
    """The table of deploy/README.md is made from deploy/acls.toml (`python tests/support/secured.py` writes it)."""
    assert roles_shown() == roles_table()


BOTH = ("read", "write")


def test_every_topic_has_a_writer_and_a_reader_beside_people() -> None:
    """No topic is forgotten: some stage, subscriber or operator writes it, and another reads it."""
    rights = [(name, right) for name, role in shipped().items() for right in rights_of(role) if not right.is_prefix]
    for topic in topics.ALL:
        does = {operation: {n for n, r in rights if r[1:] == (topic.name, False, operation)} for operation in BOTH}
        assert does["write"], topic.name
        assert does["read"], topic.name
