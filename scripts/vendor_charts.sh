#!/bin/sh
# Renews the chart library that the page ships: takes a release from npm, keeps its file, licence and checksum.
# Usage: sh scripts/vendor_charts.sh [VERSION]      (npm is needed, and only here)
set -eu
version=${1:-latest}
to=$(cd "$(dirname "$0")/.." && pwd)/quant_assets/api/page/vendor
from=$(mktemp -d)
trap 'rm -rf "$from"' EXIT INT TERM
cd "$from"
npm pack --silent "lightweight-charts@$version" >/dev/null
tar xzf lightweight-charts-*.tgz
cp package/dist/lightweight-charts.standalone.production.mjs "$to/lightweight-charts.mjs"
cp package/LICENSE "$to/LICENSE"
version=$(sed -n 's/^ *"version": "\(.*\)".*/\1/p' package/package.json)
copyright=$(sed -n 's/^ \* \(Copyright .*TradingView, Inc\.\).*/\1/p' "$to/lightweight-charts.mjs" | head -n 1)
printf 'TradingView Lightweight Charts™\n%s https://www.tradingview.com/\n' "$copyright" >"$to/NOTICE"
cat >"$to/README.md" <<README
# What the page ships of others

| file | what it is |
|---|---|
| lightweight-charts.mjs | TradingView Lightweight Charts™ $version (npm: lightweight-charts, \`dist/lightweight-charts.standalone.production.mjs\`), Apache-2.0 |
| LICENSE, NOTICE | its licence, and the notice that goes with it: its link to TradingView stays on the page |

sha256 of lightweight-charts.mjs: \`$(sha256sum "$to/lightweight-charts.mjs" | cut -d' ' -f1)\`

\`sh scripts/vendor_charts.sh [VERSION]\` renews all of this folder. Nothing in it is ours to edit. The library adds one style
element; \`quant_assets/api/page.py\` allows it by its hash, and a test says when a release has another.
README
echo "lightweight-charts $version"
