"""What may come out of one race: a category, a subset of elements, a spanning tree."""
