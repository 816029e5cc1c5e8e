"""What the URLs of servers' stores have in common: where the secret is, and options with a choice or a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from techport_storage.errors import StoreUnavailable


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a token or a password is: in a file or in a variable of the environment."""

    name: str  # for messages, as "InfluxDB token"
    file: Path | None = None
    variable: str | None = None

    @classmethod
    def take(cls, options: dict[str, str], kind: str, server: str) -> Secret:
        """Takes KIND_file and KIND_env out of the options of a URL. Raises ValueError unless there is one of them."""
        file, variable = options.pop(f"{kind}_file", None), options.pop(f"{kind}_env", None)
        if bool(file) == bool(variable):
            raise ValueError(f"say where the {server} {kind} is: {kind}_file=FILE or {kind}_env=NAME")
        return cls(f"{server} {kind}", Path(file) if file else None, variable or None)

    @property
    def place(self) -> str:
        """For messages."""
        return f"file {self.file}" if self.file is not None else f"variable {self.variable}"

    def read(self) -> str:
        """The secret itself. Raises StoreUnavailable, naming the place."""
        if self.file is None:
            secret = os.environ.get(self.variable or "", "").strip()
        else:
            try:
                secret = self.file.read_text("utf-8").strip()
            except OSError as error:
                raise StoreUnavailable(f"{self.name} in {self.file}: {error.strerror}") from None
            except UnicodeDecodeError:
                raise StoreUnavailable(f"{self.name} in {self.file}: not a text in UTF-8") from None
        if not secret:
            raise StoreUnavailable(f"the {self.place} holds no {self.name}")
        return secret


def take_choice(options: dict[str, str], name: str, *choices: str) -> str:
    """Takes an option out of the options of a URL; the first choice where it is not given. Raises ValueError."""
    chosen = options.pop(name, choices[0])
    if chosen not in choices:
        raise ValueError(f"{name}={chosen}: use {' or '.join(choices)}")
    return chosen


def take_timeout(options: dict[str, str], default: float) -> float:
    """Takes the option `timeout` out of the options of a URL, in seconds. Raises ValueError."""
    text = options.pop("timeout", "") or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ValueError(f"timeout={text}: give seconds between 0 and 3600")
    return seconds
