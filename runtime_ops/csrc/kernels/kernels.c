/* Which kernels this build has, and which of them this machine can run. */
#include "kernels/kernels.h"

#if defined(EC_ARCH_ARMV7) && defined(__linux__)
#include <sys/auxv.h>
#define NEON_BIT (1UL << 12) /* HWCAP_NEON of Linux, arch/arm/include/uapi/asm/hwcap.h */
#endif

enum { ISA_scalar = EC_ISA_SCALAR, ISA_avx2 = EC_ISA_AVX2, ISA_neon = EC_ISA_NEON, ISA_neon_armv7 = EC_ISA_NEON_ARMV7 };

static const ec_kernels table[EC_ISA_COUNT] = {
#define EC_KERNEL(operation, isa) [ISA_##isa].operation = ec_##operation##_##isa,
#include "kernels/kernels.inc"
#undef EC_KERNEL
};

static int machine_has(ec_isa isa) {
    switch (isa) {
        case EC_ISA_SCALAR:
            return 1;
        case EC_ISA_AVX2:
#if defined(EC_ARCH_X86)
            return __builtin_cpu_supports("avx2") != 0;
#else
            return 0;
#endif
        case EC_ISA_NEON:
            return 1; /* part of every aarch64 */
        case EC_ISA_NEON_ARMV7:
#if defined(EC_ARCH_ARMV7) && defined(__linux__)
            return (getauxval(AT_HWCAP) & NEON_BIT) != 0;
#elif defined(__ARM_NEON)
            return 1;
#else
            return 0;
#endif
        case EC_ISA_COUNT:
        case EC_ISA_BEST:
            break;
    }
    return 0;
}

uint32_t ec_isa_available(void) {
    uint32_t bits = 0;
    for (int isa = 0; isa < EC_ISA_COUNT; isa++) {
        int exists = table[isa].dots_f32_f32 != NULL; /* every set has this one */
        if (exists && machine_has((ec_isa)isa)) bits |= UINT32_C(1) << isa;
    }
    return bits;
}

const char *ec_isa_name(ec_isa isa) {
    switch (isa) {
        case EC_ISA_SCALAR: return "scalar";
        case EC_ISA_AVX2: return "avx2";
        case EC_ISA_NEON: return "neon";
        case EC_ISA_NEON_ARMV7: return "neon_armv7";
        case EC_ISA_COUNT:
        case EC_ISA_BEST: break;
    }
    return "unknown";
}

ec_isa ec_isa_best(void) {
    uint32_t bits = ec_isa_available();
    int best = EC_ISA_COUNT - 1;
    while (best > 0 && (bits >> best & 1) == 0) best--;
    return (ec_isa)best;
}

#define FALL_BACK(operation) \
    if (kernels->operation == NULL) kernels->operation = table[lower].operation

int ec_kernels_for(ec_isa isa, ec_kernels *kernels) {
    uint32_t bits = ec_isa_available();
    if (isa == EC_ISA_BEST) isa = ec_isa_best();
    if ((int)isa < 0 || isa >= EC_ISA_COUNT || (bits >> isa & 1) == 0) return 0;
    memset(kernels, 0, sizeof *kernels);
    for (int lower = (int)isa; lower >= 0; lower--) {
        if ((bits >> lower & 1) == 0) continue;
        FALL_BACK(decode_f32_wd);
        FALL_BACK(decode_f32_cb);
        FALL_BACK(table_f32_cb);
        FALL_BACK(lookup_f32_cb);
        FALL_BACK(decode_f32_tr);
        FALL_BACK(hadamard_f32);
        FALL_BACK(dots_f32_f32);
    }
    return 1;
}
