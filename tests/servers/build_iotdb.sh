#!/usr/bin/env bash
# Puts Apache IoTDB into the cache, once per machine, and prints the folder.
#
#     tests/servers/build_iotdb.sh            a minute or two; at once when it was done before
#
# Apache IoTDB is Apache-2.0 software. It is not part of techport: tests start it as a server of their own.
# The ConfigNode and the DataNode come from Maven Central, each with its libraries. Needs java and mvn.
set -euo pipefail

version=2.0.10
cache=${TECHPORT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/techport}
target=$cache/iotdb-$version

[ -d "$target" ] && { echo "$target"; exit 0; }
for tool in java mvn flock; do
  command -v "$tool" >/dev/null || { echo "cannot fetch IoTDB: $tool is not installed" >&2; exit 3; }
done

mkdir -p "$cache"
exec 9>"$target.lock"
flock 9 # of several test workers one fetches, the others wait here
[ -d "$target" ] && { echo "$target"; exit 0; }

work=$(mktemp -d "$cache/build-iotdb.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat > "$work/pom.xml" <<POM
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>techport.invalid</groupId><artifactId>iotdb</artifactId><version>1</version><packaging>pom</packaging>
  <build><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId><version>2.8</version>
    <configuration><artifactItems>
      <artifactItem>
        <groupId>org.apache.iotdb</groupId><artifactId>iotdb-confignode</artifactId><version>$version</version>
        <type>zip</type><outputDirectory>$work/made/confignode</outputDirectory>
      </artifactItem>
      <artifactItem>
        <groupId>org.apache.iotdb</groupId><artifactId>iotdb-server</artifactId><version>$version</version>
        <type>zip</type><outputDirectory>$work/made/datanode</outputDirectory>
      </artifactItem>
    </artifactItems></configuration>
  </plugin></plugins></build>
</project>
POM
mvn --quiet --batch-mode -f "$work/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:2.8:unpack >&2
ls "$work"/made/confignode/lib/*.jar "$work"/made/datanode/lib/*.jar >/dev/null # both are there, with their libraries
mv "$work/made" "$target" # within one file system: there or not there, never half
echo "$target"
