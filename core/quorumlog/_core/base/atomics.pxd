"""C11 atomics, fences and futexes: the only place they come from.  Header only.

The types are opaque, so that a plain read or `+=` of an atomic field is a
compile error (cython-facts.md, trap 6).  `load` is an acquire, `store` a
release; what needs more says so in its name.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef QUORUMLOG_ATOMICS
    #define QUORUMLOG_ATOMICS
    #include <stdatomic.h>
    #include <stdint.h>
    #include <stddef.h>
    #include <errno.h>
    #include <time.h>
    #include <unistd.h>
    #include <sys/syscall.h>
    #include <linux/futex.h>
    typedef struct { _Atomic uint32_t v; } ql_atomic_u32;
    typedef struct { _Atomic uint64_t v; } ql_atomic_u64;
    typedef struct { _Atomic(void *) v; } ql_atomic_ptr;
    static inline uint32_t ql_load_u32(ql_atomic_u32 *a) {
        return atomic_load_explicit(&a->v, memory_order_acquire);
    }
    static inline void ql_store_u32(ql_atomic_u32 *a, uint32_t x) {
        atomic_store_explicit(&a->v, x, memory_order_release);
    }
    static inline uint32_t ql_add_u32(ql_atomic_u32 *a, uint32_t x) {
        return atomic_fetch_add_explicit(&a->v, x, memory_order_acq_rel);
    }
    static inline uint32_t ql_sub_u32(ql_atomic_u32 *a, uint32_t x) {
        return atomic_fetch_sub_explicit(&a->v, x, memory_order_acq_rel);
    }
    static inline uint32_t ql_exchange_u32(ql_atomic_u32 *a, uint32_t x) { return atomic_exchange(&a->v, x); }
    static inline int ql_cas_u32(ql_atomic_u32 *a, uint32_t old, uint32_t x) {
        return atomic_compare_exchange_strong(&a->v, &old, x);
    }
    static inline int ql_cas_u64(ql_atomic_u64 *a, uint64_t old, uint64_t x) {
        return atomic_compare_exchange_strong(&a->v, &old, x);
    }
    static inline uint64_t ql_load_u64(ql_atomic_u64 *a) {
        return atomic_load_explicit(&a->v, memory_order_acquire);
    }
    static inline void ql_store_u64(ql_atomic_u64 *a, uint64_t x) {
        atomic_store_explicit(&a->v, x, memory_order_release);
    }
    static inline uint64_t ql_load_u64_relaxed(ql_atomic_u64 *a) {
        return atomic_load_explicit(&a->v, memory_order_relaxed);
    }
    static inline void ql_store_u64_relaxed(ql_atomic_u64 *a, uint64_t x) {
        atomic_store_explicit(&a->v, x, memory_order_relaxed);
    }
    static inline uint64_t ql_add_u64(ql_atomic_u64 *a, uint64_t x) {
        return atomic_fetch_add_explicit(&a->v, x, memory_order_acq_rel);
    }
    static inline uint64_t ql_sub_u64(ql_atomic_u64 *a, uint64_t x) {
        return atomic_fetch_sub_explicit(&a->v, x, memory_order_acq_rel);
    }
    static inline uint64_t ql_add_u64_relaxed(ql_atomic_u64 *a, uint64_t x) {
        return atomic_fetch_add_explicit(&a->v, x, memory_order_relaxed);
    }
    static inline void *ql_load_ptr(ql_atomic_ptr *a) {
        return atomic_load_explicit(&a->v, memory_order_acquire);
    }
    static inline void ql_store_ptr(ql_atomic_ptr *a, void *x) {
        atomic_store_explicit(&a->v, x, memory_order_release);
    }
    static inline void *ql_exchange_ptr(ql_atomic_ptr *a, void *x) {
        return atomic_exchange_explicit(&a->v, x, memory_order_acq_rel);
    }
    static inline int ql_cas_ptr(ql_atomic_ptr *a, void *old, void *x) {
        return atomic_compare_exchange_strong_explicit(&a->v, &old, x, memory_order_acq_rel,
            memory_order_acquire);
    }
    static inline void ql_fence(void) { atomic_thread_fence(memory_order_seq_cst); }
    static inline void ql_cpu_relax(void) {
    #if defined(__x86_64__)
        __builtin_ia32_pause();
    #elif defined(__aarch64__)
        __asm__ volatile("yield");
    #endif
    }
    /* Sleeps while *a == expected; 0 woken or changed, EINTR on a signal, ETIMEDOUT after timeout_ns
       (< 0: no limit). */
    static inline int ql_futex_wait(ql_atomic_u32 *a, uint32_t expected, int64_t timeout_ns) {
        struct timespec t, *tp = NULL;
        if (timeout_ns >= 0) { t.tv_sec = timeout_ns / 1000000000; t.tv_nsec = timeout_ns % 1000000000; tp = &t; }
        if (syscall(SYS_futex, &a->v, FUTEX_WAIT_PRIVATE, expected, tp, NULL, 0) == 0) return 0;
        return errno == EAGAIN ? 0 : errno;
    }
    static inline void ql_futex_wake(ql_atomic_u32 *a, int count) {
        syscall(SYS_futex, &a->v, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
    }
    #endif
    """
    ctypedef struct atomic_u32 "ql_atomic_u32":
        pass
    ctypedef struct atomic_u64 "ql_atomic_u64":
        pass
    ctypedef struct atomic_ptr "ql_atomic_ptr":
        pass
    uint32_t load_u32 "ql_load_u32"(atomic_u32*) noexcept nogil
    void store_u32 "ql_store_u32"(atomic_u32*, uint32_t) noexcept nogil
    uint32_t add_u32 "ql_add_u32"(atomic_u32*, uint32_t) noexcept nogil          # returns the old value
    uint32_t sub_u32 "ql_sub_u32"(atomic_u32*, uint32_t) noexcept nogil
    uint32_t exchange_u32 "ql_exchange_u32"(atomic_u32*, uint32_t) noexcept nogil    # seq_cst
    bint cas_u32 "ql_cas_u32"(atomic_u32*, uint32_t old, uint32_t new) noexcept nogil  # seq_cst
    uint64_t load_u64 "ql_load_u64"(atomic_u64*) noexcept nogil
    void store_u64 "ql_store_u64"(atomic_u64*, uint64_t) noexcept nogil
    uint64_t load_u64_relaxed "ql_load_u64_relaxed"(atomic_u64*) noexcept nogil
    void store_u64_relaxed "ql_store_u64_relaxed"(atomic_u64*, uint64_t) noexcept nogil
    uint64_t add_u64 "ql_add_u64"(atomic_u64*, uint64_t) noexcept nogil
    uint64_t sub_u64 "ql_sub_u64"(atomic_u64*, uint64_t) noexcept nogil
    uint64_t add_u64_relaxed "ql_add_u64_relaxed"(atomic_u64*, uint64_t) noexcept nogil   # for counters
    void* load_ptr "ql_load_ptr"(atomic_ptr*) noexcept nogil
    void store_ptr "ql_store_ptr"(atomic_ptr*, void*) noexcept nogil
    void* exchange_ptr "ql_exchange_ptr"(atomic_ptr*, void*) noexcept nogil
    bint cas_u64 "ql_cas_u64"(atomic_u64*, uint64_t old, uint64_t new) noexcept nogil  # seq_cst
    bint cas_ptr "ql_cas_ptr"(atomic_ptr*, void* old, void* new) noexcept nogil
    void fence "ql_fence"() noexcept nogil                                        # seq_cst
    void cpu_relax "ql_cpu_relax"() noexcept nogil
    int futex_wait "ql_futex_wait"(atomic_u32*, uint32_t expected, int64_t timeout_ns) noexcept nogil
    void futex_wake "ql_futex_wake"(atomic_u32*, int count) noexcept nogil
