"""How figures are repeated, summed up and written."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path("build/figures")


def summed(values: Sequence[float], unit: str, digits: int = 1) -> dict[str, Any]:
    """Median and spread (lowest to highest) of repeated measurements."""
    return {
        "median": round(statistics.median(values), digits),
        "spread": [round(min(values), digits), round(max(values), digits)],
        "unit": unit,
        "repeats": len(values),
    }


def write(name: str, figures: dict[str, Any]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"\nwrote {path}")
