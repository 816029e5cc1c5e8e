"""What a command says when a person has to change something first. The command line prints it and exits with code 2."""

from __future__ import annotations


class CannotRun(Exception):
    """The command cannot do what it was asked; the text says what was wrong and what to do instead."""
