/* What runner.c asks of a runtime: one network at a time, with one input and one output, on one thread. */
#include <stddef.h>

typedef enum { FLOATS, HALVES, BYTES } Numbers;
typedef struct {
    size_t input_bytes, output_bytes;
    Numbers input; /* what lies in the input */
} Sizes;

extern const int packing_runs; /* how many runs allocate and pack, before each does the same */

Sizes open_network(const void *content, size_t size);
void set_input(const void *data);
void run_network(void);
void get_output(void *data);

void fail(const char *what); /* names the file; ends the process with status 1 */
