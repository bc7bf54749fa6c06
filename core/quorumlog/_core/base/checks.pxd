"""Checks that stay on in release builds, by id.

A Python `assert` in nogil code stops nothing; `check` prints the id and its
sentence and ends the process, because going on after a broken invariant could
turn a bug into lost data (DESIGN section 9, InvariantViolation).  The text is
"Q-<AREA>-<nn> sentence"; ids are unique (tests/structure/test_checks.py).
"""

cdef extern from *:
    """
    #ifndef QUORUMLOG_CHECKS
    #define QUORUMLOG_CHECKS
    #include <stdio.h>
    #include <stdlib.h>
    __attribute__((cold, noinline, noreturn))
    static void ql_check_failed(const char *text, long long a, long long b,
                                const char *file, int line) {
        fprintf(stderr,
                "\\nquorumlog: InvariantViolation: %s [%lld, %lld] (%s:%d)\\n"
                "This is a bug in quorumlog; the process stops so that nothing is lost. "
                "Please report it with this line.\\n", text, a, b, file, line);
        fflush(stderr);
        abort();
    }
    #define ql_check(condition, text) \\
        do { if (__builtin_expect(!(condition), 0)) \\
            ql_check_failed((text), 0, 0, __FILE__, __LINE__); } while (0)
    #define ql_check2(condition, text, a, b) \\
        do { if (__builtin_expect(!(condition), 0)) \\
            ql_check_failed((text), (long long)(a), (long long)(b), __FILE__, __LINE__); } while (0)
    #endif
    """
    void check "ql_check"(bint condition, const char* text) noexcept nogil
    # The same with two numbers that the report prints.
    void check2 "ql_check2"(bint condition, const char* text, long long a, long long b) noexcept nogil
