import support.paths  # noqa: F401: puts scripts/lib on the path
