"""deploy/helm/andon as Helm renders it, and each of its pods as something that can run here."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from support.deploying.image import image
from support.deploying.sandbox import Container, Mount
from support.sources import ROOT

CHART = ROOT / "deploy" / "helm" / "andon"
Object = dict[str, Any]
FACTS = re.compile(r"metadata\.labels\['apps\.kubernetes\.io/pod-index'\]")


def rendered(values: Mapping[str, Any], name: str = "andon") -> list[Object]:
    """All that `helm template` gives, in order."""
    return [each for text in sources(values, name).values() for each in yaml.safe_load_all(text) if each]


def sources(values: Mapping[str, Any], name: str = "andon") -> dict[str, str]:
    """The text of each template, rendered."""
    import helm_python

    texts: dict[str, str] = helm_python.Chart.load(CHART).render(dict(values), name=name, namespace=name)
    return texts


class Chart:
    """What was rendered, beside a Secret that is there. Volumes are directories of `place`, as a kubelet makes them."""

    def __init__(self, place: Path, values: Mapping[str, Any], secret: Mapping[str, bytes]) -> None:
        self._place = place
        self.objects = rendered(values)
        self._secrets = {values.get("secretName", "andon"): dict(secret)}
        self._maps = {
            each["metadata"]["name"]: {key: text.encode() for key, text in (each.get("data") or {}).items()}
            for each in self._of("ConfigMap")
        }

    def _of(self, *kinds: str) -> Iterator[Object]:
        return (each for each in self.objects if each["kind"] in kinds)

    def jobs(self) -> list[str]:
        """Their names."""
        return [each["metadata"]["name"] for each in self._of("Job")]

    def pods(self) -> Iterator[tuple[str, Object, int, Object]]:
        """Each pod that stays: its name, what it is of, its index there, and its first container."""
        for each in self._of("StatefulSet", "Deployment"):
            for index in range(each["spec"]["replicas"]):
                yield (
                    f"{each['metadata']['name']}-{index}",
                    each,
                    index,
                    each["spec"]["template"]["spec"]["containers"][0],
                )

    def job(self, name: str) -> Container:
        """Its container."""
        (found,) = (each for each in self._of("Job") if each["metadata"]["name"] == name)
        spec = found["spec"]["template"]["spec"]
        return self._container(name, found, 0, spec["containers"][0])

    def begins(self, name: str, owner: Object, index: int) -> list[Container]:
        """What runs to its end before a pod's container."""
        inits = owner["spec"]["template"]["spec"].get("initContainers", [])
        return [self._container(name, owner, index, init) for init in inits]

    def container(self, name: str, owner: Object, index: int) -> Container:
        """A pod's container."""
        return self._container(name, owner, index, owner["spec"]["template"]["spec"]["containers"][0])

    def _container(self, name: str, owner: Object, index: int, container: Object) -> Container:
        spec = owner["spec"]["template"]["spec"]
        who, own = spec["securityContext"], container["securityContext"]
        assert who["runAsUser"] == who["runAsGroup"]
        mounts, scratch = self._mounts(name, owner, container)
        return Container(
            name,
            [*container.get("command", image().entrypoint), *container.get("args", [])],
            image().environ | dict(self._environ(container, index)),
            mounts,
            who["runAsUser"],
            [who["fsGroup"]],
            own["readOnlyRootFilesystem"],
            scratch,
            image().workdir if any(mount.target == image().workdir for mount in mounts) else "/",
        )

    def _environ(self, container: Object, index: int) -> Iterator[tuple[str, str]]:
        for source in container.get("envFrom", []):
            for key, value in self._maps[source["configMapRef"]["name"]].items():
                yield key, value.decode()
        for each in container.get("env", []):
            if "value" in each:
                yield each["name"], each["value"]
            else:
                assert FACTS.fullmatch(each["valueFrom"]["fieldRef"]["fieldPath"]), each
                yield each["name"], str(index)

    def _mounts(self, name: str, owner: Object, container: Object) -> tuple[list[Mount], list[str]]:
        spec = owner["spec"]["template"]["spec"]
        volumes = {each["name"]: each for each in spec["volumes"]}
        claimed = {each["metadata"]["name"] for each in owner["spec"].get("volumeClaimTemplates", [])}
        mounts, scratch = [], []
        for each in container["volumeMounts"]:
            if each["name"] not in claimed and "emptyDir" in volumes[each["name"]]:
                scratch.append(each["mountPath"])
                continue
            source = self._claim(name) if each["name"] in claimed else self._volume(name, volumes[each["name"]])
            source = (source / each["subPath"]).resolve(strict=True) if "subPath" in each else source
            mounts.append(Mount(source, each["mountPath"], not each.get("readOnly", False)))
        return mounts, scratch

    def _claim(self, name: str) -> Path:
        """A new disk with an `fsGroup`: root's, and its group's to write to."""
        path = self._place / f"{name}-claim"
        if not path.exists():
            path.mkdir(parents=True)
            os.chown(path, 0, image().user)
            path.chmod(0o2775)
        return path

    def _volume(self, name: str, volume: Object) -> Path:
        """A Secret's or ConfigMap's files as the kubelet puts them: links into a directory that it exchanges."""
        path = self._place / f"{name}-{volume['name']}"
        if path.exists():
            return path
        if "secret" in volume:
            given, data = volume["secret"], self._secrets[volume["secret"]["secretName"]]
            files = {item["path"]: data[item["key"]] for item in given["items"]}
            mode = given["defaultMode"]
        else:
            files, mode = self._maps[volume["configMap"]["name"]], 0o644
        inside = path / "..2026_11_30"
        inside.mkdir(parents=True)
        (path / "..data").symlink_to(inside.name)
        for file, content in files.items():
            (inside / file).write_bytes(content)
            os.chown(inside / file, 0, image().user)
            (inside / file).chmod(mode)
            (path / file).symlink_to(f"..data/{file}")
        return path
