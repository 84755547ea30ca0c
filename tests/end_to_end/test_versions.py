"""A lake of another version, as whoever opens it is told."""

import json

from schemas import lake
from schemas.tables import VERSION
from tests.end_to_end.command import Tierwise
from tests.end_to_end.inside import tierwise


def test_a_newer_lake_is_refused_by_name_and_left_alone(place: Tierwise) -> None:
    assert tierwise(place, "doctor", "--migrate").out.splitlines()[0].endswith("migrated: nothing to do")
    stated = place.folder / "lake" / lake.VERSION
    assert json.loads(stated.read_text())["version"] == VERSION
    stated.write_text(json.dumps({"version": VERSION + 1}))

    refused = tierwise(place, "query", "SELECT 1", "--json", code=5).json()
    assert (refused["error"], "Upgrade Tierwise" in refused["fix"]) == ("NewerSchema", True)
    assert f"{VERSION + 1}" in tierwise(place, "status", code=5).err
    assert "Upgrade Tierwise" in tierwise(place, "doctor", "--migrate", code=5).err
    assert "Upgrade Tierwise" in tierwise(place, "doctor", code=5).out

    stated.write_text(json.dumps({"version": VERSION, "migrating": True}))
    assert "doctor --migrate" in tierwise(place, "query", "SELECT 1", code=5).err
