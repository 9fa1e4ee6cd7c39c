/* ONNX Runtime for runner.c. */
#include <stdint.h>
#include <stdio.h>

#include "runner.h"

/* Its C interface, as far as it is used here: a table of functions, which newer versions only make longer. The wheel
 * ships the library without its header. */
typedef void *Handle;
typedef Handle (*Function)();
typedef struct { const Function *(*functions)(uint32_t version); const char *(*version)(void); } Base;
enum {
    ERROR_MESSAGE = 2, CREATE_ENVIRONMENT = 3, CREATE_SESSION_FROM_ARRAY = 8, RUN = 9, CREATE_SESSION_OPTIONS = 10,
    SET_THREADS = 24, INPUT_COUNT = 30, OUTPUT_COUNT = 31, INPUT_TYPE = 33, INPUT_NAME = 36, OUTPUT_NAME = 37,
    CREATE_TENSOR = 48, TENSOR_DATA = 51, AS_TENSOR = 55, ELEMENT_TYPE = 60, DIMENSION_COUNT = 61, DIMENSIONS = 62,
    ELEMENT_COUNT = 64, TENSOR_TYPE = 65, DEFAULT_ALLOCATOR = 78
};
enum { FLOAT32 = 1, UINT8 = 2, INT8 = 3, FLOAT16 = 10, FATAL = 4, MOST_SIDES = 8 };
const Base *OrtGetApiBase(void);

const int packing_runs = 2; /* the first finds out how much memory is wanted, the second asks for it at once */
static const Function *table;
static Handle environment, session, input, output; /* made after the fork: its threads do not come along */
static const char *input_name, *output_name;
static Sizes sizes;

/* Every function that can fail gives a status, NULL where all went well. */
static void must(Handle status) {
    if (status) fail(((const char *(*)(Handle))table[ERROR_MESSAGE])(status));
}

static size_t width(int type) {
    if (type == FLOAT32) return 4;
    if (type == FLOAT16) return 2;
    if (type == UINT8 || type == INT8) return 1;
    fail("its input or output is neither of floats, halves nor bytes");
    return 0;
}

/* How many bytes a tensor has, and of what. */
static size_t bytes_of(Handle shape, int *type) {
    size_t count;
    must(table[ELEMENT_TYPE](shape, type));
    must(table[ELEMENT_COUNT](shape, &count));
    return count * width(*type);
}

Sizes open_network(const void *content, size_t size) {
    Handle options, allocator, type, shape;
    size_t inputs, outputs, count;
    int64_t sides[MOST_SIDES];
    int element;
    table = OrtGetApiBase()->functions(1);
    must(table[CREATE_ENVIRONMENT](FATAL, "runner", &environment));
    must(table[CREATE_SESSION_OPTIONS](&options));
    must(table[SET_THREADS](options, 1));
    must(table[CREATE_SESSION_FROM_ARRAY](environment, content, size, options, &session));
    must(table[INPUT_COUNT](session, &inputs));
    must(table[OUTPUT_COUNT](session, &outputs));
    if (inputs != 1 || outputs != 1) fail("it has not one input and one output");
    must(table[DEFAULT_ALLOCATOR](&allocator));
    must(table[INPUT_NAME](session, (size_t)0, allocator, &input_name));
    must(table[OUTPUT_NAME](session, (size_t)0, allocator, &output_name));

    must(table[INPUT_TYPE](session, (size_t)0, &type));
    must(table[AS_TENSOR](type, &shape));
    if (!shape) fail("its input is no tensor");
    must(table[ELEMENT_TYPE](shape, &element));
    must(table[DIMENSION_COUNT](shape, &count));
    if (count > MOST_SIDES) fail("its input has too many sides");
    must(table[DIMENSIONS](shape, sides, count));
    for (size_t i = 0; i < count; i++)
        if (sides[i] < 1) sides[i] = 1; /* any number of faces: one */
    must(table[CREATE_TENSOR](allocator, sides, count, element, &input));
    must(table[TENSOR_TYPE](input, &shape));
    sizes.input_bytes = bytes_of(shape, &element);
    sizes.input = element == FLOAT32 ? FLOATS : element == FLOAT16 ? HALVES : BYTES;

    run_network(); /* makes the output, which the next runs write to */
    must(table[TENSOR_TYPE](output, &shape));
    sizes.output_bytes = bytes_of(shape, &element);
    return sizes;
}

static void *data_of(Handle tensor) {
    void *data;
    must(table[TENSOR_DATA](tensor, &data));
    return data;
}

void set_input(const void *from) { __builtin_memcpy(data_of(input), from, sizes.input_bytes); }

void run_network(void) {
    must(table[RUN](session, NULL, &input_name, &input, (size_t)1, &output_name, (size_t)1, &output));
}

void get_output(void *to) { __builtin_memcpy(to, data_of(output), sizes.output_bytes); }
