"""The lake on S3 as a file system that DuckDB can read; its own httpfs would be a download."""

from typing import TYPE_CHECKING

from pipeline.storage.keys import check_path
from pipeline.storage.s3_location import Location

if TYPE_CHECKING:
    from s3fs import S3FileSystem


_LISTED_S = 1.0  # DuckDB asks for a file's size and age a dozen times a query; a listing answers them all


def open_files(location: Location) -> "S3FileSystem":
    """A file replaced while it is read, or within a second of its listing, is an error and never a mix."""
    from s3fs import S3FileSystem

    class Files(S3FileSystem):  # type: ignore[misc]
        @classmethod
        def _strip_protocol(cls, path: str | list[str]) -> str | list[str]:
            for each in [path] if isinstance(path, str) else path:
                check_path(each)
            stripped: str | list[str] = super()._strip_protocol(path)
            return stripped

    return Files(
        endpoint_url=location.endpoint_url,
        client_kwargs={"region_name": location.client_options()["region_name"]},
        config_kwargs=location.config_options(),
        use_listings_cache=True,
        listings_expiry_time=_LISTED_S,
        skip_instance_cache=True,
    )
