"""deploy/audit against tools that answer as the real ones do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

BILL = '#!/bin/sh\nwhile [ "$1" != --output-file ]; do shift; done\necho "{}" > "$2"\n'
ADVISORY = {"dependencies": [{"name": "some", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}]}


def _audit(folder: Path, pip_audit: str) -> subprocess.CompletedProcess[str]:
    tools = folder / "tools"
    tools.mkdir()
    (folder / "requirements.txt").write_text("some==1\n")
    for name, text in (("cyclonedx-py", BILL), ("pip-audit", "#!/bin/sh\n" + pip_audit)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    command = [ROOT / "deploy/audit", folder]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (folder / "sbom.json").read_text() == "{}\n"
    return result


TO_OUTPUT = 'while [ "$1" != --output ]; do shift; done\n'


def test_known_vulnerabilities_end_with_1(tmp_path: Path) -> None:
    result = _audit(tmp_path, f"{TO_OUTPUT}echo '{json.dumps(ADVISORY)}' > \"$2\"\nexit 1\n")
    assert result.returncode == 1
    assert "PYSEC-1" in result.stdout


def test_none_are_said_to_be_none(tmp_path: Path) -> None:
    answer = {"dependencies": [{"name": "some", "version": "1", "vulns": []}, {"name": "odd", "skip_reason": "?"}]}
    result = _audit(tmp_path, f"{TO_OUTPUT}echo '{json.dumps(answer)}' > \"$2\"\n")
    assert result.returncode == 0
    assert "no known vulnerabilities of 1 packages (source: pypi); of 1 it knows nothing" in result.stdout


def test_a_source_that_knows_no_package_has_not_answered(tmp_path: Path) -> None:
    """A mirror of packages without advisories skips every package and ends with 0."""
    answer = {"dependencies": [{"name": "some", "skip_reason": "not found on PyPI"}]}
    result = _audit(tmp_path, f"{TO_OUTPUT}echo '{json.dumps(answer)}' > \"$2\"\n")
    assert result.returncode == 0
    assert "skipped: no source of advisories answers (osv knows none of the 1 packages)" in result.stdout
    assert "no known vulnerabilities" not in result.stdout


def test_without_a_source_it_is_skipped_with_the_reason(tmp_path: Path) -> None:
    result = _audit(tmp_path, 'echo "connection refused" >&2\nexit 1\n')
    assert result.returncode == 0
    assert "skipped: no source of advisories answers (connection refused)" in result.stdout


@pytest.mark.parametrize("tool", ["cyclonedx-bom", "pip-audit"])
def test_the_tools_are_locked(tool: str) -> None:
    assert f'name = "{tool}"' in (ROOT / "uv.lock").read_text()
