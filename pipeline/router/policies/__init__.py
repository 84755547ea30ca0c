"""What a policy is: one file each, one method to write, one line here."""

from collections.abc import Callable

from pipeline.router.policies.epsilon_greedy import EpsilonGreedy
from pipeline.router.policies.linucb import LinUCB
from pipeline.router.policies.single_call import SingleCall
from pipeline.router.policies.thompson import Thompson
from pipeline.router.scoring import Scoring

SCORINGS: dict[str, Callable[..., Scoring]] = {
    "epsilon-greedy": EpsilonGreedy,
    "linucb": LinUCB,
    "thompson": Thompson,
    "metallm": SingleCall,
}
OPTIMISTIC = ("linucb", "metallm")
