"""How an API is reached: certificates as K3s has them, tokens of a command as GKE has them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import select
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from node.drivers.k8s.api import NO_CREDENTIALS, Api, Refused, Unreachable
from node.drivers.k8s.cluster import check
from node.drivers.k8s.config import load
from node.drivers.k8s.credentials import Credentials
from tests.k8s.double import TOKEN, VERSION, Double

GROUP = "client.authentication.k8s.io"
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "double")])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that is its own authority, with its key; good for both sides."""
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(KEY, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(params=[False, True], ids=["token", "certificate"])
def double(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Double]:
    double = Double()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    if request.param:
        tls.load_verify_locations(certificate)
        tls.verify_mode = ssl.CERT_REQUIRED
    double.start(tls)
    yield double
    double.stop()


def asked(path: Path) -> str:
    """The version of the cluster. Raises ApiError."""

    async def ask() -> str:
        async with Api(load([str(path)]), "home") as api:
            return await check(api, "work")

    return asyncio.run(ask())


def test_certificates_in_the_file_are_used(double: Double, certificate: Path, tmp_path: Path) -> None:
    data = base64.b64encode(certificate.read_bytes()).decode()
    user: dict[str, Any] = {"token": TOKEN, "client-certificate-data": data, "client-key-data": data}
    path = double.kubeconfig(tmp_path / "config", cluster={"certificate-authority-data": data}, **user)
    assert asked(path) == VERSION


def test_an_authority_that_nobody_knows_is_refused(double: Double, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="certificate"):
        asked(double.kubeconfig(tmp_path / "config"))


@pytest.fixture
def plain() -> Iterator[Double]:
    double = Double()
    double.start()
    yield double
    double.stop()


def test_a_proxy_of_the_file_is_used(plain: Double, tmp_path: Path) -> None:
    path = plain.kubeconfig(tmp_path / "config", cluster={"server": "http://api.example", "proxy-url": plain.url})
    assert asked(path) == VERSION
    assert plain.requests[0] == "GET http://api.example/version"


def plugin(folder: Path, *answers: dict[str, Any], version: str = "v1", **more: Any) -> dict[str, Any]:
    """A command that prints these, one each time it is run and the last one from then on."""
    for number, status in enumerate(answers):
        said = {"apiVersion": f"{GROUP}/{version}", "kind": "ExecCredential", "status": status}
        (folder / f"answer-{number + 1}").write_text(json.dumps(said))
    path = folder / "login"
    path.write_text(
        '#!/bin/sh\ncd "${0%/*}"; echo "$KUBERNETES_EXEC_INFO" >> asked; n=$(wc -l < asked)\n'
        f"[ $n -le {len(answers)} ] || n={len(answers)}; cat answer-$n\n"
    )
    path.chmod(0o755)
    return {"apiVersion": f"{GROUP}/{version}", "command": "./login", **more}


def asked_for(folder: Path) -> list[dict[str, Any]]:
    """What the plugin was told, each time."""
    return [json.loads(line) for line in (folder / "asked").read_text().splitlines()]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_command_may_have_the_token(plain: Double, tmp_path: Path, version: str) -> None:
    given = plugin(
        tmp_path, {"token": TOKEN}, version=version, interactiveMode="IfAvailable", provideClusterInfo=True
    )
    assert asked(plain.kubeconfig(tmp_path / "config", exec=given)) == VERSION
    (told,) = asked_for(tmp_path)
    assert told["apiVersion"] == f"{GROUP}/{version}"
    assert told["spec"] == {"interactive": False, "cluster": {"server": plain.url}}


@pytest.mark.parametrize("expires", ["2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"])
def test_a_command_is_asked_again_when_what_it_gave_expires_or_is_refused(
    plain: Double, tmp_path: Path, expires: str
) -> None:
    first = {"token": TOKEN, "expirationTimestamp": expires}
    path = plain.kubeconfig(tmp_path / "config", exec=plugin(tmp_path, first, {"token": "next"}))

    async def ask() -> None:
        async with Api(load([str(path)]), "home") as api:
            await api.get("version")
            plain.token = "next"
            await api.get("version")
            await api.get("version")

    asyncio.run(ask())
    assert len(asked_for(tmp_path)) == 2
    refused = sum(request == "GET /version" for request in plain.requests) - 3
    assert refused == (1 if expires.startswith("2100") else 0)


def test_a_command_may_have_a_certificate(certificate: Path, tmp_path: Path) -> None:
    double = Double()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.load_verify_locations(certificate)
    tls.verify_mode = ssl.CERT_REQUIRED
    double.start(tls)
    both = certificate.read_text()
    data = base64.b64encode(both.encode()).decode()
    given = plugin(tmp_path, {"clientCertificateData": both, "clientKeyData": both})
    path = double.kubeconfig(tmp_path / "config", cluster={"certificate-authority-data": data}, exec=given)
    assert asked(path) == VERSION
    double.stop()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"command": "absent", "installHint": "Install absent\n with brew."},
            "absent is not on this node in the daemon",
        ),
        ({"command": "absent", "installHint": "Install absent\n with brew."}, "Install absent with brew"),
        ({"command": "./absent"}, "absent is not on this node. Install it there"),
        ({"command": "/"}, "cannot be run: Permission denied"),
        (
            {"command": "sh", "args": ["-c", "echo no session >&2; exit 3"]},
            "failed with exit code 3: no session. Log in",
        ),
        ({"command": "echo"}, "no ExecCredential"),
        ({"command": "echo", "args": ["{}"]}, "no ExecCredential: has no 'status'"),
        ({"command": "echo", "args": ['{"status": {}}']}, "neither a token nor a certificate"),
        ({"command": "echo", "args": ['{"apiVersion": "x/v9", "status": {"token": "t"}}']}, "it speaks x/v9"),
        ({"command": "echo", "args": ['{"status": {"token": "\\u00e4"}}']}, "characters that no token has"),
        (
            {"command": "echo", "apiVersion": f"{GROUP}/v1alpha1"},
            "is to speak client.authentication.k8s.io/v1alpha1",
        ),
        ({"command": "echo", "interactiveMode": "Always"}, "wants a terminal"),
        ({"command": "yes"}, "yes wrote more than 1048576 bytes. Run it by hand"),
    ],
)
def test_a_command_without_a_token_is_named_with_what_to_do(
    plain: Double, tmp_path: Path, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused) as caught:
        asked(plain.kubeconfig(tmp_path / "config", exec={"apiVersion": f"{GROUP}/v1", **given}))
    assert (caught.value.status, caught.value.reason) == (401, NO_CREDENTIALS)
    assert says in caught.value.message
    assert ". " in caught.value.message
    assert plain.requests == []


async def test_a_command_that_is_given_up_ends_with_all_that_it_began(tmp_path: Path) -> None:
    """Else what it began would keep its output open, and whoever asked waiting."""
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    pipe = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    words = ["-c", f"exec 3>{alive}; echo up >&3; sleep 60 & wait"]
    user = {"exec": {"apiVersion": f"{GROUP}/v1", "command": "sh", "args": words}}
    asked_for_it = asyncio.create_task(Credentials({}, user).shown())
    try:
        await asyncio.to_thread(select.select, [pipe], [], [], 60)
        assert os.read(pipe, 9) == b"up\n"
        asked_for_it.cancel()
        done, _ = await asyncio.wait({asked_for_it}, timeout=60)
        assert done == {asked_for_it}
        await asyncio.to_thread(select.select, [pipe], [], [], 60)
        assert os.read(pipe, 9) == b""
    finally:
        os.close(pipe)


def test_a_token_file_is_read_anew_when_it_changed(plain: Double, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    path = plain.kubeconfig(tmp_path / "config", tokenFile="token")

    async def ask() -> str:
        async with Api(load([str(path)]), "home") as api:
            with pytest.raises(Refused):
                await check(api, "work")
            token.write_text(TOKEN)
            await api.get("version")
            return await check(api, "work")

    assert asyncio.run(ask()) == VERSION
