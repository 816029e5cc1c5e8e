# Two stages: the wheel is built with the tools for it, and runs without them.
FROM python:3.11-slim-bookworm AS build
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY techport techport
COPY ingest ingest
COPY storage storage
COPY pilots pilots
COPY dashboards dashboards
COPY simulators simulators
# The very versions of uv.lock, then techport itself.
RUN uv export --quiet --frozen --no-dev --extra netcdf --extra archive --extra nats --extra iotdb --no-emit-project --output-file requirements.txt \
 && uv venv /opt/techport \
 && uv pip install --quiet --python /opt/techport --requirement requirements.txt \
 && uv build --quiet --wheel --out-dir dist \
 && uv pip install --quiet --python /opt/techport --no-deps dist/*.whl

FROM python:3.11-slim-bookworm
# A volume gets the owner of the folder that it is mounted at first. Mosquitto's user owns what mosquitto has to read.
RUN useradd --system --uid 10001 --no-create-home techport \
 && mkdir -m 700 /tokens /read-token /data /broker /demo \
 && chown techport /tokens /read-token /data \
 && chown 1883:1883 /broker /demo \
 && mkdir -m 755 /owned \
 && install -d -m 700 -o 1883 -g 1883 /owned/nats-1 /owned/nats-2 /owned/nats-3 \
 && install -d -m 700 -o 10003 -g 10003 /owned/iotdb-config /owned/iotdb-data-1 /owned/iotdb-data-2 /owned/iotdb-data-3
COPY --from=build /opt/techport /opt/techport
ENV PATH=/opt/techport/bin:$PATH PYTHONUNBUFFERED=1
USER techport
WORKDIR /tmp
CMD ["techport", "--help"]
