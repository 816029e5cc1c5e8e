"""A real identity provider (nanoidp) on a free port, with people, groups and keys of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

CLIENT, SECRET = "techport", "the client's secret"
PEOPLE = {
    "kari": {"password": "karis password", "email": "kari@example.org", "groups": ["air-team", "staff"]},
    "ola": {"password": "olas password", "email": "ola@example.org", "groups": ["admins"]},
    "eva": {"password": "evas password", "email": "eva@example.org", "groups": []},
}


class NanoIdp:
    """A running provider."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.issuer = f"http://127.0.0.1:{port}"

    @property
    def private_key(self) -> str:
        """The key that it signs with (PEM)."""
        return next(self.folder.rglob("*private*.pem")).read_text()

    def sign_in(self, address: str, name: str) -> httpx.Response:
        """Open the address that a platform sends a browser to, and sign in there. Returns the way back."""
        with httpx.Client(timeout=30) as browser:
            form = browser.get(address)
            found = re.search(r'name="transaction_id" value="([^"]+)"', form.text)
            assert found is not None, form.text
            fields = {"transaction_id": found[1], "username": name, "password": str(PEOPLE[name]["password"])}
            return browser.post(str(form.url), data=fields)


@contextmanager
def nanoidp(folder: Path, port: int) -> Iterator[NanoIdp]:
    """Run one. Raises RuntimeError when it does not start."""
    (folder / "keys").mkdir(parents=True)
    issuer = f"http://127.0.0.1:{port}"
    clients = [{"client_id": CLIENT, "client_secret": SECRET, "description": "techport"}]
    settings = {
        "config_version": 1,
        "server": {"host": "127.0.0.1", "port": port},
        "jwt": {"keys_dir": str(folder / "keys")},
        "oauth": {"issuer": issuer, "audience": CLIENT, "token_expiry_minutes": 60, "clients": clients},
    }
    people = {name: {**person, "roles": ["USER"], "tenant": "default"} for name, person in PEOPLE.items()}
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    (folder / "users.yaml").write_text(yaml.safe_dump({"config_version": 1, "users": people}))
    command = [sys.executable, "-m", "nanoidp", "--config", str(folder), "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                httpx.get(f"{issuer}/.well-known/openid-configuration").raise_for_status()
                break
            except httpx.HTTPError as error:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError((folder / "log").read_text()) from error
                time.sleep(0.1)
        yield NanoIdp(folder, port)
    finally:
        process.terminate()
        process.wait(30)
