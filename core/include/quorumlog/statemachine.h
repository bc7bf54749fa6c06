/* A state machine in C, C++, Rust or anything else that can fill a table of functions.
 *
 * The engine calls it from its native applier, without the GIL: a busy Python thread never delays it.
 * Hand the table over as a PyCapsule named QL_MACHINE_CAPSULE_V1 (also by an object whose
 * __quorumlog_machine__() returns one) or as cffi data of type `ql_machine_v1 *`.  It is copied; what it
 * points at, and the library that holds the code, must live as long as the node.
 *
 * Rules:
 *   - Deterministic: the same batches give the same state on every node.  No clock, no random numbers, no
 *     addresses, no order of a hash table.  Time is `leader_time_ns`, which is in the log.
 *   - All calls for one group come from one thread at a time, but for `write_view`.
 *   - No exceptions and no longjmp across the boundary.  No calls back into the engine but through the
 *     tables passed in.  Nothing passed in may be kept beyond the call.
 *   - No functions that take the GIL (ctypes callbacks, cffi `extern "Python"`): they would bring back
 *     what this interface is for.
 *   - Reject a command by its result, not by a return code: a return code other than 0 stops this replica.
 *
 * Stability: structs only grow at the end, and each begins with its size as its maker knew it.  A reader
 * looks at a field only if struct_size covers it.  tests/api/test_c_abi.py pins every offset.
 */
#ifndef QUORUMLOG_STATEMACHINE_H
#define QUORUMLOG_STATEMACHINE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QL_MACHINE_ABI_V1 1
#define QL_MACHINE_CAPSULE_V1 "quorumlog.machine.v1"

/* A committed batch: the very bytes that were proposed, read-only.  Entry i has index `first + i` and is
 * payload[offsets[i]] up to, not including, payload[offsets[i + 1]].  offsets[0] is 0 and they never fall
 * (the engine has checked it).  `payload` is aligned to 8. */
typedef struct ql_batch {
    uint32_t struct_size;
    uint32_t count;              /* entries, at least 1 */
    uint64_t first;              /* index of the first entry */
    uint64_t term;
    uint64_t leader_time_ns;     /* Unix time when the leader appended it; not monotonic */
    const uint32_t *offsets;     /* count + 1 */
    const uint8_t *payload;
} ql_batch;

/* Where results go.  Use one of the first two functions in a call, or none: all results are empty then. */
typedef struct ql_results {
    uint32_t struct_size;
    uint32_t reserved;
    void *self;
    /* Zeroed memory of the engine's for `count` results of `width_bytes` each.  NULL: no memory. */
    void *(*fixed)(void *self, uint32_t width_bytes);
    /* The result of one entry, copied; positions rise, one left out is empty.  0, or -1: no memory. */
    int (*put)(void *self, uint32_t position, const void *data, uint32_t size_bytes);
    /* Before returning anything but 0: what went wrong, one sentence, copied into the report. */
    void (*explain)(void *self, const char *sentence);
} ql_results;

/* Where a snapshot's bytes go.  0, or -1: stop, the snapshot was given up. */
typedef struct ql_sink {
    uint32_t struct_size;
    uint32_t reserved;
    void *self;
    int (*write)(void *self, const void *data, uint64_t size_bytes);
} ql_sink;

/* Where they come from: bytes read, up to `size_bytes`; 0 at the end; -1: give up. */
typedef struct ql_source {
    uint32_t struct_size;
    uint32_t reserved;
    void *self;
    int64_t (*read)(void *self, void *data, uint64_t size_bytes);
} ql_source;

/* The table.  `apply_batch` is required; a NULL in place of another means that the machine can't do that. */
typedef struct ql_machine_v1 {
    uint32_t abi_version;        /* QL_MACHINE_ABI_V1 */
    uint32_t struct_size;        /* sizeof(ql_machine_v1) as compiled */
    void *state;                 /* passed to every call */
    /* `results` is NULL when nobody waits on this node.  0, or anything else: the replica stops before this
     * batch, which must then have changed nothing. */
    int (*apply_batch)(void *state, const ql_batch *batch, ql_results *results);
    /* Between batches; changes nothing.  The answer is result 0. */
    int (*query)(void *state, const uint8_t *question, uint64_t size_bytes, ql_results *answer);
    /* Quick: a view of the state as it is now, NULL if there is no memory.  Applying goes on meanwhile. */
    void *(*freeze_view)(void *state);
    /* On another thread. */
    int (*write_view)(void *view, ql_sink *sink);
    void (*release_view)(void *view);
    /* Replaces the state by what a view wrote.  On failure the replica stops. */
    int (*restore)(void *state, ql_source *source);
    /* The last call. */
    void (*destroy)(void *state);
} ql_machine_v1;

#ifdef __cplusplus
}
#endif

#endif
