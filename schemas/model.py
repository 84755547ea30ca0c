"""The base of everything a person writes in YAML."""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Frozen, and refuses keys it does not know: a misspelt key is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


def name_field() -> Any:
    """A name that is safe in paths, SQL and tables."""
    return Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


def variable(name: str) -> str:
    """Said without the name, which may be the key itself."""
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,99}", name):
        raise ValueError(
            "is no name of an environment variable (capitals, digits, _); a key has no place here"
        )
    return name
