"""Writes what deployment files take from the product: deploy/terraform/exchanges.json, from its exchanges.

`python -m benchmarks.deploy_files`; a test compares the file with the product.
"""

from __future__ import annotations

import json
from pathlib import Path

from quant_assets.exchanges import known

EXCHANGES = Path(__file__).parents[1] / "deploy" / "terraform" / "exchanges.json"


def exchanges() -> str:
    """By code: when a session's bar is final, as a cron line in the exchange's time zone."""
    return json.dumps(
        {code: {"schedule": one.cron(), "time_zone": str(one.zone)} for code, one in sorted(known().items())},
        indent=2,
    )


if __name__ == "__main__":
    EXCHANGES.write_text(exchanges() + "\n", encoding="utf-8")
