"""What people write for the cluster (flags, files, specifications), turned into requests. Pure."""
