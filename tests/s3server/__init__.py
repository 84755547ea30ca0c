"""An S3 server for tests: moto's, in a process of its own."""

from tests.s3server.server import S3Server, start_s3_server

__all__ = ["S3Server", "start_s3_server"]
