#!/usr/bin/env bash
# Builds Telegraf from its Go module with nothing but what benchmarks/ingest.py compares with, into a cache outside the
# tree; prints where it is. Twenty minutes on two cores the first time.
set -euo pipefail
cache=${TECHPORT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/techport}/telegraf
if [ ! -x "$cache/telegraf" ]; then
  mkdir -p "$cache"
  cd "$cache"
  [ -f go.mod ] || go mod init benchmark >&2
  go get github.com/influxdata/telegraf/cmd/telegraf@v1.37.2 >&2
  go build -trimpath -tags custom,inputs.mqtt_consumer,outputs.influxdb_v2,parsers.json -o telegraf \
    github.com/influxdata/telegraf/cmd/telegraf >&2
fi
echo "$cache/telegraf"
