"""The experiments of the paper: networks, data sets, flags and tables on top of `cheblienet.train`."""
