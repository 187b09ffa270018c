"""The page at `/_local/objects/<bucket>/<key>`: a file of S3 to download, or the files of a folder.

The buttons and links of Airflow lead here, where AWS's console would show a model or checkpoints.
"""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from local_sagemaker.reply import Reply
from local_sagemaker.services.objects import NoSuchBucketError

if TYPE_CHECKING:
    from local_sagemaker.services.objects import Objects

FILES_SHOWN = 1000

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem 1.25rem; }}
h1 {{ font-size: 1.2rem; overflow-wrap: anywhere; }} li {{ overflow-wrap: anywhere; margin: .25rem 0; }}
</style></head><body><h1>{title}</h1>
<ul>
{files}
</ul>{rest}</body></html>
"""


def show_objects(objects: Objects, place: str, *, prefix: str, headers: tuple[tuple[str, str], ...]) -> Reply:
    """What is at `<bucket>/<key>`. `prefix` is the path of this page; `headers` protect the reader."""
    bucket, _, key = place.partition("/")
    try:
        content = objects.read(bucket, key) if key and not key.endswith("/") else None
        keys = [] if content is not None else objects.keys(bucket, f"{key.rstrip('/')}/" if key else "")
    except NoSuchBucketError as exc:
        return _missing(f"{exc}.")
    if content is not None:
        name = quote(key.rpartition("/")[2])
        attached = ("Content-Disposition", f"attachment; filename*=UTF-8''{name}")
        return Reply(body=content, content_type="application/octet-stream", headers=(*headers, attached))
    if not keys:
        return _missing(f"There is nothing at s3://{place}.")
    files = "\n".join(
        f'<li><a href="{prefix}{quote(f"{bucket}/{each}")}">{html.escape(each)}</a></li>'
        for each in keys[:FILES_SHOWN]
    )
    rest = f"<p>The first {FILES_SHOWN} of {len(keys)} files.</p>" if len(keys) > FILES_SHOWN else ""
    page = _PAGE.format(title=html.escape(f"s3://{place}"), files=files, rest=rest)
    return Reply(body=page.encode(), content_type="text/html; charset=utf-8", headers=headers)


def _missing(text: str) -> Reply:
    return Reply(status=404, body=json.dumps({"error": text}).encode(), content_type="application/json")
