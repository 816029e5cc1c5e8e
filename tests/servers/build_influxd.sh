#!/usr/bin/env bash
# Builds InfluxDB's server from its Go module, once per machine, and prints the path of the executable.
#
#     tests/servers/build_influxd.sh            about five minutes on two cores; at once when it was built before
#
# InfluxDB OSS 2.7 is MIT-licensed software of InfluxData. Nothing of it is part of techport: the tests run it as a
# server. The version is named here and in docs/influxdb.md. Needs go and cargo (its Flux engine is Rust).
set -euo pipefail

version=2.7.12
cache=${TECHPORT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/techport}
influxd=$cache/influxd-$version

[ -x "$influxd" ] && { echo "$influxd"; exit 0; }
for tool in go cargo flock; do
  command -v "$tool" >/dev/null || { echo "cannot build influxd: $tool is not installed" >&2; exit 3; }
done

mkdir -p "$cache"
exec 9>"$influxd.lock"
flock 9 # of several test workers one builds, the others wait here
[ -x "$influxd" ] && { echo "$influxd"; exit 0; }

work=$(mktemp -d "$cache/build-influxd.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOPATH=$work/gopath GOCACHE=$work/gocache
export GOFLAGS=-modcacherw      # the Rust part is built inside the module cache, and the cache is removed afterwards
export RUSTUP_TOOLCHAIN=stable  # the module pins a toolchain that a machine without rustup's servers cannot get
{
  cat > go.mod <<MODULE
module techport.invalid/influxd

go 1.24

require github.com/influxdata/influxdb/v2 v$version

tool github.com/influxdata/influxdb/v2/cmd/influxd

tool github.com/influxdata/pkg-config
MODULE
  go get "github.com/influxdata/influxdb/v2/cmd/influxd@v$version"
  go get -tool github.com/influxdata/pkg-config
  mkdir bin
  go build -o bin/pkg-config github.com/influxdata/pkg-config # finds, and builds, the Rust library for cgo
  # Warnings that newer compilers have learnt since are errors to that library's own settings.
  printf '#!/bin/sh\nexec "$@" --cap-lints warn\n' > bin/rustc-wrapper
  chmod +x bin/rustc-wrapper
  PKG_CONFIG=$work/bin/pkg-config RUSTC_WRAPPER=$work/bin/rustc-wrapper \
    go build -trimpath -o "$work/influxd" github.com/influxdata/influxdb/v2/cmd/influxd
  "$work/influxd" version
} >&2
mv "$work/influxd" "$influxd" # within one file system: there or not there, never half
echo "$influxd"
