#!/bin/sh
# Renews Swagger UI, which /docs ships: takes a release from npm, keeps its files, licences and checksum.
# Usage: sh scripts/vendor_swagger.sh [VERSION]      (npm is needed, and only here)
set -eu
version=${1:-latest}
to=$(cd "$(dirname "$0")/.." && pwd)/quant_assets/api/page/swagger
from=$(mktemp -d)
trap 'rm -rf "$from"' EXIT INT TERM
mkdir -p "$to"
cd "$from"
npm pack --silent "swagger-ui-dist@$version" >/dev/null
tar xzf swagger-ui-dist-*.tgz
# Without the line that names the file with the sources, which is not shipped.
sed '/^\/\/# sourceMappingURL=/d' package/swagger-ui-bundle.js >"$to/swagger-ui-bundle.js"
sed 's/\/\*# sourceMappingURL=.*\*\///' package/swagger-ui.css >"$to/swagger-ui.css"
cp package/swagger-ui-bundle.js.LICENSE.txt package/LICENSE package/NOTICE "$to/"
version=$(sed -n 's/^ *"version": "\(.*\)".*/\1/p' package/package.json)
cat >"$to/README.md" <<README
# Swagger UI, which /docs ships

| file | what it is |
|---|---|
| swagger-ui-bundle.js, swagger-ui.css | Swagger UI $version (npm: swagger-ui-dist), Apache-2.0, without the links to its source maps |
| LICENSE, NOTICE, swagger-ui-bundle.js.LICENSE.txt | its licence and notice, and the licences of what is bundled in it |

sha256 of swagger-ui-bundle.js: \`$(sha256sum "$to/swagger-ui-bundle.js" | cut -d' ' -f1)\`

\`sh scripts/vendor_swagger.sh [VERSION]\` renews all of this folder. Nothing in it is ours to edit.
README
echo "swagger-ui-dist $version"
