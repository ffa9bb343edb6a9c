/* prepare_tokens.h - texts and JSON Lines into shards of tokens; behind 'brigade data prepare
 * --tokenizer'.
 *
 *   *.txt, *.txt.gz: one document a file ──┐
 *   *.jsonl, *.jsonl.gz: one a line, ──────┼─► tokens, end mark ─► PREFIX_train.bin, PREFIX_val.bin
 *     its key "text"                       │                       PREFIX.tokenizer.json
 *                                          └─ tokenizer            PREFIX.json, written last
 *
 * Behind each document goes the tokenizer's end mark, where it has one; marks that a text spells
 * out stay text. The held-out part is the end of the joined tokens. The shards are llm.c's, uint16;
 * the manifest is that of prepare.h with the tokenizer's name, vocabulary and digest. Not
 * thread-safe towards the same output names. */
#ifndef BRG_PREPARE_TOKENS_H
#define BRG_PREPARE_TOKENS_H

#include "model/prepare.h"
#include "model/tokenizer.h"

#define BRG_PREPARE_LINE_MAX (UINT32_C(64) << 20) /* bytes of a line of JSON */

/* brg_prepare_tokens - encodes, splits and writes.
 *
 * errors: as brg_prepare_shards; BRG_EINVAL also: the tokenizer has over 65536 tokens or cannot be
 *         written as tokenizer.json; BRG_ECORRUPT a line is no JSON object with a text "text".
 *         error->text says which file and line; no manifest is written then
 * cost:   memory for all tokens, 4 bytes each, and the largest text */
BRG_CHECK int brg_prepare_tokens(const struct brg_prepare_texts *texts,
                                 const struct brg_tokenizer *tokenizer,
                                 struct brg_prepare_report *report, struct brg_data_error *error);

#endif
