"""One family of errors: whatever this package raises on purpose is a `QuantAssetsError`, and its message is one line
that names the input and the remedy. Each class stands in the module that raises it; this is the tree.

QuantAssetsError
├── UsageProblem (ValueError)          cli.usage: an option or argument that cannot be used
├── SettingsError (ValueError)         resources.settings: a QUANT_ASSETS_… variable that cannot be used
├── ExchangeConfigError (ValueError)   exchanges_file: a file of exchanges
├── UnknownExchange (ValueError)       exchanges: no exchange has this code
├── CatalogError (ValueError)          catalog.configured: a file of universes
│   ├── DiscoveryFailed                catalog.discovery: a look at all listings of an exchange gives none to use
│   └── SourceFailed                   catalog.sources.failed: a universe's source gives no list that can be used
├── UnknownListing (ValueError)        catalog.discovery: a decision about what was not discovered
├── CalendarError (ValueError)         market.calendars
│   ├── NotASession
│   ├── OutsideCalendar
│   └── UnknownCalendar
├── ObjectStoreError                   resources.object_store
│   ├── ObjectNotFound
│   ├── JobUnknown                     tables.jobs: no job has that id
│   ├── JobKeyTaken                    tables.jobs: a client's key stands for another request
│   ├── ObjectChanged
│   ├── ObjectDamaged
│   ├── NewerFormat                    written by a later version of this package
│   └── StoreUnavailable               out of reach, not writable, or full
├── CacheUnavailable                   resources.cache: Redis does not answer when it is cleared
├── SharedRedisAway                    resources.shared_redis: the Redis that workers share does not answer
├── DocumentUnavailable                resources.documents: a file, page or object with a list of constituents
├── Unreachable                        resources.reachability: a server gives no answer
├── ScreenFailed                       resources.yahoo_screener: no whole answer, or a query that cannot be asked
├── Passing                            resources.asking_again: a failure that may pass, worth asking again
├── StillFailing                       resources.asking_again: it was asked as often as it may be
├── SourceUnavailable                  resources.source: the price source as a whole does not answer
├── RateBudgetSpent                    resources.pacing: no more waiting on rate limits in this run
├── Interrupted                        resources.interrupts: asked to stop while waiting
├── ChartRefused                       resources.yahoo_session: an error status, carried through yfinance
├── UnusableAnswer                     resources.yahoo_events: a body that is no answer, with the reason
├── NoCrumb (OSError)                  resources.yahoo_session: what came for a crumb is none
├── UnknownSymbol (ValueError)         tables.catalog_reads: no catalog lists it; names near ones
├── ApiProblem                         resources.remote_api: an API of ours refuses, or answers no table
├── QuarantineError (ValueError)       tables.quarantine: a decision that cannot be taken
├── UndecidableCase (ValueError)       catalog.company_review: a decision about a case that is not open
├── SnapshotImpossible                 ingest.valuations: no snapshot of that session can be taken, or nothing came
├── MembershipUnknown (ValueError)     tables.membership: nothing tells who was in a universe on a day
├── SnapshotMismatch (ValueError)      reader.snapshots: what is stored is not what the snapshot names
├── NotServed (ValueError)             yfinance.charts: yfinance has it, and a store of daily prices does not
├── ExportError (ValueError)           export.chosen: nothing can be exported so
├── HomeUnavailable                    instance: Dagster's databases cannot be written
├── RunFailed                          local_runs: a Dagster run started from here did not succeed
├── JobRefused (ValueError)            operations.job_requests: a job that cannot be done as it was asked for
├── KeyProblem (ValueError)            operations.keys: keys of the API that cannot be read, made or revoked
├── Problem                            api.problems: a request that is answered with a problem document
├── EmulatorError                      dev.gcs_emulator
└── ReplayError                        replay.errors
    ├── HistoryError
    ├── FaultError
    └── LaunchError

Errors of values are ValueErrors as well, so that pydantic and callers who know only the standard library see them
as such. Everything else that is raised (a KeyError, a polars error) is a fault of the program, and its traceback is
worth more than its message.
"""


class QuantAssetsError(Exception):
    """Base of all errors raised on purpose; see the module for the tree."""
