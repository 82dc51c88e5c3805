"""Methods: relative entropy coding of blocks, posterior fits."""
