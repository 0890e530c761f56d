"""What Dagster's page of a table says: what a row is, what each column means, whose it is and where it lies.

`page` gives the part that is the same everywhere to the asset decorators; `with_places` adds what depends on the
settings: the store, the owner and where the code can be read.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any, TypedDict, cast

import dagster as dg
import polars as pl

import quant_assets
from quant_assets.catalog.build import CATALOG_SCHEMA
from quant_assets.market.bars import DAILY_SCHEMA
from quant_assets.market.profiles import EXCHANGE_PROFILE_SCHEMA, SYMBOL_PROFILE_SCHEMA
from quant_assets.market.valuations import VALUATION_SCHEMA
from quant_assets.market.weekly import WEEKLY_SCHEMA
from quant_assets.tables.layout import (
    CATALOG,
    DAILY,
    EXCHANGES,
    HISTORY,
    PROFILES,
    TIME_DIMENSION,
    VALUATIONS,
    WEEKLY,
)
from quant_assets.tables.lineage import RULES


@dataclass(frozen=True)
class TablePage:
    """What is said of one table. `columns` has a line for each column of `schema`, in its order."""

    group: str
    kinds: frozenset[str]
    code_version: str
    """Goes up when the same input gives other rows; Dagster then marks what was made before as out of sync."""
    description: str
    schema: Mapping[str, Any]
    columns: Mapping[str, str]
    key: tuple[str, ...]
    """The columns that make a row unique, in the order in which rows are sorted."""


_EXCHANGE_SCHEMA = {"exchange": pl.String(), **EXCHANGE_PROFILE_SCHEMA}

_DAILY_COLUMNS = {
    "symbol": "Yahoo's symbol, suffix included, e.g. `BHP.AX`.",
    "date": "The session, in the exchange's own time zone.",
    "open": "First price, as traded, in `currency`; null where the row only carries a dividend or a split.",
    "high": "Highest price, as traded, in `currency`; null as `open` is. As served: `flags` says where open or "
    "close exceed it.",
    "low": "Lowest price, as traded, in `currency`; null as `open` is. As served, as `high` is.",
    "close": "Last price, as traded, in `currency`; null as `open` is. Not adjusted for anything.",
    "volume": "Shares traded, as traded; 0 on a row without a bar; null beside a bar: nobody knows.",
    "dividend": "Cash per share as declared, in `currency`, on its ex-date; 0.0 where none; null: in doubt, held.",
    "split_ratio": "New shares per old share, on the ex-date; 1.0 where none.",
    "currency": "Currency and unit of the prices as the source reports them: London's `GBp` is pence.",
    "flags": "What is odd about the row: codes joined by commas, e.g. `no_trade,stale_price`; most have none.",
    "fetched_at": "When these values became known, UTC. A row whose values are only confirmed keeps it.",
}

PAGES = {
    CATALOG: TablePage(
        group="catalog",
        kinds=frozenset({"polars", "parquet"}),
        code_version="symbol_catalog 1",
        description="""
            The symbols that are followed, from the universe file and the constituents that its universes were last
            refreshed to. **One row per symbol**, all exchanges.

            A symbol that leaves all lists keeps its row with `is_active` false, so that its prices stay readable and
            a list of today is never taken for a list of the past. Made again every day, and when the file or a
            universe changes.

            Read it with `quant_assets.universe()`.
        """,
        schema=CATALOG_SCHEMA,
        columns={
            "symbol": "Yahoo's symbol, suffix included, e.g. `BHP.AX`.",
            "name": "Name of the company or fund; empty where the file gives none.",
            "exchange": "Our code of the exchange, e.g. `ASX`: the partition its prices are in.",
            "listing_exchange": "The exchange's own name or segment, e.g. Nasdaq within `US`.",
            "asset_type": "Kind of security, e.g. `equity` or `etf`, as configured.",
            "sector": "Sector, as configured.",
            "industry": "Industry, as configured.",
            "currency": "Currency its prices must have; empty where several are allowed.",
            "universes": "The universes it is in now; `configured` is the file's short form.",
            "first_seen": "The day it first stood in a list.",
            "last_seen": "The last day it stood in a list.",
            "listed_on": "First day of the listing, inclusive; null: unknown.",
            "delisted_on": "Last day of the listing, inclusive, as stated or as learned; null: still listed.",
            "is_active": "Whether it stands in a list now, and is not delisted.",
            "state": "`active`, `suspended`, `suspect` or `delisted`, as learned from its bars.",
            "stated_delisting": "Last day of the listing as the file or a source states it; null: not stated.",
            "watched_until": "Of one that has left its universes: until when it is still asked for.",
            "left_universes": "Those universes; empty while it stands in a list.",
            "company_id": "Which company it is, the same through all its symbols: an ISIN, or `QA-…`; null: not "
            "known yet.",
            "company_since": "First day on which the symbol stands for this company; null: always.",
        },
        key=("exchange", "symbol"),
    ),
    DAILY: TablePage(
        group="prices",
        kinds=frozenset({"yahoo", "parquet"}),
        code_version="daily_prices 1",
        description="""
            Daily bars **as traded**: the prices, volume, dividend and split ratio of the day itself, never rescaled
            later. **One row per symbol and session.** One partition is one exchange on one weekday: a *cell*, and one
            Parquet object.

            Every cell says what was expected and what came:

            | state | means |
            |---|---|
            | `complete` | every symbol listed that day has a bar |
            | `partial` | some have; the missing ones are named, each with a reason |
            | `closed` | the exchange did not trade; there is no object |
            | `failed` | too little came, or nothing; the partition is failed, and the reason is in the run's log |

            A range of partitions is one run that asks once per symbol; what is complete is not asked for again.
            A changed value is a restatement: recorded in the ledger first, then stored.

            Read it with `quant_assets.prices()`, which adjusts for splits and dividends on request.
        """,
        schema=DAILY_SCHEMA,
        columns=_DAILY_COLUMNS,
        key=("symbol", "date"),
    ),
    VALUATIONS: TablePage(
        group="catalog",
        kinds=frozenset({"yahoo", "parquet"}),
        code_version="symbol_valuations 1",
        description="""
            What each symbol is worth and how large it is, **as the source said after that session**. **One row per
            symbol and session**; one partition is an exchange's snapshot of a session.

            A snapshot is of the moment when it is taken, so only the last session that is over, and today's, can be
            asked for; one that was missed cannot be had any more. A second snapshot of a session replaces, symbol by
            symbol, what was fetched earlier. A symbol that was not answered has no row, and a field that holds
            nonsense (a negative market cap, `Infinity`) is null; both are counted.

            Values are the source's own, not computed here and not adjusted. Read it with `quant_assets.valuations()`.
        """,
        schema=VALUATION_SCHEMA,
        columns={
            "symbol": "Yahoo's symbol, suffix included.",
            "date": "The session after which the snapshot was taken (or during which, where it was today's).",
            "market_cap": "Market capitalisation, in whole units of the currency (pounds where `currency` is `GBp`).",
            "pe": "Price to the earnings of the last twelve months; null where there are none to divide by.",
            "pb": "Price to book value per share; negative where the book value is.",
            "dividend_yield": "Dividends of a year over the price, as a fraction: 0.02 is 2 %.",
            "shares_outstanding": "Number of shares outstanding.",
            "name": "Name of the company or fund, as quoted; the catalog's where none is.",
            "sector": "Sector; the catalog's where none is quoted.",
            "industry": "Industry; the catalog's where none is quoted.",
            "asset_type": "Kind of security: the catalog's, or `etf`, `index`, `fund` where it assumes `equity`.",
            "currency": "Currency and unit of the price, as quoted; the catalog's where none is.",
            "quoted_at": "When the price that was quoted was made, UTC; null: unknown.",
            "fetched_at": "When these values became known, UTC.",
        },
        key=("symbol",),
    ),
    HISTORY: TablePage(
        group="prices",
        kinds=frozenset({"polars", "parquet"}),
        code_version=RULES[HISTORY],
        description="""
            The rows of `daily_prices`, compacted: **one row per symbol and session**, and one Parquet object per
            exchange and year, so that a symbol's years are read in a few requests.

            A cache: it records the hash of every cell it was made from, and readers take newer cells instead of it.
            `complete` means that every session of the year that is over has a complete cell.

            Read it with `quant_assets.prices()`.
        """,
        schema=DAILY_SCHEMA,
        columns=_DAILY_COLUMNS,
        key=("symbol", "date"),
    ),
    WEEKLY: TablePage(
        group="prices",
        kinds=frozenset({"polars", "parquet"}),
        code_version=RULES[WEEKLY],
        description="""
            Weekly bars. **One row per symbol and week** in which it had a bar, a dividend or a split; one partition
            is one exchange and week, named by its first day.

            A bar is on the share basis of the week's last session: prices before a split inside the week are divided
            by its ratio, volumes multiplied, so that a split on Wednesday tears no bar. Between weeks nothing is
            adjusted.

            Read it with `quant_assets.weekly()`.
        """,
        schema=WEEKLY_SCHEMA,
        columns={
            "symbol": "Yahoo's symbol, suffix included.",
            "week": "First day of the week.",
            "first_session": "Date of the symbol's first bar in the week; null without one.",
            "last_session": "Date of the symbol's last bar in the week; null without one.",
            "sessions": "Number of its bars in the week.",
            "open": "Open of the first bar, in the listing's currency, on the share basis of the week's end.",
            "high": "Highest high as served, same currency and basis; open or close may exceed it in a thin market.",
            "low": "Lowest low as served, same currency and basis.",
            "close": "Close of the last bar, same currency and basis.",
            "volume": "Shares traded, on the same basis; a reverse split leaves fractions. Null: not known of a day.",
            "dividends": "Sum of the dividends per share, same currency and basis; 0.0: none, null: one is in doubt.",
            "split_ratio": "Product of the week's split ratios; 1.0 where none.",
            "complete": "Whether the symbol has a bar on every session of the week on which one was expected of it.",
        },
        key=("symbol",),
    ),
    PROFILES: TablePage(
        group="profiles",
        kinds=frozenset({"polars", "parquet"}),
        code_version=RULES[PROFILES],
        description="""
            How complete and how plausible each symbol's history is. **One row per symbol**; one partition is an
            exchange. Counts are in sessions of the exchange's calendar.

            `quality` runs from 0 to 100: 50 for coverage, 20 for prices that move, 15 for volume, 15 for moves that
            an action explains.

            Read it with `quant_assets.profiles()`.
        """,
        schema=SYMBOL_PROFILE_SCHEMA,
        columns={
            "symbol": "Yahoo's symbol, suffix included.",
            "first_session": "Date of the first bar.",
            "last_session": "Date of the last bar.",
            "expected_sessions": "Sessions on which it was listed.",
            "sessions": "Sessions with a bar.",
            "unexpected_sessions": "Bars on other days.",
            "coverage": "Share of the expected sessions that have a bar, 0 to 1; null if none is expected.",
            "missing_sessions": "Expected sessions without a bar.",
            "longest_gap": "Most missing sessions in a row.",
            "stale_days": "Bars inside a run of at least five equal closes.",
            "zero_volume_days": "Bars without a share traded.",
            "suspicious_jumps": "Moves of more than 65 % up or 39 % down that no dividend or split explains.",
            "flagged_sessions": "Sessions whose row says that something is odd about it (`flags`).",
            "flags": "How many sessions have each flag, e.g. `no_trade 656, stale_price 12`; they cost no points.",
            "last_close": "Last close, as traded, in the listing's currency.",
            "total_return": "From the first bar to the last, dividends reinvested, as a fraction: 0.5 is 50 %.",
            "annualised_return": "The same per year, as a fraction; null below 365 days.",
            "volatility": "Standard deviation of daily log total returns × √252.",
            "dollar_volume": "Mean of as-traded close × volume, in the listing's currency.",
            "splits": "Number of splits.",
            "dividends": "Number of dividends.",
            "score_coverage": "Points for coverage, 0 to 50.",
            "score_staleness": "Points for prices that move, 0 to 20.",
            "score_volume": "Points for days with volume, 0 to 15.",
            "score_jumps": "Points for moves that are explained, 0 to 15.",
            "quality": "Sum of the points, 0 to 100.",
        },
        key=("symbol",),
    ),
    EXCHANGES: TablePage(
        group="profiles",
        kinds=frozenset({"polars", "parquet"}),
        code_version="exchange_profiles 1",
        description="""
            The inventory of the store. **One row per exchange**: symbols, sessions, cells by state, rows and bytes,
            how fresh it is, and the symbols with the worst histories.
        """,
        schema=_EXCHANGE_SCHEMA,
        columns={
            "exchange": "Our code of the exchange, e.g. `ASX`.",
            "symbols": "Symbols with a profile.",
            "symbols_without_bars": "Those of them that have no bar at all.",
            "sessions": "Cells that are not closed.",
            "cells_complete": "Cells in which every expected symbol has a bar.",
            "cells_partial": "Cells in which some symbols are missing.",
            "cells_closed": "Weekdays on which the exchange did not trade.",
            "cells_failed": "Cells in which too little came.",
            "rows": "Rows of daily_prices.",
            "bytes": "Bytes of its objects.",
            "first_session": "Date of the first bar of any symbol.",
            "last_session": "Date of the last bar of any symbol.",
            "last_complete_session": "The last session whose cell is complete: how fresh the data are.",
            "quality": "Mean quality of the symbols that can be judged, 0 to 100.",
            "worst_symbols": "Up to five symbols of the lowest quality, worst first.",
        },
        key=("exchange",),
    ),
}
"""By table: its page."""


class AssetArguments(TypedDict):
    """Those arguments of `dg.asset` and `dg.AssetSpec` that describe a table."""

    description: str
    group_name: str
    kinds: set[str]
    code_version: str
    metadata: dict[str, Any]


def page(table: str) -> AssetArguments:
    """The arguments of `dg.asset` that describe a table: description, group, kinds, code version, column schema."""
    of = PAGES[table]
    return {
        "description": dedent(of.description).strip(),
        "group_name": of.group,
        "kinds": set(of.kinds),
        "code_version": of.code_version,
        "metadata": {"dagster/column_schema": column_schema(table)},
    }


def column_schema(table: str) -> dg.TableSchema:
    """The columns of a table as Dagster shows them: types as polars reads them, what each means, what is unique."""
    of = PAGES[table]
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                _type(of.schema[name]),
                of.columns[name],
                dg.TableColumnConstraints(nullable=name not in of.key),
            )
            for name in of.schema
        ],
        constraints=dg.TableConstraints(other=[f"one row per ({', '.join(of.key)}), sorted so"]),
    )


def _type(dtype: Any) -> str:
    text = str(dtype() if isinstance(dtype, type) else dtype)
    return text.replace("time_unit=", "").replace("time_zone=", "").replace("'", "")


def with_places(
    assets: Sequence[dg.AssetsDefinition], store_uri: str, owner: str, code_url: str | None
) -> list[dg.AssetsDefinition]:
    """`assets` with their owner, the place of their objects, and links to their code.

    Args:
        store_uri: the store's location, a folder or `gs://bucket/prefix`.
        owner: an e-mail address or `team:name`.
        code_url: the web address of the repository's root at a branch or tag, such as
            `https://github.com/somebody/quant-assets/tree/main`; without it the links are to local files.
    """
    placed = [
        of_asset.map_asset_specs(
            lambda spec: spec.replace_attributes(
                owners=[owner], metadata={**spec.metadata, "dagster/uri": _uri(store_uri, spec.key.path[-1])}
            )
        )
        for of_asset in assets
    ]
    with warnings.catch_warnings():
        # Links to code are beta in Dagster.
        warnings.simplefilter("ignore", dg.BetaWarning)
        linked = dg.with_source_code_references(placed)
        if code_url:
            root, branch, platform = split_code_url(code_url)
            package = Path(quant_assets.__file__).parent
            linked = dg.link_code_references_to_git(
                linked,
                git_url=root,
                git_branch=branch,
                platform=cast("Any", platform),
                file_path_mapping=dg.AnchorBasedFilePathMapping(package, package.name),
            )
    return cast("list[dg.AssetsDefinition]", list(linked))


def split_code_url(url: str) -> tuple[str, str, str]:
    """Repository, branch and platform of a web address. Raises ValueError when it names no branch."""
    for separator, platform in (("/-/tree/", "gitlab"), ("/tree/", "github")):
        root, found, branch = url.rstrip("/").partition(separator)
        if found and branch:
            return root, branch, platform
    raise ValueError("names no branch; write e.g. https://github.com/somebody/quant-assets/tree/main")


def _uri(store_uri: str, table: str) -> str:
    """The folder of a partitioned table, or the object of one that is not."""
    single = table not in TIME_DIMENSION and table != PROFILES
    return f"{store_uri.rstrip('/')}/{table}{'.parquet' if single else ''}"
