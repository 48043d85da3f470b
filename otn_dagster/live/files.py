"""Files inside records: base64 with a content type in, a reference out, the bytes kept once by their hash.

Belongs here: reading such a field, keeping and finding its bytes. Does not belong here: who may read them.
"""

import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otn_dagster import files
from otn_dagster.live.schema import Field

MAGIC = {
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/tiff": (b"II*\x00", b"MM\x00*"),
    "image/webp": (b"RIFF",),
    "audio/wav": (b"RIFF",),
    "application/pdf": (b"%PDF-",),
    "application/zip": (b"PK\x03\x04",),
    "application/gzip": (b"\x1f\x8b",),
}
HASH = re.compile(r"[0-9a-f]{64}")
CONTENT_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]{1,80}")
SAME = {"image/jpg": "image/jpeg", "audio/x-wav": "audio/wav"}


class BadFileField(ValueError):
    """A file field that cannot be used."""

    def __init__(self, code: str, message: str):
        """A code for programs, a message for people."""
        self.code = code
        super().__init__(message)


@dataclass(frozen=True)
class FileField:
    """A file of a record; ``content`` is None where it comes from the log."""

    sha256: str
    content_type: str
    size: int
    content: bytes | None = None

    def reference(self) -> dict[str, Any]:
        """What stands in the record instead of the bytes."""
        return {"sha256": self.sha256, "content_type": self.content_type, "bytes": self.size}


def read_field(field: Field, value: Any, stored: bool) -> FileField:
    """``{"content": base64, "content-type": ...}`` (or ``content_type``) to a file; raises BadFileField.

    References are taken from the log only: a client cannot name the hash of somebody else's file.
    """
    if not isinstance(value, dict):
        raise BadFileField("type", 'expected {"content": base64, "content-type": "image/jpeg"}')
    if stored and "sha256" in value:
        return _reference(value)
    content_type = value.get("content-type", value.get("content_type"))
    if not isinstance(value.get("content"), str) or not isinstance(content_type, str):
        raise BadFileField("type", 'expected {"content": base64, "content-type": "image/jpeg"}')
    if not CONTENT_TYPE.fullmatch(content_type):
        raise BadFileField("content_type", f"expected a content type like image/jpeg, got {content_type[:80]!r}")
    content_type = SAME.get(content_type, content_type)
    allowed = [SAME.get(name, name) for name in field.content_types]
    if allowed and content_type not in allowed:
        raise BadFileField("content_type", f"expected one of {', '.join(allowed)}, got {content_type}")
    try:
        content = binascii.a2b_base64(value["content"], strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise BadFileField("not_base64", f"the content is no base64: {error}") from None
    if len(content) > field.most_mb * 1_000_000:
        raise BadFileField("file_too_large", f"expected at most {field.most_mb:g} MB, got {len(content):,} bytes")
    magic = MAGIC.get(content_type)
    if magic and not content.startswith(magic):
        raise BadFileField("content_type", f"the bytes do not begin as those of {content_type} do")
    return FileField(hashlib.sha256(content).hexdigest(), content_type, len(content), content)


def _reference(value: dict[str, Any]) -> FileField:
    sha256, content_type, size = (value.get(name) for name in ("sha256", "content_type", "bytes"))
    good = isinstance(sha256, str) and HASH.fullmatch(sha256) and isinstance(size, int)
    if not (good and isinstance(content_type, str) and CONTENT_TYPE.fullmatch(content_type)):
        raise BadFileField("type", "expected the reference of a file")
    return FileField(str(sha256), content_type, int(str(size)))


def path_of(folder: Path, sha256: str) -> Path:
    """Where a file is; raises ValueError where that is no hash."""
    if not HASH.fullmatch(sha256):
        raise ValueError("expected a SHA-256 in hexadecimal")
    return folder / "files" / sha256[:2] / sha256


def keep(folder: Path, file: FileField) -> None:
    """Keep the bytes durably. Safe to repeat and to race: written aside, flushed, renamed; the name is their hash."""
    path = path_of(folder, file.sha256)
    if file.content is None or path.exists():
        return
    files.write(path, file.content)


def files_of(records: Iterable[Any]) -> list[FileField]:
    """The files in records."""
    return [value for record in records for value in record.values.values() if isinstance(value, FileField)]
