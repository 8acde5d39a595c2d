"""``cin keys``: who may use the service."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from service.access.keys import AccessError, StoredKey, create_key, read_keys, revoke_key
from service.audit.chain import Entry
from service.audit.file import AuditError, AuditFile
from service.cli.common import read_settings, refuse
from service.settings import Settings

app = typer.Typer(no_args_is_help=True, help="API keys, in the file that CIN_KEYS names.")


@app.command()
def create(client: Annotated[str, typer.Argument(metavar="NAME", help="Who the key is for.")]) -> None:
    """Make a key and print it, once. A client may have two, to change from one to the other."""
    settings, path = _file()
    try:
        key = create_key(path, client, announce=_noting(settings, "key-created"))
    except (AccessError, AuditError) as error:
        refuse(str(error))
    typer.echo(key)
    typer.echo(f"cin: this is {client}'s key, to be sent as Authorization: Bearer; it is not shown again", err=True)


@app.command("list")
def list_keys() -> None:
    """List the live keys, by id."""
    _, path = _file()
    try:
        keys = read_keys(path).keys
    except AccessError as error:
        refuse(str(error))
    for key in sorted(keys, key=lambda key: (key.client, key.created_at)):
        typer.echo(f"{key.id}  {key.created_at:%Y-%m-%d}  {key.client}")


@app.command()
def revoke(id: Annotated[str, typer.Argument(metavar="ID", help="Its id, as cin keys list shows it.")]) -> None:
    """Revoke a key. A running service rejects it within a few seconds."""
    settings, path = _file()
    try:
        key = revoke_key(path, id, announce=_noting(settings, "key-revoked"))
    except (AccessError, AuditError) as error:
        refuse(str(error))
    typer.echo(f"cin: {key.client}'s key {key.id} is revoked", err=True)


def _file() -> tuple[Settings, Path]:
    settings = read_settings()
    if settings.keys is None:
        refuse("CIN_KEYS names no file; set it to where the keys are to be, also for cin serve")
    return settings, settings.keys


def _noting(settings: Settings, what: str) -> Callable[[StoredKey], None]:
    """Writes to the audit log, where there is one."""

    def note(key: StoredKey) -> None:
        if settings.audit is None:
            return
        log = AuditFile(settings.audit)
        try:
            log.append([Entry.now(what, by=f"cin keys, user {_user()}", client=key.client, key=key.id)])
        finally:
            log.close()

    return note


def _user() -> str:
    with suppress(OSError):
        return os.getlogin()
    return str(os.getuid())
