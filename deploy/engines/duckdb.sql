-- The store's tables as views of DuckDB. In the store's folder: duckdb -init PATH_OF_THIS_FILE
-- On a bucket: install httpfs; load httpfs; and gs://bucket/prefix/ before each path.
create or replace view price_history as
    select * from read_parquet('price_history/exchange=*/year=*.parquet', hive_partitioning = true, hive_types = {'exchange': varchar});
create or replace view weekly_prices as
    select * from read_parquet('weekly_prices/exchange=*/week=*.parquet', hive_partitioning = true, hive_types = {'exchange': varchar});
create or replace view symbol_profiles as
    select regexp_extract(filename, 'exchange=(\w+)\.parquet', 1) as exchange, * exclude (filename)
    from read_parquet('symbol_profiles/exchange=*.parquet', union_by_name = true, filename = true);
create or replace view symbol_catalog as select * from read_parquet('symbol_catalog.parquet');
