/* Runs .tflite files in LiteRT's own library for ARM64, on one thread.
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

/* LiteRT's C interface, as far as it is used here; the wheel ships the library without its headers. */
typedef void *Handle;
typedef struct { int element_type; uint32_t layout[17]; } TensorType;
enum { CPU = 1, FLOAT32 = 1, READ = 0, WRITE = 1, MARK = 4242 };
int LiteRtCreateEnvironment(int, const void *, Handle *);
int LiteRtCreateOptions(Handle *);
int LiteRtSetOptionsHardwareAccelerators(Handle, int);
int LiteRtCreateModelFromBuffer(Handle environment, const void *, size_t, Handle *);
int LiteRtCreateCompiledModel(Handle environment, Handle model, Handle options, Handle *);
int LiteRtGetModelSignature(Handle model, size_t, Handle *);
int LiteRtGetNumSignatureInputs(Handle signature, size_t *);
int LiteRtGetNumSignatureOutputs(Handle signature, size_t *);
int LiteRtGetSignatureInputTensorByIndex(Handle signature, size_t, Handle *);
int LiteRtGetSignatureOutputTensorByIndex(Handle signature, size_t, Handle *);
int LiteRtGetRankedTensorType(Handle tensor, TensorType *);
int LiteRtGetCompiledModelInputBufferRequirements(Handle compiled, size_t, size_t, Handle *);
int LiteRtGetCompiledModelOutputBufferRequirements(Handle compiled, size_t, size_t, Handle *);
int LiteRtCreateManagedTensorBufferFromRequirements(Handle environment, const TensorType *, Handle, Handle *);
int LiteRtGetTensorBufferPackedSize(Handle buffer, size_t *);
int LiteRtLockTensorBuffer(Handle buffer, void **, int);
int LiteRtUnlockTensorBuffer(Handle buffer);
int LiteRtRunCompiledModel(Handle compiled, size_t, size_t, Handle *, size_t, Handle *);

static const char *file; /* that is being run */

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", file, what);
    exit(1);
}

static void must(int status, const char *call) {
    char what[100];
    if (!status) return;
    snprintf(what, sizeof what, "%.*s gives status %d", (int)strcspn(call, "("), call, status);
    fail(what);
}

#define MUST(call) must(call, #call)

typedef struct {
    Handle compiled, input, output;
    size_t input_bytes, output_bytes;
    int input_type;
} Network;

static Handle environment;

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

static Network opened(void) {
    Network net;
    Handle options, model, signature, tensor, requirements;
    size_t inputs, outputs, size;
    void *content = mapped(&size);
    TensorType type;
    MUST(LiteRtCreateModelFromBuffer(environment, content, size, &model));
    MUST(LiteRtCreateOptions(&options));
    MUST(LiteRtSetOptionsHardwareAccelerators(options, CPU));
    MUST(LiteRtCreateCompiledModel(environment, model, options, &net.compiled));
    MUST(LiteRtGetModelSignature(model, 0, &signature));
    MUST(LiteRtGetNumSignatureInputs(signature, &inputs));
    MUST(LiteRtGetNumSignatureOutputs(signature, &outputs));
    if (inputs != 1 || outputs != 1) fail("it has not one input and one output");

    MUST(LiteRtGetSignatureOutputTensorByIndex(signature, 0, &tensor));
    MUST(LiteRtGetRankedTensorType(tensor, &type));
    MUST(LiteRtGetCompiledModelOutputBufferRequirements(net.compiled, 0, 0, &requirements));
    MUST(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, requirements, &net.output));
    MUST(LiteRtGetTensorBufferPackedSize(net.output, &net.output_bytes));

    MUST(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor));
    MUST(LiteRtGetRankedTensorType(tensor, &type));
    MUST(LiteRtGetCompiledModelInputBufferRequirements(net.compiled, 0, 0, &requirements));
    MUST(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, requirements, &net.input));
    MUST(LiteRtGetTensorBufferPackedSize(net.input, &net.input_bytes));
    net.input_type = type.element_type;
    return net;
}

static void run(Network *net) {
    MUST(LiteRtRunCompiledModel(net->compiled, 0, 1, &net->input, 1, &net->output));
}

/* Noise rather than zeros: some kernels of LiteRT branch on the sign of what they see. */
static void fill(Network *net) {
    void *data;
    uint32_t state = 1;
    MUST(LiteRtLockTensorBuffer(net->input, &data, WRITE));
    size_t size = net->input_type == FLOAT32 ? sizeof(float) : 1;
    for (size_t i = 0; i < net->input_bytes / size; i++) {
        state = state * 1664525u + 1013904223u;
        if (size == 1) ((uint8_t *)data)[i] = state >> 24;
        else ((float *)data)[i] = (int32_t)state / 2147483648.0f;
    }
    MUST(LiteRtUnlockTensorBuffer(net->input));
}

static void count(void) {
    Network net = opened();
    fill(&net);
    run(&net); /* the first run packs and allocates */
    syscall(MARK);
    syscall(MARK);
    run(&net);
    syscall(MARK);
}

static void embed(const char *in, const char *out) {
    Network net = opened();
    FILE *from = fopen(in, "rb"), *to = fopen(out, "wb");
    char *input = malloc(net.input_bytes);
    void *data;
    if (!from || !to || !input) fail("cannot open its inputs or outputs");
    while (fread(input, net.input_bytes, 1, from) == 1) {
        MUST(LiteRtLockTensorBuffer(net.input, &data, WRITE));
        memcpy(data, input, net.input_bytes);
        MUST(LiteRtUnlockTensorBuffer(net.input));
        run(&net);
        MUST(LiteRtLockTensorBuffer(net.output, &data, READ));
        if (fwrite(data, net.output_bytes, 1, to) != 1) fail("cannot write its outputs");
        MUST(LiteRtUnlockTensorBuffer(net.output));
    }
    if (fclose(to)) fail("cannot write its outputs");
}

enum { WARM_UP = 3, MOST_RUNS = 100000 };
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

static double timed_run(Network *net) {
    double start = now();
    run(net);
    return now() - start;
}

static void time_runs(int runs, double least, double most) {
    struct rusage usage;
    double start = now();
    Network net = opened();
    double loaded = now() - start;
    fill(&net);
    double first = took[0] = timed_run(&net);
    for (int i = 1; i < WARM_UP; i++) took[i] = timed_run(&net);
    double warm_up = print_times(WARM_UP);
    start = now();
    int count = 0;
    while (count < MOST_RUNS && (count < runs || now() - start < least * 1e6) && now() - start < most * 1e6)
        took[count++] = timed_run(&net);
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
    setrlimit(RLIMIT_CORE, &none); /* a file that crashes LiteRT leaves no dump behind */
    file = arguments > 2 ? argument[2] : argument[0];
    MUST(LiteRtCreateEnvironment(0, NULL, &environment));
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
