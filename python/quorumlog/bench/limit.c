/* The limit: what a replicated log could do at best on this machine, with nothing in it but the work that can't be
 * left out.  N nodes on loopback TCP, a leader that copies, checksums, sends and writes batches, followers that
 * receive, check, write and acknowledge, one sync per group of batches, commit by majority.  No protocol, no
 * elections, no per-entry offsets, no Python.  `quorumlog bench limit` compiles and runs it.
 *
 *   limit --nodes 3 --payload 16 --batch 4096 --seconds 3 --mode batch|single --variant thread|direct|uring
 *         [--threads] [--window BATCHES] [--file-mib N] --directory DIR
 *
 * Log files are written full of zeros before the clock starts and never wrap: a run ends when its time is over or the
 * first file is full.  Afterwards each file is read back and every batch checked.  Prints one line of JSON. */
#define _GNU_SOURCE
#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "limit_node.h"

static const char *const VARIANTS[] = {"thread", "direct", "uring"};

static char paths[NODES_MAX][4096];

static void usage(const char *what)
{
    fprintf(stderr, "limit: %s\n", what);
    exit(2);
}

static double number(const char *name, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (*end || !*text || !(value >= least && value <= most)) {
        fprintf(stderr, "limit: --%s must be a number from %g to %g, not '%s'\n", name, least, most, text);
        exit(2);
    }
    return value;
}

static void parse(int count, char **arguments, struct Options *options)
{
    static const struct option names[] = {
        {"nodes", 1, 0, 'n'}, {"payload", 1, 0, 'p'}, {"batch", 1, 0, 'b'}, {"seconds", 1, 0, 's'}, {"mode", 1, 0, 'm'},
        {"variant", 1, 0, 'v'}, {"threads", 0, 0, 't'}, {"window", 1, 0, 'w'}, {"file-mib", 1, 0, 'f'},
        {"directory", 1, 0, 'd'}, {0}};
    double file_mib = 0;
    int letter;
    *options = (struct Options){.nodes = 3, .payload = 16, .batch = 4096, .seconds = 3};
    while ((letter = getopt_long(count, arguments, "", names, NULL)) != -1) {
        if (letter == 'n') options->nodes = (int)number("nodes", optarg, 1, NODES_MAX);
        else if (letter == 'p') options->payload = (uint32_t)number("payload", optarg, 1, 1 << 20);
        else if (letter == 'b') options->batch = (uint32_t)number("batch", optarg, 1, 1 << 20);
        else if (letter == 's') options->seconds = number("seconds", optarg, 0.01, 600);
        else if (letter == 'w') options->window = (uint32_t)number("window", optarg, 0, 65536);
        else if (letter == 'f') file_mib = number("file-mib", optarg, 1, 65536);
        else if (letter == 'd') options->directory = optarg;
        else if (letter == 't') options->threads = 1;
        else if (letter == 'm' && !strcmp(optarg, "single")) options->single = 1;
        else if (letter == 'm' && !strcmp(optarg, "batch")) options->single = 0;
        else if (letter == 'v' && !strcmp(optarg, "thread")) options->variant = VARIANT_THREAD;
        else if (letter == 'v' && !strcmp(optarg, "direct")) options->variant = VARIANT_DIRECT;
        else if (letter == 'v' && !strcmp(optarg, "uring")) options->variant = VARIANT_URING;
        else usage("--mode is batch or single, --variant is thread, direct or uring");
    }
    if (!options->directory)
        usage("--directory DIR is required: the log files lie there while it runs");
    options->warmup_seconds = options->seconds < 2 ? options->seconds / 10 : 0.2;
    if (options->single)
        options->batch = options->window = 1;
    if ((uint64_t)options->payload * options->batch > 16 << 20)
        usage("--payload times --batch must be at most 16 MiB");
    /* One at a time fills little, a block or the batch for each of at most 20,000 a second; otherwise the cap decides. */
    double a_second = options->single ? 20e3 * (double)padded(slot_bytes_of(options)) : 1.5e9;
    double wanted = (options->seconds + options->warmup_seconds) * (a_second < 1.5e9 ? a_second : 1.5e9);
    double cap = file_mib ? file_mib * (1 << 20) : 2048.0 * (1 << 20);
    double least = 4.0 * (double)slots_of(options) * (double)padded(slot_bytes_of(options));
    if (file_mib && least > cap)
        usage("--file-mib is too small for this payload and batch");
    double size = wanted > cap ? cap : wanted;
    options->file_bytes = padded((uint64_t)(size < least ? least : size));
}

static int listen_on_loopback(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) || listen(fd, 1) ||
        getsockname(fd, (struct sockaddr *)&address, &length))
        fail("listening on loopback");
    *port = address.sin_port;
    return fd;
}

/* Reads a node's file back: every batch there, in order, undamaged, each group on a block of its own. */
static uint64_t batches_on_disk(const char *path, const struct Options *options, uint64_t written_bytes)
{
    uint64_t slot_bytes = slot_bytes_of(options), at = 0, found = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *map = fd < 0 || !written_bytes ? MAP_FAILED : mmap(NULL, written_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        fail("reading the log back");
    while (at + slot_bytes <= written_bytes) {
        const struct Header *batch = (const struct Header *)(map + at);
        if (batch->magic == MAGIC && batch->sequence == found + 1 && batch->crc == batch_crc(batch, slot_bytes)) {
            found++;
            at += slot_bytes;
        } else if (at % BLOCK_BYTES) {
            at = padded(at);         /* the end of a group: the next one starts on a block */
        } else {
            break;
        }
    }
    munmap(map, written_bytes);
    close(fd);
    return found;
}

static double percentile_us(const struct Report *report, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)report->measured_batches), seen = 0;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += report->histogram[bucket];
        if (seen > wanted)
            return bucket_ns(bucket) / 1000;
    }
    return 0;
}

static double cpu_seconds(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void remove_files(void)
{
    for (int id = 0; id < NODES_MAX; id++)
        if (paths[id][0])
            unlink(paths[id]);
}

static void node_ended_badly(const pid_t *children, int count)
{
    for (int id = 0; id < count; id++)
        kill(children[id], SIGKILL);
    remove_files();
    fprintf(stderr, "limit: a node ended badly\n");
    exit(1);
}

/* One process per node, or one thread; returns when all have ended well, and exits when one has not. */
static double run_nodes(struct Node *nodes, const struct Options *options)
{
    pthread_t threads[NODES_MAX];
    pid_t children[NODES_MAX];
    double before = cpu_seconds(options->threads ? RUSAGE_SELF : RUSAGE_CHILDREN);
    for (int id = options->nodes - 1; id >= 0; id--) {
        void *(*run)(void *) = id ? follower_run : leader_run;
        if (options->threads) {
            if (pthread_create(&threads[id], NULL, run, &nodes[id]))
                fail("thread");
        } else if (!(children[id] = fork())) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            run(&nodes[id]);
            _exit(0);
        } else if (children[id] < 0) {
            fail("fork");
        }
    }
    for (int id = 0; id < options->nodes; id++) {
        int status = 0;
        if (options->threads)
            pthread_join(threads[id], NULL);
        else if (wait(&status) < 0 || status)
            node_ended_badly(children, options->nodes);
    }
    return cpu_seconds(options->threads ? RUSAGE_SELF : RUSAGE_CHILDREN) - before;
}

static void print_result(const struct Options *options, const struct Report *leader, double cpu, int verified)
{
    double seconds = (double)leader->measured_ns / 1e9;
    printf("{\"program\": \"limit\", \"mode\": \"%s\", \"variant\": \"%s\", \"nodes\": %d, \"shape\": \"%s\", "
           "\"payload_bytes\": %u, \"batch_entries\": %u, \"seconds\": %.3f, \"entries\": %llu, "
           "\"entries_per_second\": %.1f, \"latency_us\": {\"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f}, "
           "\"syncs_per_second\": %.1f, \"bytes_per_second\": %.1f, \"cpu_seconds\": %.3f, \"verified\": %s}\n",
           options->single ? "single" : "batch", VARIANTS[options->variant], options->nodes,
           options->threads ? "threads" : "processes", options->payload, options->batch, seconds,
           (unsigned long long)leader->measured_batches * options->batch,
           (double)leader->measured_batches * options->batch / seconds, percentile_us(leader, 0.5),
           percentile_us(leader, 0.99), percentile_us(leader, 0.999), (double)leader->measured_syncs / seconds,
           (double)leader->measured_bytes / seconds, cpu, verified ? "true" : "false");
}

/* exit() in here is not async-signal-safe, unlink() and _exit() are. */
static void interrupted(int signal_number)
{
    remove_files();
    _exit(128 + signal_number);
}

int main(int count, char **arguments)
{
    struct Options options;
    parse(count, arguments, &options);
    crc32c_init();
    struct Report *reports = mmap(NULL, NODES_MAX * sizeof *reports, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                                  -1, 0);
    struct Node *nodes = calloc(NODES_MAX, sizeof *nodes);
    if (reports == MAP_FAILED || !nodes)
        fail("memory");
    for (int id = 0; id < options.nodes; id++) {
        if (snprintf(paths[id], sizeof paths[id], "%s/limit-%d-%d.log", options.directory, (int)getpid(), id) >=
            (int)sizeof paths[id])
            usage("--directory is too long");
    }
    struct sigaction action = {.sa_handler = interrupted};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    alarm((unsigned)options.seconds + 300);
    for (int id = 0; id < options.nodes; id++) {
        disk_prepare(options.directory, paths[id], options.file_bytes);
        nodes[id] = (struct Node){.options = &options, .report = &reports[id], .path = paths[id], .id = id};
        if (id)
            nodes[id].listener = listen_on_loopback(&nodes[0].ports[id]);
    }
    double cpu = run_nodes(nodes, &options);
    int verified = 1;
    for (int id = 0; id < options.nodes; id++) {
        verified &= reports[id].flushed == reports[0].flushed;
        verified &= batches_on_disk(paths[id], &options, reports[id].written_bytes) == reports[0].flushed;
    }
    remove_files();
    if (!reports[0].measured_ns || !reports[0].measured_batches)
        usage("nothing was measured: the file was full or the time over before the warm-up ended");
    print_result(&options, &reports[0], cpu, verified);
    return verified ? 0 : 1;
}
