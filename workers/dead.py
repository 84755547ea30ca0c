"""Processes of this host that died with leases in hand: their work need not wait for the leases to run out."""

import os
import socket

from pipeline.work import Services


async def end_dead_leases(services: Services) -> list[str]:
    """Ends the leases of owners ("host:pid:random") whose process is gone from this host; says whose. A wrong
    guess (one host name for two machines) costs the calls in flight, no more: leases are fenced."""
    owners = await services.ledger.owners(services.clock())
    dead = [owner for owner in sorted(owners) if _died_here(owner)]
    for owner in dead:
        await services.ledger.end_leases(owner)
    return dead


def _died_here(owner: str) -> bool:
    host, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
