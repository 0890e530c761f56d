"""Sums, products and means of floats whose result is the same to the bit in every run.

Polars' own aggregates add a group's values in parts, as its threads come to them, and floating-point addition depends
on the order: the same rows give results that differ in the last bit from run to run, whatever the number of threads,
and so does every hash of them. A running sum adds from the first row to the last, and polars keeps a group's rows in
the order of the frame. Whatever is stored and is a sum of floats is folded here; sort the rows first.

Each takes an expression of Float64 values, for use in an aggregation. Nulls are left out.
"""

from __future__ import annotations

import polars as pl


def ordered_sum(values: pl.Expr) -> pl.Expr:
    """The sum in row order; 0 of nothing."""
    return values.drop_nulls().cum_sum().last().fill_null(0.0)


def ordered_product(values: pl.Expr) -> pl.Expr:
    """The product in row order; 1 of nothing."""
    return values.drop_nulls().cum_prod().last().fill_null(1.0)


def ordered_mean(values: pl.Expr) -> pl.Expr:
    """The mean, summed in row order; null of nothing."""
    # Of nothing it is 0 / 0.
    return (ordered_sum(values) / values.count()).fill_nan(None)
