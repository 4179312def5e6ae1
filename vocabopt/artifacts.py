"""The old name of vocabopt.folder, until every importer uses the new one."""

from vocabopt.folder import (
    FORMAT_VERSION,
    check_own_folder,
    check_writable,
    digest,
    read_json,
    read_object,
    read_parquet,
    read_parquet_metadata,
    share,
    sync,
    write_atomic,
    write_bytes_atomic,
    write_json_atomic,
    write_parquet_atomic,
)

__all__ = [
    "FORMAT_VERSION",
    "check_own_folder",
    "check_writable",
    "digest",
    "read_json",
    "read_object",
    "read_parquet",
    "read_parquet_metadata",
    "share",
    "sync",
    "write_atomic",
    "write_bytes_atomic",
    "write_json_atomic",
    "write_parquet_atomic",
]
