"""How an API is reached: certificates as K3s has them, tokens of a command as GKE has them."""

from __future__ import annotations

import asyncio
import base64
import json
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

from node.drivers.k8s_api import Api, ApiError, Refused, Unreachable
from node.drivers.k8s_cluster import check
from node.drivers.k8s_config import load
from tests.k8s.double import TOKEN, VERSION, Double

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


def plugin(folder: Path, token: str) -> dict[str, Any]:
    """A command that prints a token, as gke-gcloud-auth-plugin does."""
    answer = json.dumps({"kind": "ExecCredential", "status": {"token": token}})
    path = folder / "login"
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "./login"}


def test_a_command_may_have_the_token(plain: Double, tmp_path: Path) -> None:
    assert asked(plain.kubeconfig(tmp_path / "config", exec=plugin(tmp_path, TOKEN))) == VERSION


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


@pytest.mark.parametrize("command", ["./absent", "false", "echo"])
def test_a_command_without_a_token_is_a_matter_of_credentials(plain: Double, tmp_path: Path, command: str) -> None:
    given = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": command}
    with pytest.raises(ApiError) as caught:
        asked(plain.kubeconfig(tmp_path / "config", exec=given))
    assert isinstance(caught.value, Refused)
    assert caught.value.status == 401
