"""What all commands show: how far they are, and figures."""
