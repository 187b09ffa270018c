"""`/_local/`: the control API for people and tests, and a page of the jobs."""

from .routes import PREFIX, BadControlRequestError, Control, Fields

__all__ = ["PREFIX", "BadControlRequestError", "Control", "Fields"]
