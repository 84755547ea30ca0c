"""The switch that keeps tests from spending money: only this machine may be called."""

import ipaddress
import os

from schemas.errors import TierwiseError

SWITCH = "TIERWISE_FORBID_REMOTE"


class RemoteForbidden(TierwiseError):
    """The host {host!r} was about to be called while TIERWISE_FORBID_REMOTE is set. Nothing was sent."""

    exit_code = 2
    fix = "Unset TIERWISE_FORBID_REMOTE, or point the tier at a server on this machine."


def remote_forbidden() -> bool:
    return os.environ.get(SWITCH, "0") not in ("", "0")


def is_loopback(host: str) -> bool:
    """By name or address, without a look-up: a name that merely resolves to this machine is not believed."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_host(host: str) -> None:
    """Raise RemoteForbidden when the switch is on and the host is not this machine."""
    if remote_forbidden() and not is_loopback(host):
        raise RemoteForbidden(host=host)
