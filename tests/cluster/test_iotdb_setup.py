"""A new cluster of IoTDB is given a password that not everybody knows."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from techport.commands.store import app
from techport_storage.errors import StoreUnavailable
from techport_storage.store import open_store
from tests.servers.iotdb import Cluster

pytestmark = pytest.mark.cluster


def test_the_first_password_is_replaced_once(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "iotdb", size=1)
    cluster.start()
    try:
        secret, wrong = tmp_path / "secret", tmp_path / "wrong"
        secret.write_text("dreiChinesen\n")
        wrong.write_text("root\n")
        place = f"iotdb://127.0.0.1:{cluster.datanodes[0].port}/techport?copies=1&timeout=10"
        url = f"{place}&password_file={secret}"
        for text in ("the password was set\n", "the password was set before\n"):
            result = CliRunner().invoke(app, ["init", "--store", url])
            assert (result.exit_code, result.output) == (0, text)
        with closing(open_store(url)) as store:
            store.probe()
        with pytest.raises(StoreUnavailable):
            open_store(f"{place}&password_file={wrong}")
    finally:
        cluster.stop()
