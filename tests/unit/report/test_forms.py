"""Text stays text in each form, and charts are pictures alone."""

from html.parser import HTMLParser

from pipeline.report.charts import frontier_chart, svg
from pipeline.report.frontier import Frontier, Point
from pipeline.report.layout import dollars, listed, table, texts, usd
from pipeline.report.markdown import text
from pipeline.report.share import wilson

EVIL = '<script>alert(1)</script>" onload="x'


def test_a_chart_holds_no_markup_of_its_data() -> None:
    point = Point(kind="tier", name=EVIL, queries=9, accuracy=wilson(8, 9), usd_per_1000=0.1)
    drawn = svg(frontier_chart(Frontier(reference="gold", drawn=True, points=[point])), f"8 of 9 {EVIL}")
    assert drawn.startswith('<svg role="img" aria-label="8 of 9 &lt;script&gt;')
    assert "<script" not in drawn
    assert "onload" not in attributes(drawn)
    assert "://" not in drawn
    assert "style=" not in drawn  # the page's policy allows none


def attributes(markup: str) -> set[str]:
    found: set[str] = set()
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, given: found.update(name for name, _ in given)  # type: ignore[method-assign]
    reader.feed(markup)
    assert "aria-label" in found
    return found


def test_markdown_is_escaped_and_in_one_line() -> None:
    assert text("a|b\nc *d* <e>") == r"a\|b c \*d\* \<e\>"


def test_cells_align_and_are_cut() -> None:
    assert dollars([1, 0.5, None]) == ["$1.0000", "$0.5000", ""]
    assert dollars([12, 0]) == ["$12.00", "$0.00"]
    assert [usd(amount) for amount in (0, 0.00012, 0.05, 1234.5)] == [
        "$0.00",
        "$0.000120",
        "$0.0500",
        "$1,234.50",
    ]
    assert len(texts(["x" * 5000])[0]) == 200
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert table("t", [], {"a": ("a", texts)}).rows == []
