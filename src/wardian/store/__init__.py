"""The content-addressed image store on disk."""
