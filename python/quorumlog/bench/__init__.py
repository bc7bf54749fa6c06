"""Benchmarks: a real cluster under load (`cluster`), and the bare C limit (`limit`)."""
