"""What the library is measured by: `python -m benchmarks.ROOM.COMMAND`, from the repository."""
