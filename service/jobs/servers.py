"""The DICOMweb servers that jobs may name: a TOML file of the operator's."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError, model_validator

from service.access.keys import Caller
from service.jobs.dicomweb import NAME
from service.jobs.job import JobsError
from service.problems import MALFORMED, ServiceError


class DicomwebServer(BaseModel):
    """A server as the operator allows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str  # the root of DICOMweb
    user: str | None = None
    password_file: Path | None = None
    clients: frozenset[str] | None = None  # by the names of their keys; None: every one

    @model_validator(mode="after")
    def _has_user_and_password(self) -> DicomwebServer:
        if (self.user is None) != (self.password_file is None):
            raise ValueError("a user has a password: give user and password_file, or neither")
        return self


_SERVERS = TypeAdapter(dict[Annotated[str, StringConstraints(pattern=NAME)], DicomwebServer])


def read_servers(path: Path | None) -> Mapping[str, DicomwebServer]:
    """The servers in a TOML file, each a table by its name; none without a file. Raises :class:`JobsError`."""
    if path is None:
        return {}
    try:
        found = _SERVERS.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise JobsError(f"CIN_DICOMWEB_SERVERS: {path}: {error.strerror}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise JobsError(f"CIN_DICOMWEB_SERVERS: {path}: {wrong}") from error
    except ValueError as error:  # no TOML, or no text
        raise JobsError(f"CIN_DICOMWEB_SERVERS: {path}: {error}") from error
    if not found:
        raise JobsError(f"CIN_DICOMWEB_SERVERS: {path} names no server; unset it, or write [name] and its url")
    return found


def require_server(servers: Mapping[str, DicomwebServer], name: str, caller: Caller) -> None:
    """Raises the 400 of a server that there is not, and the same for one that is for other clients."""
    server = servers.get(name)
    if server is None or (server.clients is not None and caller.client not in server.clients):
        raise ServiceError(MALFORMED, "dicomweb.server: none of those that CIN_DICOMWEB_SERVERS names for this client")
