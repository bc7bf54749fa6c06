"""How this core was built, for `quorumlog doctor` and the reports of benchmarks."""

cdef extern from *:
    """
    #ifndef QUORUMLOG_PROFILE
    #define QUORUMLOG_PROFILE "unknown"
    #endif
    #ifndef QUORUMLOG_FLAGS
    #define QUORUMLOG_FLAGS "unknown"
    #endif
    """
    const char* QUORUMLOG_PROFILE
    const char* QUORUMLOG_FLAGS


def build_profile() -> str:
    """The profile that setup.py compiled with: release, debug, asan, tsan or coverage."""
    return QUORUMLOG_PROFILE.decode("ascii")


def build_flags() -> str:
    """What the compiler was told beside Python's own flags: the profile's, QUORUMLOG_CFLAGS and CFLAGS."""
    return QUORUMLOG_FLAGS.decode("ascii", "replace")
