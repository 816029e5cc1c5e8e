#!/usr/bin/env bash
# Builds Docker Compose from its Go module, once per machine, and prints the path of the executable.
#
#     tests/servers/build_compose.sh            some minutes on two cores; at once when it was built before
#
# Docker Compose is Apache-2.0 software of Docker. Nothing of it is part of techport: a test has it read
# docker-compose.yml, which needs no container engine. Needs go.
set -euo pipefail

version=2.40.3
cache=${TECHPORT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/techport}
compose=$cache/docker-compose-$version

[ -x "$compose" ] && { echo "$compose"; exit 0; }
for tool in go flock; do
  command -v "$tool" >/dev/null || { echo "cannot build docker-compose: $tool is not installed" >&2; exit 3; }
done

mkdir -p "$cache"
exec 9>"$compose.lock"
flock 9 # of several test workers one builds, the others wait here
[ -x "$compose" ] && { echo "$compose"; exit 0; }

work=$(mktemp -d "$cache/build-compose.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOPATH=$work/gopath GOCACHE=$work/gocache GOFLAGS=-modcacherw # so that the caches can be removed afterwards
{
  go mod init techport.invalid/compose
  go get "github.com/docker/compose/v2/cmd@v$version"
  go build -trimpath -o "$work/docker-compose" \
    -ldflags "-X github.com/docker/compose/v2/internal.Version=v$version" github.com/docker/compose/v2/cmd
  "$work/docker-compose" version
} >&2
mv "$work/docker-compose" "$compose" # within one file system: there or not there, never half
echo "$compose"
