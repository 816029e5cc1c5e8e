"""Reports as PDF: by the machine's Chromium, which is ended with all that it starts, or an error that helps."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from techport import pdf
from techport.errors import CannotRun
from techport.pdf import find_browser, write_pdf
from techport_pilots.children import processes_with
from tests.servers.chromium import find_chromium

REPORT = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Report: a street</title>
<style>@page { size: A4 }</style></head><body><h1>Is it quieter?</h1><h2>Data</h2>
<table><thead><tr><th>Device</th></tr></thead><tr><td>lamp</td></tr></table></body></html>"""


def browser_that(folder: Path, does: str) -> str:
    script = folder / "browser"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def test_a_report_is_printed_with_its_structure(tmp_path: Path) -> None:
    file = tmp_path / "report.pdf"
    write_pdf(REPORT, file, browser=find_chromium())
    content = file.read_bytes()
    assert content.startswith(b"%PDF-")
    assert b"/StructTreeRoot" in content, "it is tagged"
    assert b"/MarkInfo" in content
    assert b"/Lang" in content
    width, height = (float(n) for n in content.split(b"/MediaBox [")[1].split(b"]")[0].split()[2:4])
    assert (round(width), round(height)) in ((595, 842), (596, 842)), "A4, in points"


def test_without_a_browser_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotRun, match=r"apt-get install chromium.*without --pdf.*print it as PDF"):
        find_browser()


def test_a_browser_that_prints_nothing_is_quoted(tmp_path: Path) -> None:
    broken = browser_that(tmp_path, "echo cannot open display >&2")
    with pytest.raises(CannotRun, match="printed no PDF: cannot open display"):
        write_pdf(REPORT, tmp_path / "report.pdf", browser=broken)
    assert not (tmp_path / "report.pdf").exists()


def test_a_browser_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    child = f"3{os.getpid()}.5"  # seconds that nothing else sleeps
    hanging = browser_that(tmp_path, f"sleep {child} & sleep {child}")
    with pytest.raises(CannotRun, match="did not print the report within"):
        write_pdf(REPORT, tmp_path / "report.pdf", patience_s=0.5, browser=hanging)
    until = time.monotonic() + 300
    while processes_with("sleep", child) and time.monotonic() < until:
        time.sleep(0.05)
    assert processes_with("sleep", child) == []


def test_the_browser_gets_a_profile_of_its_own(tmp_path: Path) -> None:
    noted = tmp_path / "arguments"
    browser = browser_that(tmp_path, f'echo "$@" > {noted}')
    with pytest.raises(CannotRun):
        write_pdf(REPORT, tmp_path / "report.pdf", browser=browser)
    arguments = noted.read_text()
    assert "--headless" in arguments
    assert "--user-data-dir=" in arguments
    assert "http" not in arguments, "the report is a file: nothing is fetched"
    assert pdf.PATIENCE_S > 60
