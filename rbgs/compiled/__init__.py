"""The compiled engines, behind the same calls: imported only when they are used."""
