"""How this core was built, for `quorumlog doctor` and the reports of benchmarks."""

cdef extern from *:
    """
    #ifndef QUORUMLOG_PROFILE
    #define QUORUMLOG_PROFILE "unknown"
    #endif
    """
    const char* QUORUMLOG_PROFILE


def build_profile() -> str:
    """The profile that setup.py compiled with: release, debug, asan, tsan or coverage."""
    return QUORUMLOG_PROFILE.decode("ascii")
