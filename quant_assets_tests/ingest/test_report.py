"""What a run says of itself."""

from __future__ import annotations

from datetime import date

import polars as pl

from quant_assets.ingest.plan import Mode
from quant_assets.ingest.report import FillReport
from quant_assets.tables.restatements import LEDGER_SCHEMA


def test_the_days_that_a_restatement_changes_are_its_own_and_its_first_one() -> None:
    first, ex_date, other = date(2013, 1, 2), date(2013, 2, 13), date(2013, 2, 14)
    rows = pl.DataFrame({"date": [other, ex_date], "first_date": [other, first]})
    ledger = pl.concat([pl.DataFrame(schema=LEDGER_SCHEMA), rows], how="diagonal")
    assert FillReport("US", Mode.INCREMENTAL, restatements=ledger).restated_days == [first, ex_date, other]
