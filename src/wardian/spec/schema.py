"""The JSON schema of ``wardian.toml``, for editors."""

from typing import Any

from wardian.spec.models import Spec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = "https://wardian.dev/schema/wardian-1.json"


def schema() -> dict[str, Any]:
    """The schema of one file. It asks for less than loading does: a local file or a user's may hold a part."""
    body = Spec.model_json_schema(by_alias=True, mode="validation")
    body.pop("required", None)
    return {"$schema": DIALECT, "$id": ID, **body, "title": "wardian.toml"}
