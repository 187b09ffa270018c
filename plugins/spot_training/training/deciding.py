"""What comes next when no job of the training is alive: the rules of `domain.decide` on its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spot_training.domain.decide import (
    decide,
    end_watching,
    finish_if_complete,
    give_up_at_limit,
    is_on_demand,
    pause_before,
)
from spot_training.domain.errors import BudgetSpent
from spot_training.domain.ladder import Action, Decision, Situation
from spot_training.domain.lifecycle import Ending
from spot_training.domain.parsing import in_words
from spot_training.domain.savings import PurchaseOption
from spot_training.sagemaker.request import max_runtime_of

from . import way_back
from .deadline import has_way_back, outlook_of, settle_deadline
from .tries import climb_again

if TYPE_CHECKING:
    from .active import ActiveTraining


def decide_next(training: ActiveTraining) -> Decision:
    """The next decision. Before a refused step is asked for again, time passes, and it is decided anew."""
    decision = _decide(training)
    if _pause_before_retry(training, decision):
        decision = _decide(training)
    return decision


def _decide(training: ActiveTraining) -> Decision:
    """By the rules of `domain.decide`, in their order."""
    if decision := give_up_at_limit(training.state.attempts, training.state.giving_up):
        return decision
    if _was_stopped_with_earlier_try(training):
        training.save(climb_again(training.state))
    if decision := finish_if_complete(training.state.attempts):
        return decision
    if training.host.only_watches:
        return end_watching(training.state.attempts)
    return _ask_policy(training)


def _was_stopped_with_earlier_try(training: ActiveTraining) -> bool:
    """Whether the last job was stopped with its task, or for its time, and the task runs again now."""
    state = training.state
    attempts = state.attempts[state.ladder_from :]
    if not attempts:
        return False
    if attempts[-1].ending is Ending.STOPPED_AT_TIME_LIMIT:
        return not (state.giving_up or training.host.out_of_time())
    return attempts[-1].ending is Ending.STOPPED_WITH_TASK


def _ask_policy(training: ActiveTraining) -> Decision:
    settle_deadline(training)
    _warn_of_spot_without_checkpoints(training)
    policy = training.policy()
    is_first = not training.state.attempts
    if is_first:
        for note in getattr(policy, "notes", ()):
            training.host.say(note)
    goes_back = has_way_back(policy)
    if goes_back and is_first:
        way_back.learn(training, policy)
    decision = decide(policy, _situation(training), training.host.check_budget)
    if goes_back and not is_first and is_on_demand(decision):
        way_back.learn(training, policy)
    if decision.budget_usd is not None and is_first:
        way_out = f"{decision.reason}. Raise it, choose a policy with spot, or train next month."
        raise BudgetSpent("budget", decision.budget_usd, way_out)
    return decision


def _warn_of_spot_without_checkpoints(training: ActiveTraining) -> None:
    """The first line in the log of a training that each interruption sends back to its start."""
    if training.state.attempts or training.plan().checkpoint_uri is not None:
        return
    if all(step.purchase is PurchaseOption.ON_DEMAND for step in training.policy().steps):
        return
    longest = in_words(max_runtime_of(training.plan().request))
    training.host.say(
        "This training runs on spot without checkpoints: the config has no CheckpointConfig. An interruption "
        "loses all work done so far. The lost work is billed and done again from zero, up to "
        f"{longest} (MaxRuntimeInSeconds) each time."
    )


def _situation(training: ActiveTraining) -> Situation:
    climbed = training.state.attempts[training.state.ladder_from :]
    return Situation(attempts=climbed, outlook=outlook_of(training))


def _pause_before_retry(training: ActiveTraining, decision: Decision) -> bool:
    """Let time pass before a refused step is asked for again. Returns whether any passed."""
    attempts = training.state.attempts
    if decision.action is not Action.START or not attempts or not attempts[-1].was_refused:
        return False
    seconds = pause_before(decision, _situation(training))
    if not seconds:
        return False
    training.host.say(f"Asking again in {in_words(seconds)}.")
    training.rest(seconds, is_over=training.host.out_of_time, meanwhile=training.host.pauses)
    return True
