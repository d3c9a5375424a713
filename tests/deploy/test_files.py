"""The files of deploy/, by the tools whose files they are; and what must stand in several of them is the same."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from support.deploying import compose
from support.deploying.image import DOCKERFILE, image
from support.outside import needs
from support.sources import ROOT
from support.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.service

DEPLOY = ROOT / "deploy"
STAGES = ("collect", "combine", "correlate", "archive", "notify")
BIN = Path(sys.executable).parent
MAX_EXPOSURE = 2.0  # of systemd's ten: below it says OK


def of_file(path: Path) -> dict[str, str]:
    """An .env file."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def run(*argv: object) -> str:
    """Standard output and error of a tool that has nothing against it."""
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_dockerfile_by_hadolint() -> None:
    """It has nothing to say."""
    assert run(BIN / "hadolint", "--no-color", DOCKERFILE) == ""


def test_the_image_is_nobodys_and_builds_nothing() -> None:
    """A user of its own; packages pinned with their hashes as constraints.txt has them; no pip in it."""
    assert image().user >= 1000
    pinned = (DEPLOY / "image" / "requirements.txt").read_text("utf-8")
    known = (ROOT / "constraints.txt").read_text("utf-8")
    blocks = re.findall(r"^[a-z].*?(?=^[a-z]|\Z)", pinned, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 20
    assert [block for block in blocks if block.strip() not in known] == []
    assert all("--hash=sha256:" in block for block in blocks)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["line"]]
    names = {re.split(r"[^\w.-]", need)[0].lower().replace(".", "-") for need in needed} - {"andon"}
    assert names <= {block.split("==")[0] for block in blocks}, "make lock"


@pytest.mark.parametrize("brokers", ["one", "three"])
def test_compose_by_docker_compose(tmp_path: Path, brokers: str) -> None:
    """Docker's own compose reads it; every image is of a version, every service bounded, and what is published is open
    to this machine alone."""
    model = yaml.safe_load(compose.ask(tmp_path, "config", brokers=brokers))
    kafkas = [name for name in model["services"] if name.startswith("kafka")]
    assert len(kafkas) == {"one": 1, "three": 3}[brokers]
    for name, service in model["services"].items():
        assert re.search(r":v?\d+\.\d+", service["image"]), name
        assert service["restart"] != "no"
        assert all(port.get("host_ip") == "127.0.0.1" for port in service.get("ports", [])), name
        if name not in ("topics", "migrate"):
            assert service["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory"}, name
        if service["image"].startswith("andon:"):
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
    assert not re.search(r"(?i)password: (?!/)\S", yaml.dump(model)), "a password is written down"


def test_composes_backup_is_one_of_its_services(tmp_path: Path) -> None:
    """Hardened and bounded as the stages are, started by nobody but who asks for it, with what the unit and the chart
    give theirs and nothing to write but where backups are kept and ClickHouse's disk for them."""
    assert "backup" not in yaml.safe_load(compose.ask(tmp_path, "config"))["services"]
    model = yaml.safe_load(compose.ask(tmp_path, "--profile", "backup", "config"))
    service, stage = model["services"]["backup"], model["services"]["archive"]
    for key in ("image", "read_only", "cap_drop", "security_opt", "networks", "logging"):
        assert service[key] == stage[key], key
    assert (service["restart"], service["command"]) == ("no", ["backup", "create"])
    assert service["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory"}
    assert "ports" not in service
    written = {each["target"] for each in service["volumes"] if not each.get("read_only")}
    assert written == {"/var/backups/andon", "/var/lib/clickhouse/backups"}
    (disk,) = (each for each in service["volumes"] if each["target"] == "/var/lib/clickhouse/backups")
    assert (disk["source"], disk["volume"]["subpath"]) == ("clickhouse", "backups")
    server = (DEPLOY / "clickhouse" / "server.xml").read_text("utf-8")
    assert f"<path>{disk['target']}/</path>" in server
    assert "<umask>007</umask>" in server
    unit = (DEPLOY / "systemd" / "backup" / "andon-backup.service").read_text("utf-8")
    chart = (DEPLOY / "helm" / "andon" / "templates" / "backup.yaml").read_text("utf-8")
    for secret in service["secrets"]:  # each stands in a file of its own, none in the environment
        assert secret["target"].startswith("/etc/andon/secrets/")
        assert secret["source"] in chart
        assert secret["source"] in unit or secret["source"] == "ca.pem"
    assert {each["source"] for each in service["secrets"]} == {
        "ca.pem", "kafka-andon-backup", "clickhouse-andon_backup", "partials-secret",
    }  # fmt: skip
    environ = service["environment"]
    assert (environ["ANDON_KAFKA_SASL_USERNAME"], environ["ANDON_CLICKHOUSE_USER"]) == ("andon-backup", "andon_backup")
    acls = tomllib.loads((DEPLOY / "acls.toml").read_text("utf-8"))
    assert environ["ANDON_KAFKA_SASL_USERNAME"] in acls["backup"]["users"]


def test_composes_backup_finds_what_it_holds(tmp_path: Path) -> None:
    """Its mounts and environment are what `andon backup create` looks for: a key of its own, the detector's, trust,
    policy and seal, by the settings that it would read."""
    service = yaml.safe_load(compose.ask(tmp_path, "--profile", "backup", "config"))["services"]["backup"]
    there = [each["target"] for kind in ("volumes", "secrets", "configs") for each in service[kind]]
    settings = tomllib.loads((DEPLOY / "config" / "andon.toml").read_text("utf-8"))
    environ = service["environment"]
    looked_for = [
        f"{settings['correlate']['data_dir']}/keys", settings["correlate"]["policy_file"],
        settings["trust"]["keys_dir"], settings["partials"]["secret_file"], settings["kafka"]["sasl_password_file"],
        settings["kafka"]["ssl_ca_file"], settings["clickhouse"]["password_file"], "/etc/andon/andon.toml",
        environ["ANDON_BACKUP_STORE_DIR"], environ["ANDON_BACKUP_CLICKHOUSE_DIR"],
        str(Path(environ["ANDON_BACKUP_KEY_FILE"]).parent),
    ]  # fmt: skip
    assert sorted(looked_for) == sorted(there)
    assert environ["ANDON_BACKUP_RECIPIENTS"] == ""  # a site's to say: `andon backup` names it when it is not said


def test_grafana_gets_what_its_provisioning_asks_for() -> None:
    """Every variable that it names is set, every file that it reads is mounted: no Grafana can be run here."""
    services = yaml.safe_load(compose.FILE.read_text("utf-8"))["services"]
    grafana = services["grafana"]
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "grafana" / "provisioning").rglob("*.yml"))
    assert set(re.findall(r"\$\{(GRAFANA_\w+)\}", text)) <= set(grafana["environment"])
    targets = [each["target"] for each in (*grafana["secrets"], *grafana["volumes"]) if isinstance(each, dict)]
    assert set(re.findall(r"\$__file\{([^}]+)\}", text)) <= set(targets)
    assert set(re.findall(r"path: (/var/\S+)", text)) <= set(targets)


def test_one_fact_is_the_same_everywhere() -> None:
    """Ports of the stages: in their own files, in Prometheus' examples, in compose's Prometheus; accounts: those of
    acls.toml; names to be scraped by: those of compose."""
    facts = {stage: of_file(DEPLOY / "config" / f"{stage}.env") for stage in STAGES}
    ports = {stage: int(fact["ANDON_METRICS_METRICS_PORT"]) for stage, fact in facts.items()}
    shipped = yaml.safe_load((DEPLOY / "prometheus" / "targets" / "andon.yml").read_text("utf-8"))
    assert {each["labels"]["stage"]: int(each["targets"][0].rpartition(":")[2]) for each in shipped} == ports
    acls = tomllib.loads((DEPLOY / "acls.toml").read_text("utf-8"))
    assert all(fact["ANDON_KAFKA_SASL_USERNAME"] in acls[stage]["users"] for stage, fact in facts.items())
    services = yaml.safe_load(compose.FILE.read_text("utf-8"))["services"]
    names = {
        name: service["command"][0] for name, service in services.items() if service.get("command", [""])[0] in STAGES
    }
    config = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text("utf-8"))["scrape_configs"][0]
    scraped = {target: each["labels"]["stage"] for each in config["static_configs"] for target in each["targets"]}
    assert scraped == {f"{name}:{ports[stage]}": stage for name, stage in names.items()}
    known = tomllib.loads((DEPLOY / "config" / "andon.toml").read_text("utf-8"))["metrics"]["metrics_names"]
    assert set(known.split(",")) == set(names)


def test_the_units_by_systemd(tmp_path: Path) -> None:
    """As the installation puts them: systemd reads them without a word, and finds little that they might do."""
    needs("systemd-analyze")
    run("sh", DEPLOY / "systemd" / "install.sh", tmp_path)
    program = tmp_path / "opt" / "andon" / "bin" / "andon"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    installed = tmp_path / "etc/systemd/system"
    units = sorted(path.name.replace("@.", "@0.") for path in installed.glob("andon*.service"))
    assert len(units) == len(STAGES) + 3
    every = [*units, "andon.target", "andon-backup.timer"]
    assert sorted(path.name.replace("@.", "@0.") for path in installed.glob("andon*.*") if path.is_file()) == sorted(
        every
    )
    assert run("systemd-analyze", f"--root={tmp_path}", "--man=no", "--recursive-errors=no", "verify", *every) == ""
    for unit in units:
        said = run("systemd-analyze", f"--root={tmp_path}", "security", "--offline=true", "--no-pager", unit)
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
        assert found is not None, said
        assert float(found[1]) <= MAX_EXPOSURE, said


def test_units_find_what_they_name(tmp_path: Path) -> None:
    """Each file of /etc/andon that a unit names is there after the installation, or made by secrets.sh."""
    run("sh", DEPLOY / "systemd" / "install.sh", tmp_path)
    script = (DEPLOY / "secrets.sh").read_text("utf-8")
    for unit in (tmp_path / "etc/systemd/system").rglob("*.*"):
        for named in re.findall(r"/etc/andon/([\w./-]+)", unit.read_text("utf-8")) if unit.is_file() else ():
            if named.startswith("secrets/"):
                account = named.removeprefix("secrets/").removeprefix("kafka-").removeprefix("clickhouse-")
                assert re.search(rf"\b{re.escape(account)}\b", script), f"{unit.name}: {named}"
            else:
                assert (tmp_path / "etc/andon" / named).exists() or named == "trust", f"{unit.name}: {named}"
    assert (tmp_path / "usr/lib/sysusers.d/andon.conf").exists()
