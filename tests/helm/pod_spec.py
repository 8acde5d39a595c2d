"""A pod's specification as arguments of ``docker run``.

Every field is translated, or means nothing on one machine and is named as such. Whatever else a pod has is refused:
left out in silence, it would not be what is tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "m": 1e-3}

# Secrets by their names, each with its keys.
Secrets = Mapping[str, Mapping[str, str]]


def _amount(text: object) -> float:
    match = re.fullmatch(r"(\d+)(\D*)", str(text))
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"the amount {text}")
    return int(match[1]) * _UNITS[match[2]]


def _literal(text: str) -> str:
    if "$(" in text:  # Kubernetes puts another variable's value there
        raise ValueError(f"a reference in {text}")
    return text


Amount = Annotated[float, BeforeValidator(_amount)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HttpGet(_Fields):
    path: str
    port: str


class Probe(_Fields):
    """Kubernetes' defaults are not those of a test: all of it is written down."""

    httpGet: HttpGet
    periodSeconds: int
    timeoutSeconds: int
    failureThreshold: int


class _Sleep(_Fields):
    seconds: int


class _PreStop(_Fields):
    sleep: _Sleep


class _Lifecycle(_Fields):
    preStop: _PreStop


class _Key(_Fields):
    name: str
    key: str


class _ValueFrom(_Fields):
    secretKeyRef: _Key


class _Variable(_Fields):
    name: str
    value: Annotated[str, AfterValidator(_literal)] | None = None
    valueFrom: _ValueFrom | None = None

    def of(self, secrets: Secrets) -> str:
        """Its value; ``KeyError`` for a Secret that is not there, for which a pod would wait."""
        if self.valueFrom is None:
            return self.value or ""
        return secrets[self.valueFrom.secretKeyRef.name][self.valueFrom.secretKeyRef.key]


class _Port(_Fields):
    name: str
    containerPort: int
    protocol: Literal["TCP"]


class _Capabilities(_Fields):
    drop: tuple[str, ...] = ()


class _ContainerSecurity(_Fields):
    allowPrivilegeEscalation: bool = True
    readOnlyRootFilesystem: bool = False
    capabilities: _Capabilities = _Capabilities()


class _Amounts(_Fields):
    cpu: Amount
    memory: Amount


class _Resources(_Fields):
    requests: _Amounts
    limits: _Amounts


class _Mount(_Fields):
    name: str
    mountPath: str
    readOnly: bool = False


class _Container(_Fields):
    name: str
    image: str
    imagePullPolicy: str  # the image is on this machine
    securityContext: _ContainerSecurity = _ContainerSecurity()
    env: tuple[_Variable, ...]
    ports: tuple[_Port, ...]
    startupProbe: Probe
    livenessProbe: Probe
    readinessProbe: Probe
    lifecycle: _Lifecycle
    resources: _Resources
    volumeMounts: tuple[_Mount, ...]


class _EmptyDir(_Fields):
    medium: Literal["Memory"]
    sizeLimit: Amount


class _Secret(_Fields):
    secretName: str
    defaultMode: int


class _Claim(_Fields):
    claimName: str


class Volume(_Fields):
    """One of three kinds."""

    name: str
    emptyDir: _EmptyDir | None = None
    secret: _Secret | None = None
    persistentVolumeClaim: _Claim | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Volume:
        if [self.emptyDir, self.secret, self.persistentVolumeClaim].count(None) != 2:
            raise ValueError(f"the volume {self.name} is not of one kind")
        return self


class _Seccomp(_Fields):
    type: Literal["RuntimeDefault"]  # which Docker has unless told otherwise


class _PodSecurity(_Fields):
    runAsNonRoot: Literal[True]
    runAsUser: Annotated[int, AfterValidator(lambda uid: uid or _refuse("root, with runAsNonRoot"))]
    runAsGroup: int
    fsGroup: int
    fsGroupChangePolicy: Literal["OnRootMismatch"]
    seccompProfile: _Seccomp


class Pod(_Fields):
    """The specification of a pod with one container."""

    serviceAccountName: str  # for the cluster's API, of which Docker has none
    automountServiceAccountToken: Literal[False]
    enableServiceLinks: Literal[False]
    terminationGracePeriodSeconds: int
    securityContext: _PodSecurity
    containers: tuple[_Container]
    volumes: tuple[Volume, ...]
    topologySpreadConstraints: Any  # of several nodes

    @property
    def container(self) -> _Container:
        """The only one."""
        return self.containers[0]

    def port(self, name: str) -> int:
        """The number of a port."""
        return next(port.containerPort for port in self.container.ports if port.name == name)

    def docker_arguments(self, secrets: Secrets, volumes: Mapping[str, str]) -> Iterator[str]:
        """Options and image; ``volumes`` has Docker's names of Secrets' and claims' volumes, by the pod's names."""
        who, container = self.securityContext, self.container
        yield from (f"--user={who.runAsUser}:{who.runAsGroup}", f"--group-add={who.fsGroup}")
        if container.securityContext.readOnlyRootFilesystem:
            yield "--read-only"
        if not container.securityContext.allowPrivilegeEscalation:
            yield "--security-opt=no-new-privileges:true"
        yield from (f"--cap-drop={name}" for name in container.securityContext.capabilities.drop)
        limits = container.resources.limits
        # Without swap, as on a node.
        yield from (f"--cpus={limits.cpu}", f"--memory={limits.memory:.0f}", f"--memory-swap={limits.memory:.0f}")
        yield f"--cpu-shares={1024 * container.resources.requests.cpu:.0f}"
        yield from (f"--env={variable.name}={variable.of(secrets)}" for variable in container.env)
        kinds = {volume.name: volume for volume in self.volumes}
        for mount in container.volumeMounts:
            yield _mounted(mount, kinds[mount.name], who.fsGroup, volumes)
        yield container.image


def _mounted(mount: _Mount, volume: Volume, group: int, volumes: Mapping[str, str]) -> str:
    if volume.emptyDir is not None:
        # As a kubelet mounts it: also for programs, and the group's.
        return f"--tmpfs={mount.mountPath}:exec,mode=2777,gid={group},size={volume.emptyDir.sizeLimit:.0f}"
    # Not with what the image has at this place, nor with its owner and mode.
    named = f"--mount=type=volume,source={volumes[volume.name]},target={mount.mountPath},volume-nocopy"
    return named + (",readonly" if mount.readOnly else "")


def _refuse(why: str) -> int:
    raise ValueError(why)
