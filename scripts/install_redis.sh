#!/bin/sh
# Redis for the tests of the cache: from Debian's packages where we may install them; elsewhere these tests are skipped.
set -eu
if command -v redis-server >/dev/null 2>&1; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing redis-server for the tests of the cache"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server >/dev/null
else
    echo "no redis-server here, and no right to install one: the tests of the cache in Redis will be skipped"
fi
