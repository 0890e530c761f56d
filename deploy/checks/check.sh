#!/bin/sh
# Holds the deployment files against the tools that know their formats. The tools have an environment of their own, kept
# between runs (DEPLOY_TOOLS, by default in the user's cache), since they need other versions of what we need.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
wanted=$(cksum deploy/checks/requirements.txt | cut -d' ' -f1)
tools=${DEPLOY_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/quant-assets/deploy-tools-$wanted}
if ! [ -e "$tools/.done" ]; then
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --clear --python "$python" "$tools"
        uv pip install --quiet --python "$tools/bin/python" -r deploy/checks/requirements.txt
    else
        "$python" -m venv "$tools"
        "$tools/bin/pip" install --quiet --disable-pip-version-check -r deploy/checks/requirements.txt
    fi
    touch "$tools/.done"
fi

"$tools/bin/hadolint" deploy/containers/Dockerfile
echo "hadolint: clean"

# With everything switched on, or half of it would not be looked at.
"$tools/bin/checkov" -d deploy/terraform --var-file deploy/terraform/example.tfvars --framework terraform --compact --quiet \
    --skip-download
echo "checkov: no open finding"

if command -v terraform >/dev/null 2>&1; then
    config=$(mktemp)
    trap 'rm -f "$config"' EXIT
    TF_CLI_CONFIG_FILE=$config terraform fmt -check -recursive deploy/terraform
    echo "terraform fmt: clean"
else
    echo "no terraform here: its format was not looked at"
fi

"$tools/bin/python" deploy/kubernetes/check.py

if command -v promtool >/dev/null 2>&1; then
    promtool check rules deploy/monitoring/rules.yml
    promtool test rules deploy/monitoring/rules.test.yml
else
    echo "no promtool here (Debian's package prometheus): the alert rules were not looked at"
fi
