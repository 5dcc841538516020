"""A library that stands in for libnvidia-ml.so.1, built by the tests."""
