"""What a call may be given: arrays of any library, read, checked and looped over."""
