"""The lake on S3 as a file system that DuckDB can read; its own httpfs would be a download."""

from typing import TYPE_CHECKING

from pipeline.storage.s3_location import Location

if TYPE_CHECKING:
    from s3fs import S3FileSystem


def open_files(location: Location) -> "S3FileSystem":
    """Caches no listings: parts come and go. A file replaced while it is read is an error, never a mix."""
    from s3fs import S3FileSystem

    return S3FileSystem(
        endpoint_url=location.endpoint_url,
        client_kwargs={"region_name": location.client_options()["region_name"]},
        config_kwargs=location.config_options(),
        use_listings_cache=False,
        skip_instance_cache=True,
    )
