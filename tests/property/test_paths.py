"""Nothing that a person, a spec or a message names can lead out of the lake."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipeline.storage.keys import check_key
from pipeline.storage.local import LocalStorage
from pipeline.storage.s3_location import parse_location
from schemas import lake
from schemas.errors import LakeUnreachable, NoSuchObject, UnknownScheme
from schemas.ids import BatchIndex, Fence, Generation, JobId
from schemas.job import Budget
from schemas.model import Model, name_field
from schemas.tables import TABLES
from tests.end_to_end.command import Tierwise
from tests.end_to_end.inside import tierwise

NASTY = [
    "..",
    ".",
    "",
    "/",
    "\\",
    "\0",
    "../..",
    "a/../../b",
    "/etc/passwd",
    "C:\\x",
    "~",
    "job=a",
    "\n",
    "%2e%2e",
    "*",
]
pieces = st.lists(st.sampled_from([*NASTY, "a", "job", "_live"]) | st.text(max_size=5), max_size=5)
nasty = pieces.map("/".join) | pieces.map("".join)


class Named(Model):
    name: str = name_field()


def keys(job: str) -> list[str]:
    made, first, batch = JobId(job), Generation(1), BatchIndex(0)
    tables = [
        key
        for name in TABLES
        for key in (lake.final(name, made), lake.part(name, made, first, batch, Fence(1)))
    ]
    return [
        *tables,
        lake.manifest(made),
        lake.batch_file(made, first, batch),
        lake.commit(made, first, batch),
    ]


@given(nasty)
def test_a_job_id_that_passes_names_only_places_of_its_own(job: str) -> None:
    if not lake.JOB_ID.fullmatch(job):
        return
    with tempfile.TemporaryDirectory() as folder:
        storage = LocalStorage(folder)
        for key in keys(job):
            path = os.path.normpath(storage.path(key))
            assert path.startswith(f"{storage.root}{os.sep}")
            assert job in path.split(os.sep) or f"job={job}" in path.split(os.sep)


@given(nasty)
def test_any_key_stays_in_the_lake_or_is_refused(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = LocalStorage(folder)
        for key in (name, *keys(name)):
            try:
                path = os.path.normpath(storage.path(key))
            except ValueError:
                continue
            assert path.startswith(f"{storage.root}{os.sep}")


@given(nasty)
def test_names_of_specs_are_no_paths(name: str) -> None:
    for kind, field in ((Named, "name"), (Budget, "account")):
        try:
            said: Any = TypeAdapter(kind).validate_python(
                {field: name, **({"usd": "1"} if kind is Budget else {})}
            )
        except ValidationError:
            continue
        value = getattr(said, field)
        assert value[0].isalnum()
        assert not {"\\", "\0", "\n", "=", "*"} & set(value)
        if field == "name":
            assert check_key(value) == value


@given(nasty)
def test_a_prefix_on_s3_cannot_climb(prefix: str) -> None:
    try:
        location = parse_location(f"s3://bucket/{prefix}")
    except UnknownScheme:
        return
    assert not {"..", "."} & set(location.prefix.split("/"))
    assert location.bucket == "bucket"


@pytest.mark.parametrize("link", ["results", "_jobs"])
async def test_links_out_of_the_lake_are_not_followed(tmp_path: Path, link: str) -> None:
    storage = LocalStorage(tmp_path / "lake")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "data").write_bytes(b"secret")
    storage.root.mkdir()
    (storage.root / link).symlink_to(tmp_path / "outside")
    for attempt in (storage.read(f"{link}/data"), storage.write(f"{link}/new", b"x"), storage.create(f"{link}/n", b"x"),
                    storage.fetch(f"{link}/data", tmp_path / "copy"), storage.list(f"{link}/"),
                    storage.delete([f"{link}/data"])):  # fmt: skip
        with pytest.raises((LakeUnreachable, NoSuchObject)):
            await attempt
    assert {path.name for path in (tmp_path / "outside").iterdir()} == {"data"}


@pytest.mark.parametrize("job", [name for name in NASTY if "\0" not in name] + ["_schema", "a" * 101])
def test_no_command_takes_such_a_job(tmp_path: Path, job: str) -> None:
    place = Tierwise(folder=tmp_path / "place")
    place.folder.mkdir()
    (place.folder / "d.csv").write_text("text\nyes\n")
    (place.folder / "j.yaml").write_text(
        "name: j\ntask: {kind: classify, labels: [a, b]}\ninput: {path: d.csv}\nbudget: {usd: 0}\n"
        "tiers: [{name: t, provider: keyword, keywords: {a: ['yes']}}]\n"
    )
    if job:
        assert tierwise(place, "run", "j.yaml", "--job", job, code=2)
    before = {path for path in tmp_path.rglob("*") if "place" not in path.parts}
    for command in (("status",), ("resume",), ("cancel",), ("report",), ("why",)):
        given = (*command, "--", job) if command != ("why",) else ("why", "--", job, "q")
        said = tierwise(place, *given, code=None)
        assert said.code == 2 or (command == ("status",) and not job)
        assert "Traceback" not in said.err
    assert {path for path in tmp_path.rglob("*") if "place" not in path.parts} == before
