"""Spark reads the archive, with two workers of which one is killed meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from techport_storage.archive.rounds import Archiver
from techport_storage.clock import now
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, BucketWidth, Query, Selection, Stream
from tests.cluster.archives import archived_store
from tests.cluster.test_archive import archive, readings
from tests.servers.spark import Spark

pytestmark = pytest.mark.cluster

PROGRAM = """
import json, sys, time
from pyspark.sql import SparkSession, functions as f

session = SparkSession.builder.getOrCreate()
readings = session.read.format("delta").load(sys.argv[1])

def totals():
    rows = readings.groupBy("pilot", "device").agg(f.count("*"), f.sum("value"), f.max("time").cast("double")).collect()
    return {f"{row[0]}/{row[1]}": [row[2], row[3], row[4]] for row in rows}

print(json.dumps(totals()), flush=True)
slow = f.udf(lambda value: time.sleep(0.002) or value, "double")
spread = readings.repartition(8)
print("begun", flush=True)
print(json.dumps({"rows": spread.select(slow("value").alias("value")).filter("value is not null").count()}), flush=True)
print(json.dumps(totals()), flush=True)
"""


def test_spark_reads_it_also_when_a_worker_is_killed(tmp_path: Path) -> None:
    store = archived_store(tmp_path)
    rows = readings([Stream("luft", device, "pm10") for device in "ab"])
    store.write(Batch.of(rows))
    archive(store)
    late = [msgspec.structs.replace(row, value=row.value + 1, received=now()) for row in rows[:100]]
    store.write(Batch.of(late))
    Archiver(store, keep_months=1, grace_s=0).round()
    everything = Query(
        select=Selection(), end=store.table.snapshot().archived, every=BucketWidth(100, "y"), aggregates=("sum",)
    )
    expected = {f"{row['pilot']}/{row['device']}": row for row in store.read(everything).read_all().to_pylist()}
    newest = max(row.time for row in rows if row.time < (store.table.snapshot().archived or 0))

    def check(totals: dict[str, list[float]]) -> None:
        assert totals.keys() == expected.keys()
        for name, (count, total, last) in totals.items():
            assert count == expected[name]["count"]
            assert total == pytest.approx(expected[name]["sum"])
            assert last == newest / SECOND

    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    spark = Spark(tmp_path / "spark")
    try:
        spark.start(workers=2)
        driver = spark.submit(program, str(tmp_path / "archive"))
        try:
            assert driver.stdout is not None
            told = (line for line in driver.stdout if line.startswith(("{", "begun")))  # Spark says things too
            check(json.loads(next(told)))
            assert next(told) == "begun\n"
            spark.kill("worker-0")
            assert json.loads(next(told)) == {"rows": sum(row["count"] for row in expected.values())}
            check(json.loads(next(told)))
        finally:
            driver.kill()
            driver.wait()
    finally:
        spark.stop()
