"""Servers that speak only TLS, with a certificate of an authority made for the test."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_TOOLS = ("/usr/lib/postgresql/*/bin", "/usr/sbin", "/usr/bin")


@dataclass(frozen=True, kw_only=True)
class Certificates:
    authority: Path
    certificate: Path  # for 127.0.0.1 and localhost
    key: Path


def make_certificates(folder: Path, name: str = "IP:127.0.0.1,DNS:localhost") -> Certificates:
    made = Certificates(
        authority=folder / "ca.pem", certificate=folder / "server.pem", key=folder / "server.key"
    )
    openssl = program("openssl")

    def run(*arguments: object) -> None:
        subprocess.run([openssl, *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", "/CN=Test authority",
        "-keyout", "ca.key", "-out", made.authority)  # fmt: skip
    run(
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=server",
        "-keyout",
        made.key,
        "-out",
        "server.csr",
    )
    (folder / "san").write_text(f"subjectAltName={name}\n")
    run("x509", "-req", "-in", "server.csr", "-CA", made.authority, "-CAkey", "ca.key", "-CAcreateserial",
        "-days", 2, "-extfile", "san", "-out", made.certificate)  # fmt: skip
    return made


@contextmanager
def tls_redis(folder: Path, made: Certificates, password: str) -> Iterator[int]:
    """The port of a Redis that takes TLS alone."""
    port = free_port()
    command = [
        program("redis-server"), "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "",
        "--tls-cert-file", str(made.certificate), "--tls-key-file", str(made.key),
        "--tls-ca-cert-file", str(made.authority), "--tls-auth-clients", "no", "--requirepass", password,
    ]  # fmt: skip
    with _daemon(command, folder, port):
        yield port


@contextmanager
def tls_postgres(folder: Path, made: Certificates, password: str) -> Iterator[int]:
    """The port of a PostgreSQL that takes TLS and a password alone; its user is `postgres`."""
    port, data, secret = free_port(), folder / "data", folder / "password"
    tools = Path(program("initdb")).resolve().parent
    secret.write_text(password)
    key = folder / "postgres.key"  # must be its owner's alone
    shutil.copy(made.key, key)
    key.chmod(0o600)
    owner = _owner()
    for path in (folder, secret, key):
        if owner:
            shutil.chown(path, "postgres")
    subprocess.run(
        [*owner, str(tools / "initdb"), "-D", str(data), "-U", "postgres", "-A", "scram-sha-256", "-N",
         f"--pwfile={secret}"], check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(
            f"port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nssl = on\n"
            f"ssl_cert_file = '{made.certificate}'\nssl_key_file = '{key}'\nfsync = off\n"
        )
    with _daemon([*owner, str(tools / "postgres"), "-D", str(data)], folder, port):
        yield port


@contextmanager
def _daemon(command: list[str], folder: Path, port: int) -> Iterator[None]:
    with (folder / "daemon.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(process, port, folder / "daemon.log")
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(log.read_text("utf-8", "replace")[-2000:])
        time.sleep(0.05)


def _owner() -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def program(name: str) -> str:
    """Its path; absent: skipped by name, in CI failed."""
    for place in _TOOLS:
        for folder in sorted(Path("/").glob(place.lstrip("/")), reverse=True):
            if (folder / name).exists():
                return str(folder / name)
    if found := shutil.which(name):
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed")
    pytest.skip(f"{name} is not installed")
