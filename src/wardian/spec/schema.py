"""The JSON schema of ``wardian.toml``, for editors."""

from typing import Any

from wardian.spec.models import Spec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ID = "https://wardian.dev/schema/wardian-1.json"


def schema() -> dict[str, Any]:
    """The schema of ``wardian.toml``. No table is required: pyproject.toml or another source may hold it."""
    body = Spec.model_json_schema(by_alias=True, mode="validation")
    body.pop("required", None)
    return {"$schema": DIALECT, "$id": ID, **body, "title": "wardian.toml"}
