"""What routing earns on recorded outcomes, every figure judged out of fold. Spends nothing.

python -m tests.benchmarks.routing [--quick]

Needs the folder of recorded outcomes (TIERWISE_DATA, or shared/data beside the checkout); says so where it is not.
"""

import sys
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits

from tests.benchmarks import routing_alone, routing_cascades, routing_textclass
from tests.benchmarks.figures import write
from tests.data import FOLDER

PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "cascades9": routing_cascades.measure,
    "textclass": lambda repeats: routing_textclass.measure(max(2, repeats // 4)),
    "routing_alone": routing_alone.measure,
}


def main() -> None:
    if not FOLDER.is_dir():
        sys.exit(f"{FOLDER} is not here: set TIERWISE_DATA to the folder of recorded outcomes")
    repeats = 2 if "--quick" in sys.argv else 20
    found: dict[str, Any] = {"repeats": repeats}
    with threadpool_limits(1):  # thousands of small fits: threads would only wait for each other
        for name, part in PARTS.items():
            found[name] = part(repeats)
            write("routing", found)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
