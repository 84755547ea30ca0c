"""What the README shows is what comes of its commands."""

from pathlib import Path

from tests.end_to_end.tour import README, rewritten, steps, still, walk


def test_the_tour_prints_what_stands_there(tmp_path: Path) -> None:
    readme = README.read_text(encoding="utf-8")
    assert len(steps(readme)) >= 8
    walked = list(walk(tmp_path, readme))
    for (command, printed), (_, said) in zip(walked, steps(readme), strict=True):
        assert printed == still(said), (
            f"`{command}` prints otherwise; python -m tests.end_to_end.tour writes it anew"
        )


def test_a_tour_is_written_anew_where_it_says_something_else() -> None:
    readme = "# T\n\n## A first job, step by step\nx\n```console\n$ a\nold\n$ b\n```\n\n## Next\n"
    assert steps(readme) == [("a", "old"), ("b", "")]
    anew = rewritten(readme, [("a", "new"), ("b", "")])
    assert anew == readme.replace("old", "new")
