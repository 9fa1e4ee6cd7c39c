/* Runs a network's file in a runtime's own library for ARM64, on one thread; linked with litert.c or onnxruntime.c.
 *
 *   runner count FILE...         per file three marks for counter.c: nothing lies between the first two,
 *                                      one inference between the last two
 *   runner embed FILE IN OUT     one inference for every input in IN (raw tensors, one after another)
 *   runner time FILE RUNS LEAST MOST   so many inferences at least, for LEAST seconds and no longer than MOST;
 *                                      prints the lines of LiteRT's benchmark_model
 *
 * Fails with status 1 and one line on standard error.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runner.h"

enum { MARK = 4242, WARM_UP = 3, MOST_RUNS = 100000 };
static const char *file; /* that is being run */

void fail(const char *what) {
    fprintf(stderr, "%s: %.*s\n", file, (int)strcspn(what, "\n"), what);
    exit(1);
}

/* Mapped, not opened by name: a longer name would leave another heap, and another count. */
static void *mapped(size_t *size) {
    struct stat status;
    int descriptor = open(file, O_RDONLY);
    if (descriptor < 0 || fstat(descriptor, &status)) fail("cannot be opened");
    *size = status.st_size;
    void *content = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (content == MAP_FAILED) fail("cannot be read");
    return content;
}

static Sizes opened(void) {
    size_t size;
    const void *content = mapped(&size);
    return open_network(content, size);
}

/* Noise rather than zeros: some kernels branch on the sign of what they see. */
static void fill(Sizes sizes) {
    char *data = malloc(sizes.input_bytes);
    uint32_t state = 1;
    size_t width = sizes.input == FLOATS ? sizeof(float) : sizes.input == HALVES ? 2 : 1;
    if (!data) fail("there is no memory for its input");
    for (size_t i = 0; i < sizes.input_bytes / width; i++) {
        state = state * 1664525u + 1013904223u;
        if (sizes.input == BYTES) ((uint8_t *)data)[i] = state >> 24;
        else if (sizes.input == HALVES) ((uint16_t *)data)[i] = (state >> 16 & 0x83ff) | 0x3800; /* +- 0.5 to 1 */
        else ((float *)data)[i] = (int32_t)state / 2147483648.0f;
    }
    set_input(data);
    free(data);
}

static void count(void) {
    fill(opened());
    for (int i = 0; i < packing_runs; i++) run_network();
    syscall(MARK);
    syscall(MARK);
    run_network();
    syscall(MARK);
}

static void embed(const char *in, const char *out) {
    Sizes sizes = opened();
    FILE *from = fopen(in, "rb"), *to = fopen(out, "wb");
    char *input = malloc(sizes.input_bytes), *output = malloc(sizes.output_bytes);
    if (!from || !to || !input || !output) fail("cannot open its inputs or outputs");
    while (fread(input, sizes.input_bytes, 1, from) == 1) {
        set_input(input);
        run_network();
        get_output(output);
        if (fwrite(output, sizes.output_bytes, 1, to) != 1) fail("cannot write its outputs");
    }
    if (fclose(to)) fail("cannot write its outputs");
}

static double took[MOST_RUNS]; /* microseconds */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static int ascending(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

/* Prints the times in `took` as benchmark_model does, and gives their mean. */
static double print_times(int count) {
    double sum = 0, first = took[0], last = took[count - 1];
    for (int i = 0; i < count; i++) sum += took[i];
    qsort(took, count, sizeof *took, ascending);
    printf("INFO: count=%d first=%.1f curr=%.1f min=%.1f max=%.1f avg=%.1f p5=%.1f median=%.1f p95=%.1f\n", count, first,
           last, took[0], took[count - 1], sum / count, took[(int)(0.05 * (count - 1))], took[(count - 1) / 2],
           took[(int)(0.95 * (count - 1))]);
    return sum / count;
}

static double timed_run(void) {
    double start = now();
    run_network();
    return now() - start;
}

static void time_runs(int runs, double least, double most) {
    struct rusage usage;
    double start = now();
    Sizes sizes = opened();
    double loaded = now() - start;
    fill(sizes);
    double first = took[0] = timed_run();
    for (int i = 1; i < WARM_UP; i++) took[i] = timed_run();
    double warm_up = print_times(WARM_UP);
    start = now();
    int count = 0;
    while (count < MOST_RUNS && (count < runs || now() - start < least * 1e6) && now() - start < most * 1e6)
        took[count++] = timed_run();
    if (!count) fail("there was no time for a single run");
    double mean = print_times(count);
    printf("INFO: Inference timings in us: Init: %.0f, First inference: %.1f, Warmup (avg): %.1f, Inference (avg): %.1f\n",
           loaded, first, warm_up, mean);
    getrusage(RUSAGE_SELF, &usage);
    printf("INFO: Peak memory footprint (MB): overall=%.2f\n", usage.ru_maxrss / 1024.0);
}

/* In a copy of this process, so that a count does not depend on the files before it: they leave another heap. */
static void in_child(void (*work)(void)) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        work();
        exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0) fail("cannot be run in a process of its own");
    if (WIFSIGNALED(status)) fail(strsignal(WTERMSIG(status)));
    if (status) exit(1); /* the child has told why */
}

int main(int arguments, char **argument) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none); /* a file that crashes the runtime leaves no dump behind */
    file = arguments > 2 ? argument[2] : argument[0];
    if (arguments == 5 && !strcmp(argument[1], "embed")) {
        embed(argument[3], argument[4]);
    } else if (arguments == 6 && !strcmp(argument[1], "time")) {
        time_runs(atoi(argument[3]), atof(argument[4]), atof(argument[5]));
    } else if (arguments > 2 && !strcmp(argument[1], "count")) {
        for (int i = 2; i < arguments; i++) {
            file = argument[i];
            in_child(count);
        }
    } else {
        fail("count FILE... | embed FILE IN OUT | time FILE RUNS LEAST MOST");
    }
    return 0;
}
