"""Renders the charts with Helm's own code; what comes out is held against the schemas of two versions of Kubernetes.

Run by `make deploy-check`, with the tools of deploy/checks. Dagster's own chart is not ours to keep here:
DAGSTER_CHART names a folder or archive of it (`helm pull dagster/dagster`), and dagster-values.yaml is rendered with
that as well.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import yaml

HERE = Path(__file__).parent
VERSIONS = ("1.33", "1.37")


def rendered(chart: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that a release of the chart would create."""
    report = helm_python.lint(str(chart), values, strict=True, namespace="quant-assets")
    if wrong := [message for message in report["messages"] if message["severity"] >= 2] or report["errors"]:
        raise SystemExit(f"{chart.name}: {wrong}")
    texts = helm_python.Chart.load(str(chart)).render(values, name="quant-assets", namespace="quant-assets")
    found = [(name, text) for name, text in texts.items() if name.endswith((".yaml", ".yml"))]
    return [one for _, text in found for one in yaml.safe_load_all(text) if one]


def main() -> int:
    """Answers the exit code."""
    charts = [
        (HERE / "chart", {}),
        (HERE / "chart", {"image": {"digest": f"sha256:{'0' * 64}"}, "dagster": {"instanceConfigMap": ""}}),
    ]
    if given := os.environ.get("DAGSTER_CHART"):
        charts.append(
            (Path(given), yaml.safe_load((HERE / "dagster-values.yaml").read_text(encoding="utf-8")))
        )
    else:
        print("Helm: DAGSTER_CHART names no chart of Dagster's; its values were not rendered")
    wrong = 0
    for chart, values in charts:
        objects = rendered(chart, values)
        for version in VERSIONS:
            for one in objects:
                try:
                    kubernetes_validate.validate(one, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    wrong += 1
                    print(f"{one['kind']} {one['metadata']['name']}, Kubernetes {version}: {error.message}")
        counts = Counter(one["kind"] for one in objects)
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
        print(
            f"Helm {helm_python.helm_sdk_version()}, {chart.name}, Kubernetes {' and '.join(VERSIONS)}: {kinds}"
        )
    print(f"schemas: {'clean' if not wrong else f'{wrong} findings'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
