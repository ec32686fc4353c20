"""An Isaac Lab extension: its tasks are registered with Gymnasium when ``ext_template.tasks`` is imported."""
