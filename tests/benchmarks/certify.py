"""What a certificate is worth, on recorded outcomes: coverage, tightness, and what each part of the router adds.

python -m tests.benchmarks.certify [--quick] [coverage] [labels] [tightness] [ablation]

Needs the folder of recorded outcomes (TIERWISE_DATA, or shared/data beside the checkout), and for the comparison
BARGAIN in build/bargain; says so where they are not. Spends nothing. One core: about ten minutes.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits

from tests.benchmarks import certify_ablation, certify_coverage, certify_labels, certify_tightness
from tests.benchmarks.figures import FOLDER as FIGURES
from tests.benchmarks.figures import write
from tests.data import FOLDER

PARTS: dict[str, Callable[[bool], dict[str, Any]]] = {
    "coverage": lambda quick: certify_coverage.measure(50 if quick else 1000),
    "labels": lambda quick: certify_labels.measure(50 if quick else 1000),
    "tightness": lambda quick: certify_tightness.measure(5 if quick else 200),
    "ablation": lambda quick: certify_ablation.measure(1 if quick else 5),
}


def main() -> None:
    if not FOLDER.is_dir():
        sys.exit(f"{FOLDER} is not here: set TIERWISE_DATA to the folder of recorded outcomes")
    named = [name for name in sys.argv[1:] if not name.startswith("--")]
    found = _before() if named else {}
    with threadpool_limits(1):  # many small arrays: threads would only wait for each other
        for name in named or PARTS:
            found[name] = PARTS[name]("--quick" in sys.argv)
            write("certify", found)
            sys.stdout.flush()


def _before() -> dict[str, Any]:
    """Parts measured by themselves join the others' figures."""
    path = FIGURES / "certify.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


if __name__ == "__main__":
    main()
