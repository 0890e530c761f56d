#!/bin/sh
# Installs the Java that Spark needs, where this user may; without it `make engines` leaves Spark out.
set -u
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openjdk-17-jre-headless; } >/dev/null 2>&1 ||
        echo "Java 17 could not be installed; Spark is left out" >&2
else
    echo "no java: install Java 17 for Spark, which is left out" >&2
fi
