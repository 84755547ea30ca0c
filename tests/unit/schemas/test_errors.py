"""An error says what happened and the way out, also on the other side of a process border."""

import pickle

import pytest

from schemas import errors
from schemas.errors import InputError, MissingCredential, TierwiseError


def kinds() -> list[type[TierwiseError]]:
    found = [each for each in vars(errors).values() if isinstance(each, type)]
    return [
        each
        for each in found
        if issubclass(each, TierwiseError) and each not in (errors.SpecError, errors.ReviewError)
    ]


@pytest.mark.parametrize("kind", kinds())
def test_every_error_fills_in_its_fields_and_can_be_pickled(kind: type[TierwiseError]) -> None:
    names = ("tier", "variable", "model", "why", "feature", "package", "port", "url", "known", "job", "state")
    error = kind(**{name: "{x}" for name in (*names, "path", "key", "name", "count", "jobs")})

    again = pickle.loads(pickle.dumps(error))

    assert str(again) == str(error)
    assert again.exit_code == error.exit_code
    assert "{tier}" not in str(error)


def test_the_fix_follows_the_message() -> None:
    error = MissingCredential(tier="m", variable="KEY")

    assert str(error).endswith("export KEY=… and run again.")
    assert InputError(path="a", why="b", fix="Do {this}.").fix == "Do {this}."
