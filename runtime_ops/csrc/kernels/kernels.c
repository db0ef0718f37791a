/* Which kernels this build has, and which of them this machine can run. */
#include "kernels/kernels.h"

#if (defined(EC_ARCH_ARMV7) || defined(EC_ARCH_AARCH64)) && defined(__linux__)
#include <sys/auxv.h>
/* Of Linux, arch/arm/include/uapi/asm/hwcap.h and arch/arm64/include/uapi/asm/hwcap.h */
#define ARMV7_NEON_BIT (1UL << 12)
#define ARM64_DOTPROD_BIT (1UL << 20)
#define ARM64_I8MM_BIT (1UL << 13) /* of the second word */
#endif
#if defined(EC_ARCH_X86)
#include <cpuid.h>
#endif

enum {
    ISA_scalar = EC_ISA_SCALAR,
    ISA_avx2 = EC_ISA_AVX2,
    ISA_avx512 = EC_ISA_AVX512,
    ISA_neon = EC_ISA_NEON,
    ISA_neon_dotprod = EC_ISA_NEON_DOTPROD,
    ISA_neon_i8mm = EC_ISA_NEON_I8MM,
    ISA_neon_armv7 = EC_ISA_NEON_ARMV7
};

static const ec_kernels table[EC_ISA_COUNT] = {
#define EC_KERNEL(operation, isa) [ISA_##isa].operation = ec_##operation##_##isa,
#include "kernels/kernels.inc"
#undef EC_KERNEL
};

#if defined(EC_ARCH_X86)
#define BIT(n) (1u << (n))

/* What the system keeps of the registers when it switches threads. */
static uint32_t kept_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* By cpuid (Intel's manual, volume 2A); compilers' own tests need a library that not all have. */
static int x86_has(ec_isa isa) {
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & BIT(27)) == 0) return 0; /* OSXSAVE */
    uint32_t kept = kept_registers();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (kept & 6) != 6 || (b & BIT(5)) == 0) return 0;
    if (isa == EC_ISA_AVX2) return 1;
    uint32_t f_bw_vl = BIT(16) | BIT(30) | BIT(31), vbmi_vnni = BIT(1) | BIT(11);
    return (kept & 0xE6) == 0xE6 && (b & f_bw_vl) == f_bw_vl && (c & vbmi_vnni) == vbmi_vnni;
}
#endif

static int machine_has(ec_isa isa) {
    switch (isa) {
        case EC_ISA_SCALAR:
            return 1;
        case EC_ISA_AVX2:
        case EC_ISA_AVX512:
#if defined(EC_ARCH_X86)
            return x86_has(isa);
#else
            return 0;
#endif
        case EC_ISA_NEON:
            return 1; /* part of every aarch64 */
        case EC_ISA_NEON_DOTPROD:
#if defined(EC_ARCH_AARCH64) && defined(__linux__)
            return (getauxval(AT_HWCAP) & ARM64_DOTPROD_BIT) != 0;
#else
            return 0;
#endif
        case EC_ISA_NEON_I8MM:
#if defined(EC_ARCH_AARCH64) && defined(__linux__)
            return (getauxval(AT_HWCAP) & ARM64_DOTPROD_BIT) != 0 && (getauxval(AT_HWCAP2) & ARM64_I8MM_BIT) != 0;
#else
            return 0;
#endif
        case EC_ISA_NEON_ARMV7:
#if defined(EC_ARCH_ARMV7) && defined(__linux__)
            return (getauxval(AT_HWCAP) & ARMV7_NEON_BIT) != 0;
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

static uint32_t find_available(void) {
    static const ec_kernels none;
    uint32_t bits = 0;
    for (int isa = 0; isa < EC_ISA_COUNT; isa++) {
        int exists = memcmp(table + isa, &none, sizeof none) != 0;
        if (exists && machine_has((ec_isa)isa)) bits |= UINT32_C(1) << isa;
    }
    return bits;
}

/* Found once: cpuid takes tens of microseconds on virtual machines. Threads that are here at the same time find
 * the same. */
uint32_t ec_isa_available(void) {
    static uint32_t available;
    uint32_t bits = __atomic_load_n(&available, __ATOMIC_RELAXED);
    if (bits != 0) return bits;
    bits = find_available();
    __atomic_store_n(&available, bits, __ATOMIC_RELAXED);
    return bits;
}

const char *ec_isa_name(ec_isa isa) {
    switch (isa) {
        case EC_ISA_SCALAR: return "scalar";
        case EC_ISA_AVX2: return "avx2";
        case EC_ISA_AVX512: return "avx512";
        case EC_ISA_NEON: return "neon";
        case EC_ISA_NEON_DOTPROD: return "neon_dotprod";
        case EC_ISA_NEON_I8MM: return "neon_i8mm";
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
        FALL_BACK(table_i32_cb);
        FALL_BACK(lookup_i32_cb);
        FALL_BACK(quantise_i8);
        FALL_BACK(decode_i8_tr);
        FALL_BACK(gemv_i8_tr);
        FALL_BACK(dots_i8);
        FALL_BACK(dots_i16);
    }
    return 1;
}
