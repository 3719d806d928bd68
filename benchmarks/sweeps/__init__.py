"""Many runs of an experiment on a Dask cluster: specifications, rows and reports."""
