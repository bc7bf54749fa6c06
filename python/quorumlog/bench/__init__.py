"""Benchmarks that come with the package: a real cluster (`cluster`) and the bare C limit (`limit`)."""
