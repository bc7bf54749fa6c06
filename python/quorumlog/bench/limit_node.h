/* The two loops of the limit program: a leader that makes, sends and writes batches and counts a majority of
 * flushes, and a follower that receives, checks, writes and acknowledges.  One thread each (and the writer thread
 * of that variant); a turn tries everything once and sleeps in epoll only if nothing moved. */
#ifndef LIMIT_NODE_H
#define LIMIT_NODE_H

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "limit_crc32c.h"
#include "limit_disk.h"

#define NODES_MAX 9
#define MAGIC 0x314d4c51u            /* "QLM1" */
#define RING_BYTES (8u << 20)
#define HISTOGRAM_BUCKETS (64 * 64)

/* A batch in memory, on the wire and on disk; the payload follows, then zeros to a multiple of 8. */
struct Header {
    uint32_t magic, crc;             /* of all that follows this field */
    uint64_t sequence;               /* from 1 */
    uint32_t entries, payload_bytes;
};

struct Ack {
    uint64_t flushed;                /* batches 1 to this one are durable */
    uint64_t offset;                 /* how full the file is */
};

struct Options {
    int nodes, threads, single;
    uint32_t payload, batch, window;
    double seconds, warmup_seconds;
    enum Variant variant;
    uint64_t file_bytes;
    const char *directory;
};

/* What a node leaves behind, in memory shared with the parent. */
struct Report {
    uint64_t flushed, syncs, written_bytes;
    uint64_t measured_batches, measured_syncs, measured_bytes, measured_ns;   /* leader only */
    uint64_t histogram[HISTOGRAM_BUCKETS];
};

struct Node {
    const struct Options *options;
    struct Report *report;
    const char *path;
    int id;                          /* 0 is the leader */
    int listener;                    /* of a follower */
    uint16_t ports[NODES_MAX];
    struct Disk disk;
    int epoll;
    uint8_t *ring;                   /* slots of equal size; batch `sequence` lies in slot (sequence - 1) % slots */
    uint64_t slot_bytes, slots;
    uint64_t filled, submitted, flushed;  /* batches: in the ring, given to the disk, durable */
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t smaller(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

/* Log-linear: 64 buckets to each power of two, so a percentile is off by less than 1.6 %. */
static unsigned bucket_of(uint64_t ns)
{
    if (ns < 64)
        return (unsigned)ns;
    unsigned power = 63 - (unsigned)__builtin_clzll(ns);
    return (power - 5) * 64 + (unsigned)((ns >> (power - 6)) & 63);
}

static double bucket_ns(unsigned bucket)
{
    if (bucket < 64)
        return bucket;
    unsigned power = bucket / 64 + 5;
    return ((double)(64 + bucket % 64) + 0.5) * (double)(1ull << (power - 6));
}

static uint64_t slot_bytes_of(const struct Options *options)
{
    return (sizeof(struct Header) + (uint64_t)options->payload * options->batch + 7) & ~7ull;
}

static uint64_t slots_of(const struct Options *options)
{
    uint64_t slots = options->single ? 64 : RING_BYTES / slot_bytes_of(options);
    return slots < 4 ? 4 : slots > 65536 ? 65536 : slots;
}

static uint8_t *slot_at(const struct Node *node, uint64_t sequence)
{
    return node->ring + (sequence - 1) % node->slots * node->slot_bytes;
}

static uint32_t batch_crc(const struct Header *batch, uint64_t slot_bytes)
{
    return crc32c((const uint8_t *)batch + 8, slot_bytes - 8);
}

static void node_open(struct Node *node)
{
    const struct Options *options = node->options;
    node->slot_bytes = slot_bytes_of(options);
    node->slots = slots_of(options);
    if (posix_memalign((void **)&node->ring, BLOCK_BYTES, node->slots * node->slot_bytes))
        fail("memory");
    memset(node->ring, 0, node->slots * node->slot_bytes);
    disk_open(&node->disk, options->variant, node->path, options->file_bytes,
              padded(node->slot_bytes * (options->single ? 1 : 4)) <= SMALL_GROUP_BYTES);
    node->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (node->epoll < 0)
        fail("epoll");
    if (disk_event_fd(&node->disk) >= 0) {
        struct epoll_event event = {.events = EPOLLIN};
        if (options->variant == VARIANT_THREAD)
            event.events |= EPOLLET;
        if (epoll_ctl(node->epoll, EPOLL_CTL_ADD, disk_event_fd(&node->disk), &event))
            fail("epoll");
    }
}

static void node_close(struct Node *node)
{
    node->report->flushed = node->flushed;
    node->report->syncs = node->disk.syncs;
    node->report->written_bytes = node->disk.written_bytes;
    disk_close(&node->disk);
    close(node->epoll);
    free(node->ring);
}

static void node_watch(struct Node *node, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
    int one = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) || fcntl(fd, F_SETFL, O_NONBLOCK) ||
        epoll_ctl(node->epoll, EPOLL_CTL_ADD, fd, &event))
        fail("socket options");
}

static void node_sleep(struct Node *node)
{
    struct epoll_event events[NODES_MAX + 1];
    if (epoll_wait(node->epoll, events, NODES_MAX + 1, -1) < 0 && errno != EINTR)
        fail("epoll_wait");
}

/* Group commit: takes up what is durable, then gives the disk all that has gathered.  True if anything moved. */
static int node_write(struct Node *node)
{
    int moved = 0;
    if (!node->disk.busy && node->filled > node->submitted) {
        uint64_t first = node->submitted % node->slots, count = node->filled - node->submitted;
        uint64_t straight = smaller(count, node->slots - first);
        struct iovec one = {node->ring + first * node->slot_bytes, straight * node->slot_bytes};
        struct iovec two = {node->ring, (count - straight) * node->slot_bytes};
        disk_submit(&node->disk, one, two);
        node->submitted = node->filled;
        moved = 1;
    }
    if (disk_completed(&node->disk)) {
        node->flushed = node->submitted;
        moved = 1;
    }
    return moved;
}

/* ---- follower ------------------------------------------------------------------------------------------ */

static void check_batch(const struct Node *node, uint64_t sequence)
{
    const struct Header *batch = (const struct Header *)slot_at(node, sequence);
    if (batch->magic != MAGIC || batch->sequence != sequence || batch->crc != batch_crc(batch, node->slot_bytes)) {
        fprintf(stderr, "limit: node %d received a damaged batch %llu\n", node->id, (unsigned long long)sequence);
        _exit(1);
    }
}

static void *follower_run(void *context)
{
    struct Node *node = context;
    node_open(node);
    int leader = accept4(node->listener, NULL, NULL, SOCK_CLOEXEC);
    if (leader < 0)
        fail("accept");
    node_watch(node, leader);
    uint64_t received = 0, ring_bytes = node->slots * node->slot_bytes, told = 0;
    int ended = 0;
    while (!ended || node->flushed < node->filled) {
        int moved = 0;
        uint64_t room = node->flushed * node->slot_bytes + ring_bytes - received;
        uint64_t at = received % ring_bytes;
        if (room && !ended) {
            ssize_t count = recv(leader, node->ring + at, smaller(room, ring_bytes - at), 0);
            if (count > 0) {
                received += (uint64_t)count;
                moved = 1;
            } else if (count == 0) {
                ended = 1;
            } else if (errno != EAGAIN && errno != EINTR) {
                fail("recv");
            }
        }
        for (; (node->filled + 1) * node->slot_bytes <= received; node->filled++)
            check_batch(node, node->filled + 1);
        moved |= node_write(node);
        if (node->flushed > told) {
            struct Ack ack = {node->flushed, node->disk.offset};
            if (send(leader, &ack, sizeof ack, MSG_NOSIGNAL) != sizeof ack)
                fail("sending an acknowledgement");
            told = node->flushed;
            moved = 1;
        }
        if (!moved && !(ended && node->flushed >= node->filled))
            node_sleep(node);
    }
    close(leader);
    node_close(node);
    return NULL;
}

/* ---- leader -------------------------------------------------------------------------------------------- */

struct Leader {
    struct Node *node;
    int sockets[NODES_MAX];
    uint64_t sent_bytes[NODES_MAX];
    struct Ack acks[NODES_MAX];
    size_t ack_bytes[NODES_MAX];     /* of a partly received one */
    uint8_t *source;                 /* what a caller would hand in */
    uint64_t *made_ns;               /* by slot */
    uint64_t committed, window;
};

static void leader_connect(struct Leader *leader)
{
    struct Node *node = leader->node;
    for (int peer = 1; peer < node->options->nodes; peer++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = node->ports[peer]};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
            fail("connect");
        node_watch(node, fd);
        leader->sockets[peer] = fd;
    }
}

/* Copies the caller's payload once and computes its checksum once. */
static void make_batch(struct Leader *leader, uint64_t now_ns)
{
    struct Node *node = leader->node;
    const struct Options *options = node->options;
    uint64_t sequence = node->filled + 1;
    struct Header *batch = (struct Header *)slot_at(node, sequence);
    batch->magic = MAGIC;
    batch->sequence = sequence;
    batch->entries = options->batch;
    batch->payload_bytes = options->payload * options->batch;
    memcpy(batch + 1, leader->source, batch->payload_bytes);
    memcpy(batch + 1, &sequence, smaller(sizeof sequence, batch->payload_bytes));
    batch->crc = batch_crc(batch, node->slot_bytes);
    leader->made_ns[(sequence - 1) % node->slots] = now_ns;
    node->filled = sequence;
}

/* The slowest of what still needs the ring: the commit, the own disk, each socket. */
static uint64_t leader_done_with(const struct Leader *leader)
{
    const struct Node *node = leader->node;
    uint64_t done = smaller(leader->committed, node->flushed);
    for (int peer = 1; peer < node->options->nodes; peer++)
        done = smaller(done, leader->sent_bytes[peer] / node->slot_bytes);
    return done;
}

static int leader_make(struct Leader *leader, uint64_t now_ns)
{
    struct Node *node = leader->node;
    uint64_t fullest = node->disk.offset;
    for (int peer = 1; peer < node->options->nodes; peer++)
        fullest = fullest > leader->acks[peer].offset ? fullest : leader->acks[peer].offset;
    /* Were each batch of the ring a group of its own, the file would still hold it. */
    if (fullest + 2 * node->slots * padded(node->slot_bytes) > node->disk.size)
        return -1;
    uint64_t limit = smaller(leader_done_with(leader) + node->slots, leader->committed + leader->window);
    uint64_t turn = node->filled + 1 + (256 << 10) / node->slot_bytes;
    uint64_t before = node->filled;
    while (node->filled < smaller(limit, turn))
        make_batch(leader, now_ns);
    return node->filled > before;
}

static int leader_send(struct Leader *leader, int peer)
{
    struct Node *node = leader->node;
    uint64_t ring_bytes = node->slots * node->slot_bytes;
    uint64_t pending = node->filled * node->slot_bytes - leader->sent_bytes[peer];
    uint64_t at = leader->sent_bytes[peer] % ring_bytes;
    if (!pending)
        return 0;
    ssize_t count = send(leader->sockets[peer], node->ring + at, smaller(pending, ring_bytes - at), MSG_NOSIGNAL);
    if (count < 0) {
        if (errno != EAGAIN && errno != EINTR)
            fail("send");
        return 0;
    }
    leader->sent_bytes[peer] += (uint64_t)count;
    return 1;
}

static int leader_receive(struct Leader *leader, int peer)
{
    static __thread uint8_t bytes[4096];
    size_t held = leader->ack_bytes[peer];
    static __thread uint8_t partial[NODES_MAX][sizeof(struct Ack)];
    memcpy(bytes, partial[peer], held);
    ssize_t count = recv(leader->sockets[peer], bytes + held, sizeof bytes - held, 0);
    if (count == 0) {
        errno = ECONNRESET;
        fail("a follower left");
    }
    if (count < 0) {
        if (errno != EAGAIN && errno != EINTR)
            fail("recv");
        return 0;
    }
    size_t total = held + (size_t)count, whole = total / sizeof(struct Ack) * sizeof(struct Ack);
    if (whole)
        memcpy(&leader->acks[peer], bytes + whole - sizeof(struct Ack), sizeof(struct Ack));
    memcpy(partial[peer], bytes + whole, total - whole);
    leader->ack_bytes[peer] = total - whole;
    return 1;
}

/* The highest batch that a majority of disks holds. */
static uint64_t leader_majority(const struct Leader *leader)
{
    uint64_t held[NODES_MAX];
    int nodes = leader->node->options->nodes;
    for (int id = 0; id < nodes; id++) {
        uint64_t flushed = id ? leader->acks[id].flushed : leader->node->flushed;
        int at = id;
        for (; at > 0 && held[at - 1] < flushed; at--)
            held[at] = held[at - 1];
        held[at] = flushed;
    }
    return held[nodes / 2];
}

static int leader_commit(struct Leader *leader, uint64_t now_ns, int measuring)
{
    struct Node *node = leader->node;
    uint64_t majority = leader_majority(leader), before = leader->committed;
    for (; leader->committed < majority; leader->committed++) {
        if (measuring) {
            uint64_t ns = now_ns - leader->made_ns[leader->committed % node->slots];
            node->report->histogram[bucket_of(ns)]++;
            node->report->measured_batches++;
        }
    }
    return majority > before;
}

static int leader_all_acked(const struct Leader *leader)
{
    for (int peer = 1; peer < leader->node->options->nodes; peer++)
        if (leader->acks[peer].flushed < leader->node->filled)
            return 0;
    return leader->node->flushed == leader->node->filled;
}

static void leader_loop(struct Leader *leader)
{
    struct Node *node = leader->node;
    const struct Options *options = node->options;
    struct Report *report = node->report;
    uint64_t start = clock_ns() + (uint64_t)(options->warmup_seconds * 1e9), began = 0;
    uint64_t end = start + (uint64_t)(options->seconds * 1e9), syncs = 0, written = 0;
    int making = 1;
    while (making || !leader_all_acked(leader)) {
        uint64_t now = clock_ns();
        if (making && !began && (now >= start || node->disk.written_bytes >= options->file_bytes / 8)) {
            began = now, syncs = node->disk.syncs, written = node->disk.written_bytes;
        }
        int moved = 0, made = making ? leader_make(leader, now) : 0;
        if (making && (made < 0 || now >= end)) {
            making = 0;              /* the clock stops; what is in flight is finished all the same */
            if (began) {
                report->measured_ns = now - began;
                report->measured_syncs = node->disk.syncs - syncs;
                report->measured_bytes = node->disk.written_bytes - written;
            }
        }
        moved |= made > 0;
        for (int peer = 1; peer < options->nodes; peer++)
            moved |= leader_send(leader, peer);
        moved |= node_write(node);
        for (int peer = 1; peer < options->nodes; peer++)
            moved |= leader_receive(leader, peer);
        moved |= leader_commit(leader, clock_ns(), began && making);
        if (!moved && (making || !leader_all_acked(leader)))
            node_sleep(node);
    }
}

static void *leader_run(void *context)
{
    struct Node *node = context;
    struct Leader *leader = calloc(1, sizeof *leader);
    node_open(node);
    leader->node = node;
    uint64_t payload_bytes = (uint64_t)node->options->payload * node->options->batch;
    leader->source = malloc(payload_bytes + 1);
    leader->made_ns = calloc(node->slots, sizeof *leader->made_ns);
    if (!leader->source || !leader->made_ns)
        fail("memory");
    for (uint64_t at = 0; at < payload_bytes; at++)
        leader->source[at] = (uint8_t)(at * 2654435761u >> 13);
    leader->window = node->options->window ? node->options->window : node->slots;
    leader_connect(leader);
    leader_loop(leader);
    for (int peer = 1; peer < node->options->nodes; peer++)
        close(leader->sockets[peer]);
    free(leader->source);
    free(leader->made_ns);
    free(leader);
    node_close(node);
    return NULL;
}

#endif
