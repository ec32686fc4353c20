"""The distribution-spec client."""
