"""The formats: reference, digest, manifest, tar, deflate, wheel → layer. Pure."""
