"""nginx and HAProxy as processes of this machine, in front of a server on the loopback."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.paths import REPOSITORY

Address = tuple[str, int]

# Connections to the server are kept and shared by all clients, and bodies are passed on as they come.
_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream service {{ server {host}:{port}; keepalive 2; }}
    map $http_upgrade $wish {{ "" ""; default upgrade; }}
    server {{
        listen 127.0.0.1:{listen};
        location / {{
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $wish;
        }}
    }}
}}
"""
_HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
    timeout http-request 5s
frontend clients
    bind 127.0.0.1:{listen}
    default_backend service
backend service
    http-reuse always
    server service {host}:{port}
"""


def missing(program: str) -> str | None:
    """Why a proxy is not here, or None."""
    return None if _found(program) else f"{program} is not installed"


def _found(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


@contextmanager
def nginx(server: Address, folder: Path) -> Iterator[Address]:
    """nginx with kept connections; yields its address."""
    listen = _free_port()
    text = _NGINX.format(folder=folder, host=server[0], port=server[1], listen=listen)
    with _nginx_with(text, folder, listen) as address:
        yield address


@contextmanager
def haproxy(server: Address, folder: Path) -> Iterator[Address]:
    """HAProxy with kept connections; yields its address."""
    listen = _free_port()
    path = folder / "haproxy.cfg"
    path.write_text(_HAPROXY.format(host=server[0], port=server[1], listen=listen))
    with _running([str(_found("haproxy")), "-f", str(path), "-db"], listen) as address:
        yield address


@contextmanager
def nginx_of_the_stack(server: Address, folder: Path, *others: Address) -> Iterator[Address]:
    """nginx as ``docker/proxy/nginx.conf`` has it, but for addresses and folders; yields its address.

    ``others`` are further replicas of the service. Its error log is ``errors.log`` in the folder.
    """
    listen = _free_port()
    text = (REPOSITORY / "docker" / "proxy" / "nginx.conf").read_text(encoding="utf-8")
    text = re.sub(r"^ *resolver .*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\$?service:8000", "replicas", text).replace("$grafana:3000", "127.0.0.1:9")
    replicas = " ".join(f"server {host}:{port} max_fails=0;" for host, port in (server, *others))
    text = text.replace("http {", f"http {{ upstream replicas {{ {replicas} }}", 1)
    text = text.replace("include /tmp/listen.conf;", f"listen 127.0.0.1:{listen};")
    text = text.replace("access_log /dev/stdout private;", "access_log off;").replace("/tmp/", f"{folder}/")
    text = text.replace("error_log stderr", f"error_log {folder}/errors.log")
    with _nginx_with(text, folder, listen) as address:
        yield address


@contextmanager
def _nginx_with(text: str, folder: Path, listen: int) -> Iterator[Address]:
    # Its workers must be able to write into the folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    path = folder / "nginx.conf"
    path.write_text(user + text, encoding="utf-8")
    with _running([str(_found("nginx")), "-e", "stderr", "-c", str(path)], listen) as address:
        yield address


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int) -> Iterator[Address]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    address = ("127.0.0.1", port)
    try:
        ends = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(address).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError(f"{command[0]} did not start") from None
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()
