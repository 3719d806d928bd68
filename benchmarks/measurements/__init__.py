"""Speed, variance and cost of the library, and what it is measured against."""
