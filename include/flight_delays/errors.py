"""The errors of the flight-delay model.

ValueError
└── FlightDelaysInputError       bad input: nothing was read, written or promoted
    ├── WindowError              a window that ends before it starts, or a date that is none
    ├── ModelArtifactError       a model.tar.gz without what the training script saves
    └── EvaluationError          a holdout on which a model cannot be measured
RuntimeError
└── FlightDelaysError            the surroundings, not the input
    ├── FlightDataMissingError   the package with the flights is not installed
    └── PromotionConflictError   other runs kept changing the champion meanwhile
"""

from __future__ import annotations


class FlightDelaysInputError(ValueError):
    """Bad input: nothing was read, written or promoted."""


class WindowError(FlightDelaysInputError):
    """A window that ends before it starts, or an invalid date."""


class ModelArtifactError(FlightDelaysInputError):
    """A model.tar.gz without what the training script saves."""


class EvaluationError(FlightDelaysInputError):
    """A holdout on which a model cannot be evaluated."""


class FlightDelaysError(RuntimeError):
    """The environment failed, not the input."""


class FlightDataMissingError(FlightDelaysError):
    """The package with the flights is not installed, or has another content."""


class PromotionConflictError(FlightDelaysError):
    """Other runs kept changing the champion while this one tried to decide."""
