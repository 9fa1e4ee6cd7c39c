/* A plugin of qemu-aarch64 (plugin interface 1, QEMU 4.2 to 8.2) that counts executed ARM64 instructions by class.
 *
 * Whenever the emulated program makes the system call MARK, one line of running totals goes to standard output:
 * "counts" and name=number for each row of CLASSES; a name may come twice. What ran between two marks is their
 * difference.
 * The totals are plain additions in the emulated code itself: exact for a program with one thread.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Debian ships qemu without its plugin header; these are the functions of it that are used here. */
typedef uint64_t plugin_id;
struct qemu_plugin_tb;   /* a translated block: instructions that always run together */
struct qemu_plugin_insn;
enum { INLINE_ADD_U64 = 0 };
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t));
int qemu_plugin_version = 1;

/* An instruction is of the first class that it fits: (word & mask) == value.
 * Source: Arm Architecture Reference Manual for A-profile, DDI 0487, sec. C4.1 (the encoding index). */
static const struct { const char *name; uint32_t mask, value; } CLASSES[] = {
    {"fmla32", 0xBFE0FC00, 0x0E20CC00}, {"fmla32", 0xBFC0F400, 0x0F801000},   /* vector; by element */
    {"fmla16", 0xBFE0FC00, 0x0E400C00}, {"fmla16", 0xBFC0F400, 0x0F001000},
    {"sdot",   0x9FE0FC00, 0x0E809400}, {"sdot",   0x9FC0F400, 0x0F80E000},   /* and udot */
    {"smmla",  0xDFE0FC00, 0x4E80A400},                                       /* and ummla */
    {"smlal",  0x9F20FC00, 0x0E208000}, {"smlal",  0x9F00F400, 0x0F002000},   /* and umlal */
    {"smull",  0x9F20FC00, 0x0E20C000}, {"smull",  0x9F00F400, 0x0F00A000},   /* and umull */
    {"vector_memory", 0x0E000000, 0x0C000000}, {"memory", 0x0A000000, 0x08000000},
    {"vector_other",  0x0E000000, 0x0E000000},                                /* and scalar floating point */
    {"branch",        0x1C000000, 0x14000000},
    {"arithmetic",    0x1C000000, 0x10000000}, {"arithmetic", 0x0E000000, 0x0A000000}, /* immediate; register */
    {"other", 0, 0},
};
enum { ROWS = sizeof CLASSES / sizeof *CLASSES, MARK = 4242 };

static uint64_t counts[ROWS];

static int row_of(uint32_t word) {
    int row = 0;
    while ((word & CLASSES[row].mask) != CLASSES[row].value) row++;
    return row;
}

static void translated(plugin_id id, struct qemu_plugin_tb *block) {
    (void)id;
    uint64_t here[ROWS] = {0};
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        here[row_of(word)]++;
    }
    for (int row = 0; row < ROWS; row++)
        if (here[row]) qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &counts[row], here[row]);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                   uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != MARK) return;
    printf("counts");
    for (int row = 0; row < ROWS; row++) printf(" %s=%llu", CLASSES[row].name, (unsigned long long)counts[row]);
    putchar('\n');
    fflush(stdout);
}

int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments) {
    (void)info, (void)count, (void)arguments;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
