"""MetaLLM live: LinUCB picks one tier a query and that tier's answer stands (arXiv 2407.10834, section 3).

The paper's p is λ times the dearest call's cost. Cost is predicted apart from correctness instead of standing in
the regressed reward; `metallm.py` replays the method to the letter.
"""

from typing import ClassVar

from pipeline.router.policies.linucb import LinUCB


class SingleCall(LinUCB):
    longest: ClassVar[int] = 1
    epsilon: ClassVar[float] = 0.0
    profiles: ClassVar[bool] = False

    def __init__(self, alpha: float = 0.1) -> None:
        """alpha: as in the paper, of sqrt(xᵀ A⁻¹ x) where right and wrong are as frequent."""
        super().__init__(2 * alpha)
