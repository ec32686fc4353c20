"""The tasks of this extension."""

from ext_template.tasks import cartpole  # noqa: F401 (registers it)
