"""etcd://… as users write it."""

from __future__ import annotations

import pytest

from node.config import load
from node.core.faults import Fault
from node.etcd_url import EtcdUrl

NODE = {"id": "n1", "data": "/tmp/n1", "listen": "127.0.0.1:7001", "voters": "n1=127.0.0.1:7001"}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("etcd://10.0.0.1:2379", EtcdUrl(("10.0.0.1:2379",))),
        ("etcd://a:1,b:2,[::1]:3", EtcdUrl(("a:1", "b:2", "[::1]:3"))),
        ("etcd://a:1/?prefix=/c/x/", EtcdUrl(("a:1",), prefix="/c/x/")),
        ("etcd://a:1?lease=5s", EtcdUrl(("a:1",), lease_s=5)),
        ("etcd://a:1?lease=60", EtcdUrl(("a:1",), lease_s=60)),
        ("etcd://a:1?tls=on", EtcdUrl(("a:1",), tls=True)),
        ("etcd://a:1?ca=/x/ca.pem", EtcdUrl(("a:1",), ca="/x/ca.pem", tls=True)),
        ("etcd://a:1?cert=c&key=k", EtcdUrl(("a:1",), cert="c", key="k", tls=True)),
    ],
)
def test_what_is_understood(text: str, url: EtcdUrl) -> None:
    assert EtcdUrl.parse(text) == url
    assert load({**NODE, "consensus": text}, {}).consensus == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("zookeeper", "neither raftos nor etcd"),
        ("etcd://", "not host:port"),
        ("etcd://a", "not host:port"),
        ("etcd://a:0", "not host:port"),
        ("etcd://a:1,", "not host:port"),
        ("etcd://a:1,b:x", "'b:x' is not host:port"),
        ("etcd://" + ",".join(["a:1"] * 17), "more than 16"),
        ("etcd://a:1/path", "only host:port"),
        ("etcd://a:1#x", "only host:port"),
        ("etcd://a:1?prefix", "not name=value"),
        ("etcd://a:1?prefix=", "empty"),
        ("etcd://a:1?prefix=x", "begins and ends with /"),
        ("etcd://a:1?prefix=/x", "begins and ends with /"),
        ("etcd://a:1?prefix=/%00/", "begins and ends with /"),
        ("etcd://a:1?password=x", "no option 'password'"),
        ("etcd://a:1?cert=c", "belong together"),
        ("etcd://a:1?tls=maybe", "on or off"),
        ("etcd://a:1?tls=off&ca=c", "contradicts"),
        ("etcd://a:1?lease=1s", "2s to 60s"),
        ("etcd://a:1?lease=5m", "2s to 60s"),
    ],
)
def test_what_is_refused_in_one_sentence(text: str, why: str) -> None:
    with pytest.raises(Fault, match="Setting consensus") as refused:
        load({**NODE, "consensus": text}, {})
    assert why in refused.value.message
    assert "etcd://" in refused.value.remedy
