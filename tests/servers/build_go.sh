#!/usr/bin/env bash
# Builds a program of the tests from its Go module, once per machine, and prints the path of the executable.
#
#     tests/servers/build_go.sh docker-compose     reads docker-compose.yml without a container engine; three minutes
#     tests/servers/build_go.sh nats-server        a node of a cluster of brokers; under a minute
#     tests/servers/build_go.sh helm               renders the chart without a Kubernetes; three minutes
#     tests/servers/build_go.sh check-manifests    decodes manifests strictly, by the types of Kubernetes' API; two
#
# All of them are Apache-2.0 software. Nothing of it is part of techport. At once when it was built before. Needs go.
set -euo pipefail

program=${1:?which program}
here=$(cd "$(dirname "$0")" && pwd)
case $program in
  docker-compose)  version=2.40.3 module=github.com/docker/compose/v2/cmd package=$module
                   flags="-X github.com/docker/compose/v2/internal.Version=v$version" ;;
  nats-server)     version=2.15.3 module=github.com/nats-io/nats-server/v2 package=$module flags= ;;
  helm)            version=3.22.0 module=helm.sh/helm/v3 package=$module/cmd/helm flags= ;;
  check-manifests) version=0.37.2 module=k8s.io/api package=. flags= ;;
  *) echo "no such program: $program" >&2; exit 2 ;;
esac
cache=${TECHPORT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/techport}
target=$cache/$program-$version

[ -x "$target" ] && { echo "$target"; exit 0; }
for tool in go flock; do
  command -v "$tool" >/dev/null || { echo "cannot build $program: $tool is not installed" >&2; exit 3; }
done

mkdir -p "$cache"
exec 9>"$target.lock"
flock 9 # of several test workers one builds, the others wait here
[ -x "$target" ] && { echo "$target"; exit 0; }

work=$(mktemp -d "$cache/build-$program.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOPATH=$work/gopath GOCACHE=$work/gocache GOFLAGS=-modcacherw # so that the caches can be removed afterwards
{
  go mod init "techport.invalid/$program"
  if [ "$package" = . ]; then
    cp "$here/$program.go" main.go
    go get "$module@v$version" "k8s.io/apimachinery@v$version"
    go mod tidy
  else
    go get "$package@v$version"
  fi
  go build -trimpath -o "$work/$program" -ldflags "$flags" "$package"
} >&2
mv "$work/$program" "$target" # within one file system: there or not there, never half
echo "$target"
