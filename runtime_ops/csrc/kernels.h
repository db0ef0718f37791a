/* What the kernels of every instruction set share: their arguments and how they are chosen. */
#ifndef EC_KERNELS_H
#define EC_KERNELS_H

#include <string.h>

#include "edgecomp.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "edgecomp reads its little-endian containers in place: this needs a little-endian machine"
#endif

#if defined(__x86_64__)
#define EC_ARCH_X86 1
#elif defined(__aarch64__)
#define EC_ARCH_AARCH64 1
#elif defined(__arm__)
#define EC_ARCH_ARMV7 1
/* GCC compiles NEON in one file on request (winding_neon.c); clang only for a target that has it. */
#if defined(__ARM_NEON) || !defined(__clang__)
#define EC_HAVE_NEON_ARMV7 1
#endif
#endif

#define EC_LANES 8          /* partial sums of a dot product, part of its specification */
#define EC_TILE_INDICES 128 /* indices unpacked at a time: 512 bytes, and at most 2 KiB of weights */

/* A winding made ready for the kernels: derived sizes, parameters in registers' width. */
typedef struct ec_winding_plan {
    uint32_t dim;
    uint32_t generator[EC_MAX_DIM];
    uint32_t shift[EC_MAX_DIM];
    uint32_t levels;
    int32_t bias;            /* offset - levels: the linear map is 2 x + bias */
    const uint8_t *table;    /* int16 [levels], or NULL */
    uint32_t table_shift;    /* 32 - log2(levels), with a table */
    uint32_t centre;         /* 1: code 0 is the centre node */
    uint32_t classes;
    uint32_t codes;          /* codes per class */
    uint32_t radix;          /* different indices */
    uint32_t index_bits;     /* bits of an index, bit-packed */
    uint32_t digits;         /* indices in 64 bits, radix-packed; 0: bit-packed */
    float centre_point[EC_MAX_DIM];
    float class_scale[EC_MAX_CLASSES]; /* already times the group's factor */
} ec_winding_plan;

/* Writes the dim weights of each of n indices to out (float32 [n][dim]). */
typedef void ec_decode_f32_wd_fn(const ec_winding_plan *plan, const uint32_t *indices, size_t n, float *out);

/* Adds w[j] * x[j] to lane j mod EC_LANES, j ascending, without fused multiply-add. */
typedef void ec_dot_f32_f32_fn(const float *w, const float *x, size_t n, float *lanes);

typedef struct ec_kernels {
    ec_decode_f32_wd_fn *decode_f32_wd;
    ec_dot_f32_f32_fn *dot_f32_f32;
} ec_kernels;

/* The kernels for an instruction set, or for EC_ISA_BEST; 0 when this machine or build lacks it. */
int ec_kernels_for(ec_isa isa, ec_kernels *kernels);

#define EC_KERNEL(operation, isa) ec_##operation##_fn ec_##operation##_##isa;
#include "kernels.inc"
#undef EC_KERNEL

static inline uint16_t ec_load_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t ec_load_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t ec_load_u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline float ec_load_f32(const uint8_t *p) { float v; memcpy(&v, p, 4); return v; }

#endif
