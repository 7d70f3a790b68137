"""An S3 server as a process of its own: `python -m tests.s3_server FOLDER PORT`; localbucket, and what it lacks.

pyarrow deletes a folder by DeleteObjects, of which localbucket knows nothing, and leaves a marker where the folder
was, an object whose name ends with a stroke, which localbucket has no file for: it keeps none.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path

from localbucket import S3_NAMESPACE, S3Handler

HOST = "127.0.0.1"


class Handler(S3Handler):  # type: ignore[misc]  # localbucket has no types
    """localbucket's, with DeleteObjects and markers of folders that are taken and not kept."""

    def _post_request(self, bucket: str, key: str) -> None:
        if key or "delete" not in self.query:
            super()._post_request(bucket, key)
            return
        self._check_query("DeleteObjects", {"delete"})
        asked = ET.fromstring(self._read_body())  # noqa: S314 - what the test itself sends
        answer = ET.Element("DeleteResult", xmlns=S3_NAMESPACE)
        for name in (element.text or "" for element in asked.iter() if element.tag.endswith("Key")):
            if not name.endswith("/"):
                self._object_path(bucket, name).unlink(missing_ok=True)
            ET.SubElement(ET.SubElement(answer, "Deleted"), "Key").text = name
        self._send_xml(answer)

    def _put(self, bucket: str, key: str) -> None:
        if key.endswith("/"):
            self._bucket_dir(bucket)
            self._read_body()
            self._send(HTTPStatus.OK)
        else:
            super()._put(bucket, key)

    def _delete_object(self, bucket: str, key: str) -> None:
        if key.endswith("/"):
            self._bucket_dir(bucket)
            self._send(HTTPStatus.NO_CONTENT)
        else:
            super()._delete_object(bucket, key)


def main() -> None:
    """Serve a folder until the process is ended."""
    Handler.data_root = Path(sys.argv[1])
    ThreadingHTTPServer((HOST, int(sys.argv[2])), Handler).serve_forever()


if __name__ == "__main__":
    main()
