"""TLS to etcd: its certificate is verified, and ours is shown."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests import etcd_server
from tests.etcd_server import EtcdServers

if not etcd_server.installed():
    pytest.skip(etcd_server.MISSING, allow_module_level=True)

from node.consensus.etcd.client import EtcdClient, Tls
from node.consensus.etcd.store import Get, Put, Unreachable


class Authority:
    """Signs certificates, and writes what etcd reads."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._sign(self._name, self._key, authority=True)
        self.ca = self._certificate.public_bytes(serialization.Encoding.PEM)
        (folder / f"{name}.pem").write_bytes(self.ca)
        self.ca_path = folder / f"{name}.pem"

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, secret = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        signed = self._sign(subject, key, authority=False)
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, secret


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def secured(tmp_path: Path, authority: Authority) -> Iterator[EtcdServers]:
    """An etcd that asks for certificates."""
    certificate, key = authority.issue("etcd")
    options = ["--cert-file", str(certificate), "--key-file", str(key), "--client-cert-auth"]
    options += ["--trusted-ca-file", str(authority.ca_path)]
    servers = EtcdServers(tmp_path / "etcd", options=tuple(options), scheme="https")
    try:
        servers.start()
        yield servers
    finally:
        servers.close()


def client(servers: EtcdServers, ca: bytes, pair: tuple[Path, Path] | None) -> EtcdClient:
    own = (pair[0].read_bytes(), pair[1].read_bytes()) if pair is not None else (None, None)
    return EtcdClient(servers.endpoints, Tls(ca, *own), 2.0)


async def unreached(etcd: EtcdClient, words: str) -> None:
    """Return when it says so of an etcd that it does not reach: it has to be tried for long enough to know why."""
    said = ""
    while words not in said:
        with pytest.raises(Unreachable) as caught:
            await etcd.transact([], [Get(b"k")])
        said = str(caught.value)


async def test_with_the_authority_and_a_certificate(secured: EtcdServers, authority: Authority) -> None:
    etcd = client(secured, authority.ca, authority.issue("cortexd"))
    async with asyncio.timeout(60):
        while True:
            try:
                await etcd.transact([], [Put(b"k", b"v")])
                break
            except Unreachable:
                # It may not listen yet.
                await asyncio.sleep(0.1)
    assert (await etcd.transact([], [Get(b"k")])).found[b"k"].value == b"v"
    await etcd.close()
    for refused, words in (
        (client(secured, authority.ca, None), "does it want a certificate"),
        (
            client(secured, Authority(authority.folder, "another").ca, authority.issue("cortexd2")),
            "CERTIFICATE_VERIFY",
        ),
        (EtcdClient(secured.endpoints, None, 2.0), "does it want TLS"),
    ):
        async with asyncio.timeout(60):
            await unreached(refused, words)
        await refused.close()
