/* Finds the formats of a container, and the tables that they share. */
#include "container/container_formats.h"

#include <stdio.h>

#include "kernels/kernels.h"

#define TABLE_PREFIX "table."

ec_status ec_formats_take(ec_pairs *pairs, ec_format_starts *starts, ec_container *container) {
    uint32_t seen = 0, i;
    ec_gguf_value count;
    memset(starts, 0, sizeof *starts);
    ec_status status = ec_pairs_peek(pairs);
    while (status == EC_OK && (i = ec_format_index(pairs->pair.key)) != EC_NOT_A_FORMAT) {
        ec_format format;
        if (starts->at[i] != 0) return EC_BAD_METADATA;
        starts->at[i] = (uint32_t)pairs->start;
        seen++;
        status = ec_format_take(pairs, i, &format);
        if (status == EC_OK) status = ec_pairs_peek(pairs);
    }
    if (status == EC_OK) status = ec_pairs_take(pairs, "edgecomp.format.", "count", EC_GGUF_U32, &count);
    if (status != EC_OK) return status;
    container->n_formats = ec_load_u32(count.bytes.data);
    if (container->n_formats == 0 || container->n_formats != seen) return EC_BAD_METADATA;
    for (i = 0; i < seen; i++) {
        if (starts->at[i] == 0) return EC_BAD_METADATA;
    }
    return EC_OK;
}

/* Format i without its table. */
static ec_status find_format(const ec_container *c, const ec_format_starts *starts, uint32_t i, ec_format *format) {
    ec_pairs pairs = ec_pairs_from(c, starts != NULL ? starts->at[i] : EC_GGUF_HEADER_BYTES, c->n_kv);
    ec_status status = ec_pairs_peek(&pairs);
    while (status == EC_OK && ec_format_index(pairs.pair.key) != i) {
        if (pairs.pair.key.size == 0) return EC_BAD_METADATA;
        pairs.current = 0;
        status = ec_pairs_peek(&pairs);
    }
    return status == EC_OK ? ec_format_take(&pairs, i, format) : status;
}

/* Sets the format's table. The infos of tables come first, and their names are known, so that each
 * is found by its number; EC_BAD_FORMAT unless type and size are those that the format expects. */
static ec_status set_table(const ec_container *c, ec_format *format) {
    uint64_t before = format->table_number - UINT64_C(1);
    uint64_t at = c->infos_offset + before * (8 + strlen(TABLE_PREFIX) + 24);
    for (uint64_t power = 1; power <= before; power *= 10) at += before - power + 1; /* the digits */
    ec_cursor cursor = ec_pairs_from(c, at, 0).cursor;
    ec_gguf_info info;
    ec_status status = ec_gguf_next_info(&cursor, &info);
    if (status != EC_OK) return status;
    if (info.type != format->table.type || info.size != format->table.size) return EC_BAD_FORMAT;
    format->row->set_table(format, c->file.data + c->data_offset + info.offset);
    return EC_OK;
}

/* Formats are made of earlier ones that are plain. */
static ec_status check_formats_of(const ec_container *c, const ec_format_starts *starts, uint32_t i,
                                  const ec_columns *columns) {
    for (uint32_t k = 0; k < columns->n_formats; k++) {
        ec_format part;
        if (columns->formats[k] >= i) return EC_BAD_FORMAT;
        ec_status status = find_format(c, starts, columns->formats[k], &part);
        if (status != EC_OK) return status;
        if (part.row->list_parts == NULL) return EC_BAD_FORMAT;
    }
    return EC_OK;
}

ec_status ec_formats_check(const ec_format_starts *starts, ec_payloads *payloads) {
    const ec_container *c = payloads->container;
    uint32_t n_tables = 0;
    uint64_t table_bytes = 0;
    for (uint32_t i = 0; i < c->n_formats; i++) {
        ec_format format;
        ec_status status = find_format(c, starts, i, &format);
        if (status != EC_OK) return status;
        status = check_formats_of(c, starts, i, &format.columns);
        if (status != EC_OK) return status;
        if (format.table_number == 0) continue;
        table_bytes += format.table.bytes;
        if (table_bytes > EC_CONTAINER_MAX_TABLE_BYTES || format.table_number > n_tables + 1) return EC_BAD_FORMAT;
        if (format.table_number == n_tables + 1) {
            char name[EC_PAYLOAD_NAME_BYTES];
            snprintf(name, sizeof name, TABLE_PREFIX "%lu", (unsigned long)++n_tables);
            status = ec_payloads_take(payloads, name, &format.table);
        }
        if (status == EC_OK) status = set_table(c, &format);
        if (status == EC_OK && format.row->check_table != NULL) status = format.row->check_table(&format);
        if (status != EC_OK) return status;
    }
    return EC_OK;
}

static ec_status find_with_table(const ec_container *c, const ec_format_starts *starts, uint32_t i,
                                 ec_format *format) {
    ec_status status = find_format(c, starts, i, format);
    return status == EC_OK && format->table_number != 0 ? set_table(c, format) : status;
}

ec_status ec_layout_find(const ec_container *c, const ec_format_starts *starts, uint32_t i, ec_layout *layout) {
    memset(layout, 0, sizeof *layout);
    ec_status status = find_with_table(c, starts, i, &layout->rest);
    if (status != EC_OK || layout->rest.row->list_parts != NULL) return status;
    layout->columns = layout->rest.columns;
    const uint32_t *formats = layout->columns.formats;
    uint32_t last = layout->columns.n_formats - 1;
    status = find_with_table(c, starts, formats[last], &layout->rest);
    return status == EC_OK && last != 0 ? find_with_table(c, starts, formats[0], &layout->critical) : status;
}
