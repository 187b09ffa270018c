"""What the engine knows of a job that is not over, beyond what a client can see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .lifecycle import SecondaryStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from .work import Work


@dataclass(slots=True, eq=False)
class Run:
    """A job from CreateTrainingJob to its end.

    `phase` changes with each status and each launch, `stretch` with each start on instances: events and
    reports that belong to an earlier one are ignored.
    """

    name: str
    is_spot: bool
    is_over: bool = False
    phase: int = 0
    stretch: int = 0
    work: Work | None = None
    is_launching: bool = False
    #: What it runs on, or ran on last. Instance groups can be of several types.
    instance_types: tuple[str, ...] = ()
    price_ratio: float = 1.0
    #: Checkpoints uploaded in this stretch.
    checkpoints: int = 0
    ends_as: SecondaryStatus = SecondaryStatus.COMPLETED
    failure: str | None = None
    ending_message: str | None = None
    retries: int = 0
    _missing: set[str] = field(default_factory=set)
    _then: Callable[[], None] | None = None

    def enter_phase(self) -> None:
        """Forget what the phase before was waiting for."""
        self.phase += 1
        self._missing = set()
        self._then = None

    def wait_for(self, what: set[str], then: Callable[[], None]) -> None:
        """Call `then` when everything in `what` has arrived in this phase."""
        self._missing = what
        self._then = then

    def arrive(self, what: str) -> None:
        """Note that one of the things the phase waits for is there."""
        if what not in self._missing:
            return
        self._missing.discard(what)
        if not self._missing and self._then:
            then, self._then = self._then, None
            then()
