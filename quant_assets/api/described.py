"""What OpenAPI says of an answer with rows: its envelope and columns in JSON, and the other formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from quant_assets.api.negotiation import MEDIA_TYPES


def of_table(
    table: str, schema: Mapping[str, Any], keys: tuple[str, ...] = ()
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers a table with these columns (polars' types); `keys` are never null."""
    columns = {name: _type_of(kind, nullable=name not in keys) for name, kind in schema.items()}
    record = {"type": "object", "properties": columns, "additionalProperties": False}
    lists = {name: {"type": "array", "items": kind} for name, kind in columns.items()}
    envelope = {
        "type": "object",
        "title": f"{table} as JSON",
        "required": ["table", "snapshot", "columns", "rows", "next", "warnings", "data"],
        "properties": {
            "table": {"const": table},
            "snapshot": {"type": "string", "description": "The id of what was read, for `snapshot=`."},
            "columns": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "The columns with their types, as polars names them.",
            },
            "rows": {"type": "integer", "minimum": 0, "description": "How many there are on this page."},
            "next": {
                "type": ["string", "null"],
                "description": "The cursor of the next page; null: the last one.",
            },
            "warnings": {
                "type": "array",
                "items": {"type": "string"},
                "description": "What the rows do not tell, and a reader might take for known.",
            },
            "data": {
                "description": "orient=records: an object a row; orient=columns: a list a column.",
                "oneOf": [
                    {"type": "array", "items": record},
                    {"type": "object", "properties": lists, "additionalProperties": False},
                ],
            },
        },
    }
    binary = {"schema": {"type": "string", "format": "binary"}}
    content: dict[str, Any] = {
        media_type.partition(";")[0]: binary for name, media_type in MEDIA_TYPES.items() if name != "json"
    }
    return {
        200: {
            "description": "The rows, in order.",
            "headers": {
                "X-Snapshot-Id": _header(
                    "The id of what was read: give it as `snapshot=` to read the same again."
                ),
                "ETag": _header("What this form of the answer is made of; send it as If-None-Match."),
            },
            "content": {MEDIA_TYPES["json"]: {"schema": envelope}, **content},
        },
        304: {"description": "What the client has (If-None-Match) is what it would get."},
    }


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _type_of(kind: Any, *, nullable: bool) -> dict[str, Any]:
    dtype: Any = kind() if isinstance(kind, type) else kind
    found: dict[str, Any]
    if isinstance(dtype, pl.List):
        found = {"type": "array", "items": {"type": "string"}}
    elif dtype == pl.Boolean():
        found = {"type": "boolean"}
    elif dtype.is_integer():
        found = {"type": "integer"}
    elif dtype.is_float():
        found = {"type": "number"}
    elif dtype == pl.Date():
        found = {"type": "string", "format": "date"}
    elif dtype.is_temporal():
        found = {"type": "string", "format": "date-time"}
    else:
        found = {"type": "string"}
    if nullable:
        found["type"] = [found["type"], "null"]
    return found
