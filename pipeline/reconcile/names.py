"""Which name of an export stands for which model of ours: `gpt-4.1-nano` is billed as `gpt-4.1-nano-2025-04-14`."""

import re
from collections.abc import Collection, Mapping

import msgspec

_VENDOR = re.compile(r"(?:[a-z]{2,6}\.)?(?:[a-z0-9]+)\.(?=[a-z])")
_DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|20\d{6})(?=$|-|:)")
_VERSION = re.compile(r":\d+$")
_FIRST = re.compile(r"-(?:v?1)$")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z]|v\d+$)")
_WORD = re.compile(r"\d+|[a-z]+")


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A name of ours, the export's name for it (None: it has none), and how that was found or why not."""

    ours: str
    theirs: str | None
    why: str = ""  # empty: they are the same


def match(ours: Collection[str], theirs: Collection[str], given: Mapping[str, str]) -> list[Match]:
    """`given`: our name -> the export's, as the operator says."""
    found = []
    for name in sorted(ours):
        if name in given:
            found.append(Match(ours=name, theirs=given[name], why="as --model says"))
        elif name in theirs:
            found.append(Match(ours=name, theirs=name))
        else:
            found.append(_alike(name, theirs))
    return found


def _alike(name: str, theirs: Collection[str]) -> Match:
    alike = sorted(each for each in theirs if words(each) == words(name))
    if len(alike) == 1:
        return Match(
            ours=name, theirs=alike[0], why="the only name that differs by date, version or spelling"
        )
    why = f"{' and '.join(alike)} may both be it: --model {name}=NAME" if alike else ""
    return Match(ours=name, theirs=None, why=why)


def words(name: str) -> tuple[str, ...]:
    """What a model is called without vendor, region, date and version, in no order: AWS writes Claude4Sonnet."""
    plain = _CAMEL.sub("-", name).lower()
    if not plain.startswith("gpt"):
        plain = _VENDOR.sub("", plain, count=1)
    plain, versioned = _VERSION.subn("", plain)
    plain = _DATE.sub("", _FIRST.sub("", plain) if versioned else plain)
    return tuple(sorted(word for word in _WORD.findall(plain) if word != "instruct"))
