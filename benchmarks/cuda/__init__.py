"""What can be known of the CUDA kernels without a GPU: their results and traffic, executed in a PTX simulator, and what
the compiler says of them."""
