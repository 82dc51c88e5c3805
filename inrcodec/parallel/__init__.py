"""Work spread over processes and machines: local processes, Dask clusters, and averaged gradients."""
