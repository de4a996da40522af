"""What runs on many devices or fast on one: attention kernels so far."""
