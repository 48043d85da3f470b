"""Where stores lie: a folder, or S3 by URL.

Belongs here: turning a URL and its credentials into storage, for Icechunk and for plain objects. Does not belong here: what
is stored.

Credentials come from the environment as AWS names them (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, or a
role of the machine); ``anonymous`` reads public buckets without any.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("ICECHUNK_LOG", "error")  # it warns of the local folder at each open; lock.py answers that
import obstore.store

from otn_dagster.late import late

if TYPE_CHECKING:
    import icechunk
else:
    icechunk = late("icechunk")


@dataclass(frozen=True)
class Location:
    """A place for stores: ``url`` is a folder's path or ``s3://bucket/prefix``."""

    url: str
    region: str | None = None
    endpoint: str | None = None
    anonymous: bool = False

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return "://" not in self.url

    def below(self, name: str) -> Location:
        """The place of this name under it."""
        return Location(f"{self.url.rstrip('/')}/{name}", self.region, self.endpoint, self.anonymous)

    def lock_file(self) -> Path | None:
        """The file whose lock lets one writer in; None where the storage itself detects conflicts."""
        path = Path(self.url)
        return path.parent / ".locks" / f"{path.name}.lock" if self.is_local else None

    def icechunk(self) -> icechunk.Storage:
        """Storage of an Icechunk repository."""
        if self.is_local:
            Path(self.url).mkdir(parents=True, exist_ok=True)
            return icechunk.local_filesystem_storage(self.url)
        bucket, prefix = self._bucket()
        return icechunk.s3_storage(
            bucket=bucket,
            prefix=prefix,
            region=self.region or os.environ.get("AWS_REGION") or "us-east-1",
            endpoint_url=self.endpoint,
            allow_http=bool(self.endpoint and self.endpoint.startswith("http://")),
            anonymous=self.anonymous or None,
            from_env=None if self.anonymous else True,
            force_path_style=bool(self.endpoint),
        )

    def objects(self) -> Any:
        """Plain objects under it, by key."""
        if self.is_local:
            Path(self.url).mkdir(parents=True, exist_ok=True)
            return obstore.store.LocalStore(self.url, mkdir=True)
        bucket, prefix = self._bucket()
        options: dict[str, Any] = {"region": self.region or os.environ.get("AWS_REGION") or "us-east-1"}
        if self.endpoint:
            options |= {"endpoint": self.endpoint, "virtual_hosted_style_request": False}
        if self.anonymous:
            options["skip_signature"] = True
        http: Any = {"allow_http": True} if self.endpoint and self.endpoint.startswith("http://") else {}
        return obstore.store.S3Store(bucket, prefix=prefix or None, client_options=http, **options)

    def _bucket(self) -> tuple[str, str]:
        scheme, rest = self.url.split("://", 1)
        if scheme != "s3":
            raise ValueError(f"the store's URL starts with {scheme}://, expected s3:// or a folder's path")
        bucket, _, prefix = rest.partition("/")
        return bucket, prefix.strip("/")
