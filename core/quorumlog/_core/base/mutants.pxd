"""Wrong behaviours on demand, to show that the tests would see them (tests/simulation/mutants.py).

`mutant(name)` is true in the build profile `mutants` while the environment variable
QUORUMLOG_MUTANT is that name.  In every other build it is the constant 0 and the
branch behind it is not compiled.  Each name stands in the table of
tests/simulation/mutants.py.
"""

cdef extern from *:
    """
    #ifndef QUORUMLOG_MUTANT_SWITCH
    #define QUORUMLOG_MUTANT_SWITCH
    #ifdef QUORUMLOG_MUTANTS
    #include <stdlib.h>
    #include <string.h>
    static int ql_mutant_chosen(const char *name) {
        const char *chosen = getenv("QUORUMLOG_MUTANT");
        return chosen != NULL && strcmp(chosen, name) == 0;
    }
    /* Asked once at each place: the environment does not change. */
    #define ql_mutant(name) __extension__ ({ static int ql_known = -1; \\
        if (ql_known < 0) ql_known = ql_mutant_chosen(name); ql_known; })
    #define ql_mutants_built 1
    #else
    #define ql_mutant(name) ((void)(name), 0)
    #define ql_mutants_built 0
    #endif
    #endif
    """
    bint mutant "ql_mutant"(const char* name) noexcept nogil
    bint mutants_built "ql_mutants_built"
