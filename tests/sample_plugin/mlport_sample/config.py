"""Where the sample provider keeps everything: one folder is one account."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import SplitResult, unquote

from mlport.config import Config


class SampleConfig(Config):
    """`provider = "sample"` and `root = "/a/folder"` in mlport.toml, or the URL `sample:///a/folder`."""

    scheme: ClassVar[str] = "sample"

    root: Path
    """The folder; it is made when first needed."""

    @classmethod
    def fields_of_url(cls, url: SplitResult) -> dict[str, Any]:
        return {"root": unquote(url.path)}

    @property
    def target(self) -> str:
        return f"sample://{self.root}"
