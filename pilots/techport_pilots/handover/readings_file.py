"""readings.parquet of somebody else, read in a process of its own with little memory.

A Parquet file may claim pages of gigabytes, and some broken ones end the process that reads them, not in an exception.
So a child reads it and passes the rows on as an Arrow stream; when it dies, the file is refused and nothing else ends.

    python -m techport_pilots.handover.readings_file FILE > rows.arrows
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from techport_pilots.children import start_child
from techport_pilots.errors import BadPackage
from techport_storage.model import RAW_SCHEMA

ROWS_AT_ONCE = 100_000
ROWS_A_BYTE = 100  # of the file; what is more regular was not measured in a street
MEMORY = 1 << 30  # bytes of data that the child may have; reading 100 M rows of a package took a fifth
CPU_S = 3_600
_REFUSED = 3  # exit code: what was wrong is on standard error
_NAMES = [field.name for field in RAW_SCHEMA if pa.types.is_dictionary(field.type)]


def read_rows(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows, ROWS_AT_ONCE at most, with the columns of RAW_SCHEMA.

    Raises BadPackage, also after some of the rows: for a file that cannot be read, has other columns or more rows than
    its bytes can hold.
    """
    command = [sys.executable, "-m", __spec__.name, str(path)]
    with (
        tempfile.TemporaryFile() as errors,
        start_child(command, signal.SIGKILL, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as child,
    ):
        assert child.stdout is not None
        try:
            with pa.ipc.open_stream(child.stdout) as stream:
                for batch in stream:
                    batch.validate(full=True)
                    yield batch
            code = child.wait()
        except (pa.ArrowException, OSError) as error:
            child.kill()
            code, broken = child.wait(), str(error)
        else:
            broken = ""
        finally:
            child.kill()  # nobody waits for the rest
        if code != 0 or broken:
            errors.seek(0)
            problem = errors.read(1_000).decode("utf-8", "replace").strip() if code == _REFUSED else ""
            raise BadPackage(
                f"{path.name} {problem or 'cannot be read: it is damaged, or takes more memory than it may'}"
            )


def _pass_on(path: Path) -> None:
    """The child: write the rows to standard output."""
    for limit, most in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (most, most))
    pa.set_cpu_count(1)
    names = pq.read_metadata(path).schema.names
    if names != RAW_SCHEMA.names:
        raise BadPackage(f"has the columns {_said(names)}, not {_said(RAW_SCHEMA.names)}")
    # A name stands once in memory, however often the file repeats it.
    with pq.ParquetFile(path, read_dictionary=_NAMES, arrow_extensions_enabled=False, pre_buffer=False) as parquet:
        schema, rows = parquet.schema_arrow.remove_metadata(), parquet.metadata.num_rows
        if not schema.equals(RAW_SCHEMA):
            raise BadPackage(f"has the columns {_said(schema.types)}, not {_said(RAW_SCHEMA.types)}")
        size = path.stat().st_size
        if rows > ROWS_A_BYTE * size:
            raise BadPackage(f"says that it has {rows} rows in {size} bytes, which readings do not take")
        with pa.ipc.new_stream(sys.stdout.buffer, RAW_SCHEMA) as stream:
            for batch in parquet.iter_batches(ROWS_AT_ONCE, use_threads=False):
                stream.write_batch(batch.cast(RAW_SCHEMA))


def _said(words: Sequence[object]) -> str:
    return ", ".join(str(word)[:60] for word in words[:20])


if __name__ == "__main__":
    try:
        _pass_on(Path(sys.argv[1]))
    except (BadPackage, pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as problem:
        sys.stderr.write(str(problem) if isinstance(problem, BadPackage) else f"cannot be read: {problem}")
        sys.exit(_REFUSED)
