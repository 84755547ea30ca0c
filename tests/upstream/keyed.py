"""Seeded draws that depend only on their inputs, so that a run can be repeated."""

from hashlib import blake2b

_SCALE = float(2**53)


def unit(seed: int, *parts: object) -> float:
    """A uniform number in [0, 1) from a keyed hash of the parts."""
    message = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    digest = blake2b(message, digest_size=8, key=str(seed).encode()).digest()
    return (int.from_bytes(digest, "big") >> 11) / _SCALE


def pick(options: tuple[str, ...], seed: int, *parts: object) -> str:
    """One of the options, uniformly."""
    return options[int(unit(seed, *parts) * len(options))]
