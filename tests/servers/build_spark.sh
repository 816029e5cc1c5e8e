#!/usr/bin/env bash
# Puts Spark and what it needs for Delta Lake into the cache, once per machine, and prints the folder.
#
#     tests/servers/build_spark.sh            a minute or two; at once when it was done before; 1.2 GB
#
# Spark and Delta Lake are Apache-2.0 software. Nothing of them is part of techport: a test has them read its archive.
# Spark comes from PyPI, Delta Lake's libraries from Maven Central. Needs java, mvn and python3.
set -euo pipefail

spark=4.2.0
delta=4.4.0 # built for this minor version of Spark
cache=${TECHPORT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/techport}
target=$cache/spark-$spark-delta-$delta

[ -d "$target" ] && { echo "$target"; exit 0; }
for tool in java mvn python3 flock; do
  command -v "$tool" >/dev/null || { echo "cannot fetch Spark: $tool is not installed" >&2; exit 3; }
done

mkdir -p "$cache"
exec 9>"$target.lock"
flock 9 # of several test workers one fetches, the others wait here
[ -d "$target" ] && { echo "$target"; exit 0; }

work=$(mktemp -d "$cache/build-spark.XXXXXX")
trap 'rm -rf "$work"' EXIT
{
  python3 -m venv "$work/tools"
  "$work/tools/bin/pip" install --quiet --target "$work/made/python" "pyspark==$spark"
  cat > "$work/pom.xml" <<POM
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>techport.invalid</groupId><artifactId>spark</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>io.delta</groupId><artifactId>delta-spark_4.2_2.13</artifactId><version>$delta</version>
      <exclusions><exclusion><groupId>org.apache.spark</groupId><artifactId>*</artifactId></exclusion></exclusions>
    </dependency>
  </dependencies>
</project>
POM
  # The rest of what they need is in Spark already.
  mvn --quiet --batch-mode -f "$work/pom.xml" dependency:copy-dependencies -DoutputDirectory="$work/made/jars" \
    -DincludeGroupIds=io.delta,io.unitycatalog
  test -f "$work/made/jars/delta-spark_4.2_2.13-$delta.jar"
} >&2
mv "$work/made" "$target" # within one file system: there or not there, never half
echo "$target"
