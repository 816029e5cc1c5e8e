# Two stages: the wheel is built with the tools for it, and runs without them.
FROM python:3.11-slim-bookworm AS build
RUN pip install --no-cache-dir uv
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY techport techport
COPY ingest ingest
COPY storage storage
COPY pilots pilots
COPY dashboards dashboards
COPY simulators simulators
# The very versions of uv.lock, then techport itself.
RUN uv export --quiet --frozen --no-dev --no-emit-project --output-file requirements.txt \
 && uv venv /opt/techport \
 && uv pip install --quiet --python /opt/techport --requirement requirements.txt \
 && uv build --quiet --wheel --out-dir dist \
 && uv pip install --quiet --python /opt/techport --no-deps dist/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home techport && mkdir /tokens /data && chown techport /tokens /data
COPY --from=build /opt/techport /opt/techport
ENV PATH=/opt/techport/bin:$PATH PYTHONUNBUFFERED=1
USER techport
WORKDIR /tmp
CMD ["techport", "--help"]
