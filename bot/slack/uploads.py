"""Files for one person, in a direct message from the bot.

Slack's way in three calls: https://docs.slack.dev/messaging/working-with-files#uploading_files
"""

from pathlib import Path

import requests
from slack_sdk import WebClient

TIMEOUT = 300
"""Seconds for Slack to take in the bytes of one file."""


class Uploads:
    """Blocks: call it in a worker thread. Raises SlackApiError, requests.RequestException and OSError."""

    def __init__(self, token: str, api_url: str) -> None:
        self._client = WebClient(token, base_url=api_url, timeout=30)
        # Slack's client posts again by itself when a connection breaks, perhaps after the message was posted: twice.
        self._client.retry_handlers.clear()

    def give(self, user_id: str, path: Path, title: str, words: str) -> None:
        """Say these words to the person, and put the file below them. Called again, it says and gives them again.

        The file is streamed: however large, it is never in memory as a whole.
        """
        said = self._client.chat_postMessage(channel=user_id, text=words, unfurl_links=False, unfurl_media=False)
        place = self._client.files_getUploadURLExternal(filename=title, length=path.stat().st_size)
        with path.open("rb") as file:
            took = requests.post(str(place["upload_url"]), data=file, timeout=TIMEOUT, allow_redirects=False)
        took.raise_for_status()
        self._client.files_completeUploadExternal(
            files=[{"id": str(place["file_id"]), "title": title}],
            channel_id=str(said["channel"]),
            thread_ts=str(said["ts"]),
        )
