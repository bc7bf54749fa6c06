"""Threads of the runtime: started with every signal blocked, named, never attached to Python.

Signals belong to Python's threads: a handler's write must not be lost in one of
ours, and an EINTR here would serve nobody.  Header only.
"""

cdef extern from *:
    """
    #ifndef QUORUMLOG_THREADS
    #define QUORUMLOG_THREADS
    #include <errno.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/resource.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    /* The name has at most 15 bytes.  0 or a positive errno. */
    static inline int ql_thread_start(pthread_t *thread, const char *name, void *(*run)(void *),
                                      void *argument) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);      /* inherited, from the first instruction on */
        int error = pthread_create(thread, NULL, run, argument);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (error == 0) pthread_setname_np(*thread, name);
        return error;
    }
    static inline void ql_thread_join(pthread_t thread) { pthread_join(thread, NULL); }
    /* The calling thread steps back behind the others; refused where not allowed, which does no harm. */
    static inline void ql_thread_step_back(int nice) {
        setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice);
    }
    struct ql_sched_attr {
        uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority;
        uint64_t runtime, deadline, period;
    };
    static inline void ql_thread_short_slice(void) {
        struct ql_sched_attr attr;
        memset(&attr, 0, sizeof attr);
        attr.size = sizeof attr;
        attr.runtime = 100000;
        syscall(SYS_sched_setattr, 0, &attr, 0);
    }
    #endif
    """
    ctypedef struct thread_t "pthread_t":
        pass
    int thread_start "ql_thread_start"(thread_t* thread, const char* name,
                                       void* (*run)(void*) noexcept nogil, void* argument) noexcept nogil
    void thread_join "ql_thread_join"(thread_t thread) noexcept nogil
    void thread_step_back "ql_thread_step_back"(int nice) noexcept nogil
    # A scheduling slice of 0.1 ms for the calling thread: a busy neighbour then delays it by well under
    # a millisecond instead of 4 (cython-facts.md Q4).  Needs no privilege; a refusal does no harm.
    void thread_short_slice "ql_thread_short_slice"() noexcept nogil
