"""The cluster's secret, and the cluster's id, which is made of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from node.core.faults import Code, Fault


def read_secret(path: Path) -> str:
    """Raises Fault when it cannot be read, is too short, or others may read it."""
    remedy = (
        "Name the cluster's secret file with --secret-file, or copy it there; for a new cluster make one:"
        " openssl rand -hex 32 > FILE; chmod 600 FILE."
    )
    try:
        secret = path.read_text().strip()
        mode = path.stat().st_mode & 0o077
    except OSError as error:
        message = f"The cluster's secret {path} cannot be read: {error.strerror}."
        raise Fault(Code.INVALID, message, remedy) from None
    except UnicodeDecodeError:
        raise Fault(Code.INVALID, f"The cluster's secret {path} is not text.", remedy) from None
    if len(secret) < 32 or not secret.isascii() or not secret.isprintable():
        raise Fault(Code.INVALID, f"The cluster's secret {path} is not 32 or more characters.", remedy)
    if mode:
        raise Fault(Code.INVALID, f"Others may read the cluster's secret {path}.", f"Run: chmod 600 {path}")
    return secret


def cluster_id_of(secret: str) -> str:
    """Daemons with one secret are one cluster; messages of others are dropped."""
    return hashlib.sha256(b"cortex cluster\0" + secret.encode()).hexdigest()[:32]
