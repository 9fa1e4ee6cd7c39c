/* LiteRT for runner.c. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "runner.h"

/* LiteRT's C interface, as far as it is used here; the wheel ships the library without its headers. */
typedef void *Handle;
typedef struct { int element_type; uint32_t layout[17]; } TensorType;
enum { CPU = 1, FLOAT32 = 1, READ = 0, WRITE = 1 };
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

static void must(int status, const char *call) {
    char what[100];
    if (!status) return;
    snprintf(what, sizeof what, "%.*s gives status %d", (int)strcspn(call, "("), call, status);
    fail(what);
}

#define MUST(call) must(call, #call)

const int packing_runs = 1;
static Handle environment, compiled, input, output;
static Sizes sizes;

Sizes open_network(const void *content, size_t size) {
    Handle options, model, signature, tensor, requirements;
    size_t inputs, outputs;
    TensorType type;
    MUST(LiteRtCreateEnvironment(0, NULL, &environment));
    MUST(LiteRtCreateModelFromBuffer(environment, content, size, &model));
    MUST(LiteRtCreateOptions(&options));
    MUST(LiteRtSetOptionsHardwareAccelerators(options, CPU));
    MUST(LiteRtCreateCompiledModel(environment, model, options, &compiled));
    MUST(LiteRtGetModelSignature(model, 0, &signature));
    MUST(LiteRtGetNumSignatureInputs(signature, &inputs));
    MUST(LiteRtGetNumSignatureOutputs(signature, &outputs));
    if (inputs != 1 || outputs != 1) fail("it has not one input and one output");

    MUST(LiteRtGetSignatureOutputTensorByIndex(signature, 0, &tensor));
    MUST(LiteRtGetRankedTensorType(tensor, &type));
    MUST(LiteRtGetCompiledModelOutputBufferRequirements(compiled, 0, 0, &requirements));
    MUST(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, requirements, &output));
    MUST(LiteRtGetTensorBufferPackedSize(output, &sizes.output_bytes));

    MUST(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor));
    MUST(LiteRtGetRankedTensorType(tensor, &type));
    MUST(LiteRtGetCompiledModelInputBufferRequirements(compiled, 0, 0, &requirements));
    MUST(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, requirements, &input));
    MUST(LiteRtGetTensorBufferPackedSize(input, &sizes.input_bytes));
    sizes.input = type.element_type == FLOAT32 ? FLOATS : BYTES;
    return sizes;
}

void set_input(const void *from) {
    void *data;
    MUST(LiteRtLockTensorBuffer(input, &data, WRITE));
    memcpy(data, from, sizes.input_bytes);
    MUST(LiteRtUnlockTensorBuffer(input));
}

void run_network(void) { MUST(LiteRtRunCompiledModel(compiled, 0, 1, &input, 1, &output)); }

void get_output(void *to) {
    void *data;
    MUST(LiteRtLockTensorBuffer(output, &data, READ));
    memcpy(to, data, sizes.output_bytes);
    MUST(LiteRtUnlockTensorBuffer(output));
}
