"""The figures of a job as sections, in the order in which they are read."""

from pipeline.report.figures import Figures
from pipeline.report.layout import Section
from pipeline.report.sections.certificate import certificate
from pipeline.report.sections.charted import charted
from pipeline.report.sections.drift import drift
from pipeline.report.sections.tabled import tabled


def sections(figures: Figures) -> list[Section]:
    """Those that this job has."""
    return [
        *certificate(figures.summary.certificate),
        *charted(figures),
        *tabled(figures),
        *drift(figures.drift),
    ]
