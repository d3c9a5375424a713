"""deploy/helm/andon by Helm itself, Kubernetes' schemas and the operators' own."""

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import pytest
import yaml
from support.deploying.chart import CHART, Object, rendered, sources
from support.sources import ROOT
from support.waiting import DEADLINE_SECONDS

from pipeline.halt.signing import load_or_create, load_private, load_trusted

pytestmark = pytest.mark.service

SCHEMAS = Path(__file__).with_name("schemas")
KUBERNETES = "1.32"  # the oldest that the chart takes
VALIDATE = Path(sys.executable).with_name("kubernetes-validate")
SITE: dict[str, Any] = {
    "kafka": {"bootstrapServers": "kafka-1:9092"},
    "clickhouse": {"url": "http://clickhouse:8123"},
    "alertmanager": {"urls": "http://alertmanager:9093"},
    "trust": {"0123456789abcdef.pub.pem": "-----BEGIN PUBLIC KEY-----\n"},
}
ALL = SITE | {
    "monitoring": {
        "serviceMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True, "labels": {"release": "x"}},
    },
    "collect": {"ingress": {"enabled": True, "className": "nginx", "host": "andon.example", "tlsSecretName": "tls"}},
    "podLabels": {"team": "soc"},
    "tolerations": [{"operator": "Exists"}],
    "nodeSelector": {"disk": "ssd"},
    "imagePullSecrets": [{"name": "registry"}],
    "priorityClassName": "high",
    "backup": {"enabled": True, "recipients": "age1", "storeClaim": "store", "diskClaim": "disk"},
}


def scaled(kind: str, maximum: int = 4) -> dict[str, Any]:
    """With combiners that come and go."""
    return ALL | {"combine": {"autoscaling": {"enabled": True, "kind": kind, "maxReplicas": maximum}}}


@pytest.mark.parametrize("values", [SITE, scaled("keda"), scaled("hpa")], ids=["least", "keda", "hpa"])
def test_helm_has_nothing_against_it(values: dict[str, Any]) -> None:
    """`helm lint --strict`."""
    report = helm_python.lint(CHART, values, strict=True)
    assert [said for said in report["messages"] if said["severity"] > 1] == []
    assert report["errors"] == []


def test_kubernetes_knows_every_field(tmp_path: Path) -> None:
    """`kubernetes-validate --strict`, of all kinds but the operators', which have schemas of their own."""
    core = []
    for values in (SITE, scaled("hpa"), scaled("keda")):
        for each in rendered(values):
            schema = SCHEMAS / f"{each['kind']}.json"
            if schema.exists():
                check(each, json.loads(schema.read_text("utf-8")))
            else:
                core.append(each)
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(core), "utf-8")
    argv = [VALIDATE, "--strict", "--quiet", "--kubernetes-version", KUBERNETES, file]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def check(found: Object, schema: dict[str, Any]) -> None:
    """As an API server does that is told to be strict: no field that the kind does not have."""
    closed = copy.deepcopy(schema)
    _close(closed)
    closed["properties"]["metadata"] = {"type": "object"}
    jsonschema.Draft202012Validator(closed).validate(found)  # its patterns are Go's: the schema itself is not checked


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for each in schema:
            _close(each)
    if isinstance(schema, dict):
        for each in schema.values():
            _close(each)
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)


def test_the_check_of_operators_kinds_sees_a_misspelt_field() -> None:
    """So its silence means something."""
    (found,) = (each for each in rendered(ALL) if each["kind"] == "ServiceMonitor")
    found["spec"]["endpoints"][0]["intervall"] = "5s"
    with pytest.raises(jsonschema.ValidationError, match="intervall"):
        check(found, json.loads((SCHEMAS / "ServiceMonitor.json").read_text("utf-8")))


def test_rules_are_those_that_are_shipped() -> None:
    """Word for word, with the templates of Prometheus in them; and they find the job and the stages that they name."""
    found = {each["kind"]: each for each in rendered(ALL)}
    shipped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text("utf-8"))
    assert found["PrometheusRule"]["spec"] == shipped
    label = found["ServiceMonitor"]["spec"]["jobLabel"]
    services = [each for each in rendered(ALL) if each["kind"] == "Service"]
    assert {each["metadata"]["labels"][label] for each in services} == {"andon"}
    stages = {each["metadata"]["labels"]["app.kubernetes.io/component"] for each in services}
    assert stages == {"collect", "combine", "correlate", "archive", "notify"}
    for service in services:
        assert "metrics" in {port["name"] for port in service["spec"]["ports"]}


def test_every_pod_is_nobodys() -> None:
    """No root, no rights, nothing to write to but what is mounted, no token of the cluster; bounded, and asked how it
    is by its own probes; drained one at a time; and it has a policy of its network."""
    objects = rendered(ALL)
    policies = [each["spec"]["podSelector"]["matchLabels"] for each in objects if each["kind"] == "NetworkPolicy"]
    budgets = [each["spec"]["selector"]["matchLabels"] for each in objects if each["kind"] == "PodDisruptionBudget"]
    jobs = [each["spec"]["jobTemplate"] | {"kind": "Job"} for each in objects if each["kind"] == "CronJob"]
    assert len(jobs) == 1
    owners = [each for each in objects if each["kind"] in ("StatefulSet", "Deployment", "Job")]
    for owner in (*owners, *jobs):
        template = owner["spec"]["template"]
        spec, labels = template["spec"], template["metadata"]["labels"].items()
        assert spec["securityContext"]["runAsNonRoot"]
        assert not spec["automountServiceAccountToken"]
        assert any(policy.items() <= labels for policy in policies)
        assert owner["kind"] == "Job" or any(budget.items() <= labels for budget in budgets)
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            own = container["securityContext"]
            assert (own["readOnlyRootFilesystem"], own["capabilities"]) == (True, {"drop": ["ALL"]})
            assert container["resources"]["limits"]["memory"]
        if owner["kind"] != "Job":
            probes = {
                name: spec["containers"][0][name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")
            }
            assert probes == {"livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_a_backups_pod_has_keys_that_may_be_signed_with(tmp_path: Path) -> None:
    """A Secret's files are root's, and readable to a group: the pod's first container makes them its own, beside the
    public keys, and nothing else of the volume is there."""
    (job,) = (
        each["spec"]["jobTemplate"]["spec"]["template"]["spec"] for each in rendered(ALL) if each["kind"] == "CronJob"
    )
    first, create = job["initContainers"]
    key = load_or_create(tmp_path / "made")
    for name in ("key", "trust", "own"):
        (tmp_path / name).mkdir()
    for name in ("signing.key.pem", "backup.key.pem"):
        shutil.copy(tmp_path / "made" / "signing.key.pem", tmp_path / "key" / name)
        (tmp_path / "key" / name).chmod(0o440)
    shutil.copy(tmp_path / "made" / f"{key.kid}.pub.pem", tmp_path / "trust")
    places = {each["mountPath"]: str(tmp_path / Path(each["mountPath"]).name) for each in first["volumeMounts"]}
    (*shell, script) = first["command"]
    for inside, here in places.items():
        script = script.replace(inside, here)
    subprocess.run([*shell, script], check=True, timeout=DEADLINE_SECONDS)
    own = {
        each["mountPath"]: tmp_path / "own" / each["subPath"]
        for each in create["volumeMounts"]
        if each["name"] == "own"
    }
    assert load_private(own["/etc/andon/backup-keys"] / "backup.key.pem").kid == key.kid
    assert load_or_create(own["/var/lib/andon/keys"]).kid == key.kid
    assert load_trusted(own["/var/lib/andon/keys"]).keys() == {key.kid}


def test_no_secret_is_written_in_it() -> None:
    """Only the name of one that is there."""
    texts = sources(scaled("keda"))
    assert [each["kind"] for each in rendered(ALL) if each["kind"] == "Secret"] == []
    assert not re.search(r"(?i)(password|token|secret)\w*: [\"']?[A-Za-z0-9+/_-]{24,}", "\n".join(texts.values()))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "bootstrapServers"),
        (SITE | {"clickhouse": {"url": ""}}, "url"),
        (SITE | {"colour": "red"}, "colour"),
        (SITE | {"trust": {"key.pem": "x"}}, "key.pem"),
        (SITE | {"combine": {"replica": 3}}, "replica"),
        (scaled("keda", 5), "fleet.events has 4 partitions"),
    ],
    ids=["nothing", "no-url", "unknown", "key", "misspelt", "too-many"],
)
def test_wrong_values_are_refused(values: dict[str, Any], words: str) -> None:
    """With the value's name."""
    with pytest.raises(helm_python.HelmError, match=re.escape(words)):
        install(values)


def install(values: dict[str, Any]) -> None:
    """As far as Helm goes without a cluster."""
    helm_python.Chart.load(CHART).validate_schema(values)
    rendered(values)
