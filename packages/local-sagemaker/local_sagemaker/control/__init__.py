"""`/_local/`: what people and tests do to the local cloud that no AWS API can, and a page of the jobs."""

from .routes import PREFIX, BadControlRequestError, Control, Fields

__all__ = ["PREFIX", "BadControlRequestError", "Control", "Fields"]
