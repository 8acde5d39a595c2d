"""Which DICOMweb servers jobs may name, and which clients may name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.access.keys import ANYONE, Caller
from service.jobs.job import JobsError
from service.jobs.servers import read_servers, require_server
from service.problems import MALFORMED, ServiceError
from service.settings import Settings
from tests.service.cli.conftest import cin
from tests.service.real_redis import RealRedis

SERVERS = """
[pacs]
url = "https://pacs.example.org/dicom-web"
user = "cin"
password_file = "/run/secrets/pacs-password"
clients = ["clinic"]

[research]
url = "http://10.0.0.7:8042/dicom-web"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "servers.toml").write_text(SERVERS)
    return tmp_path / "servers.toml"


def ask(path: Path, name: str, caller: str) -> None:
    require_server(read_servers(path), name, Caller(caller, counted_as=caller))


def test_a_server_is_for_its_clients_or_for_all(path: Path) -> None:
    assert read_servers(None) == {}
    assert read_servers(path)["pacs"].user == "cin"
    ask(path, "pacs", "clinic:0123abcd")
    for caller in ("clinic:0123abcd", "other:0123abcd", ANYONE):
        ask(path, "research", caller)
    refused = [("pacs", "other:0123abcd"), ("pacs", ANYONE)]
    for name in ("other", "PACS", "10.0.0.7:8042", "http://10.0.0.7:8042/dicom-web"):
        refused.append((name, "clinic:0123abcd"))
    texts = set()
    for name, caller in refused:
        with pytest.raises(ServiceError) as raised:
            ask(path, name, caller)
        assert raised.value.problem is MALFORMED
        texts.add(raised.value.detail)
    assert len(texts) == 1, "a client does not learn which servers are for others"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no server"),
        ("[pacs]", "pacs.url: Field required"),
        ("[pacs", "servers.toml: "),
        ('[pacs]\nurl = "http://a/"\nuser = "cin"', "give user and password_file, or neither"),
        ('[pacs]\nurl = "http://a/"\npassword = "secret"', "pacs.password: Extra inputs"),
        ('["p a c s"]\nurl = "http://a/"', "should match pattern"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    with pytest.raises(JobsError, match="CIN_DICOMWEB_SERVERS") as raised:
        read_servers(path)
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)
    with pytest.raises(JobsError, match="No such file"):
        read_servers(path.parent / "missing.toml")


def test_servers_are_for_jobs(path: Path) -> None:
    with pytest.raises(ValueError, match="set CIN_JOBS_URL as well"):
        Settings(dicomweb_servers=path)


def test_a_service_does_not_start_with_a_file_that_cannot_be_used(path: Path, server: RealRedis) -> None:
    path.write_text("[pacs]")
    urls = dict.fromkeys(("CIN_JOBS_URL", "CIN_RECORDS_URL"), server.url)
    refused = cin("serve", **urls, CIN_DICOMWEB_SERVERS=str(path))
    assert refused.exit_code == 1
    assert "pacs.url: Field required" in refused.stderr
