"""Reports as PDF, printed by a Chromium of this machine: tagged, so that screen readers know headings and tables."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from techport.errors import CannotRun
from techport_pilots.children import start_child

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
PATIENCE_S = 120.0

_ARGUMENTS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-pdf-header-footer",
    "--generate-pdf-document-outline",
)


def find_browser() -> str:
    """Path of a Chromium. Raises CannotRun, which says what else there is."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise CannotRun(
            f"there is no Chromium here to make a PDF with (looked for {', '.join(BROWSERS)}): install one "
            "(apt-get install chromium), or write the report without --pdf, open it in any browser and print it as PDF"
        )
    return browser


def write_pdf(html: bytes, file: Path, patience_s: float = PATIENCE_S, browser: str | None = None) -> None:
    """Print one HTML file that needs nothing else to `file`. Raises CannotRun where the browser does not do it.

    The browser has a profile of its own for this once, and is ended with all that it started when it takes longer than
    `patience_s` seconds.
    """
    browser = browser or find_browser()
    with tempfile.TemporaryDirectory(prefix="techport-pdf-", ignore_cleanup_errors=True) as folder:
        source, printed = Path(folder) / "report.html", Path(folder) / "report.pdf"
        source.write_bytes(html)
        root = hasattr(os, "geteuid") and os.geteuid() == 0  # its sandbox does not work for root
        command = [browser, *_ARGUMENTS, *(["--no-sandbox"] if root else []), f"--user-data-dir={folder}/profile"]
        output = _run([*command, f"--print-to-pdf={printed}", source.as_uri()], Path(folder), patience_s)
        content = printed.read_bytes() if printed.exists() else b""
        if not content.startswith(b"%PDF-"):
            lines = [line for line in output.splitlines() if line.strip()]
            raise CannotRun(f"{browser} printed no PDF: {lines[-1][:300] if lines else 'it said nothing'}")
        file.write_bytes(content)


def _run(command: Sequence[str], folder: Path, patience_s: float) -> str:
    """What the browser said. It leads a group of processes, by whose number all of them are ended."""
    log = folder / "browser.log"
    with log.open("wb") as output:
        process = start_child(
            command,
            signal.SIGKILL,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=folder,
        )
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise CannotRun(f"{command[0]} did not print the report within {patience_s:.0f} s") from None
        finally:
            _end_group(process)
    return log.read_text("utf-8", "replace")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of them have ended by themselves
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
