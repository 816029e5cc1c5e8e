"""The OGC conformance suite for SensorThings (ets-sta10, Apache-2.0, OGC), run headless.

One jar with everything in it, from Maven Central: fetched once with mvn into its own cache.
"""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

from tests.conftest import unavailable

ARTIFACT = "org.opengis.cite:ets-sta10:1.5:jar:aio"
JAR = "repository/org/opengis/cite/ets-sta10/1.5/ets-sta10-1.5-aio.jar"


class Verdict(NamedTuple):
    name: str
    status: str  # PASS, FAIL or SKIP
    reason: str


def jar() -> Path:
    """Path of the suite. Skips where there is no Java or it cannot be fetched, fails there in CI."""
    if shutil.which("java") is None:
        unavailable("java (17) is not here")
    found = Path.home() / ".m2" / JAR
    if not found.is_file():
        if shutil.which("mvn") is None:
            unavailable(f"neither {ARTIFACT} nor mvn to fetch it is here")
        fetch = ["mvn", "-q", "dependency:get", f"-Dartifact={ARTIFACT}", "-Dtransitive=false"]
        if subprocess.run(fetch, check=False, timeout=600).returncode or not found.is_file():
            unavailable(f"{ARTIFACT} could not be fetched")
    return found


def run(root: str, folder: Path, level: int = 1) -> list[Verdict]:
    """What the tests of that level say about the service at `root`. Levels 2 and 3 delete what they find."""
    properties = folder / "run.xml"
    # Without a DOCTYPE: its DTD would be fetched from the network.
    properties.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><properties version="1.0">'
        f'<entry key="iut">{root}</entry><entry key="ics">{level}</entry></properties>'
    )
    command = ["java", "-Xmx256m", f"-Duser.home={folder}", "-jar", str(jar()), str(properties)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder, check=False)
    results = sorted(folder.rglob("testng-results.xml"))
    assert results, f"the suite left no results: {done.stdout[-1000:]} {done.stderr[-2000:]}"
    conformance = f"Conformance Level {level}"
    tests = [t for t in ElementTree.parse(results[-1]).iter("test") if t.get("name") == conformance]
    return [
        Verdict(method.get("name", ""), method.get("status", ""), (method.findtext(".//message") or "").strip())
        for test in tests
        for method in test.iter("test-method")
        if method.get("is-config") != "true"
    ]
