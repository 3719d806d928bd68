"""All that is known of Gumbels given the outcome."""
