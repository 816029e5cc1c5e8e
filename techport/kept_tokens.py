"""The API tokens that `techport login` kept, one for each platform: for the command line and for `techport.client`."""

from __future__ import annotations

import json
import os
from pathlib import Path


def tokens_file() -> Path:
    """Where tokens are kept: for the user's eyes only."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "techport" / "credentials.json"


def kept_tokens() -> dict[str, str]:
    """Token by address of the platform; {} where nobody signed in. Raises ValueError for a file that is not ours."""
    try:
        return dict(json.loads(tokens_file().read_text()))
    except FileNotFoundError:
        return {}


def keep_tokens(tokens: dict[str, str]) -> None:
    file = tokens_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
        json.dump(tokens, output)
    draft.replace(file)
