/* SPDX-License-Identifier: BSD-2-Clause */
/* Cutting a block request out of a chain. */
#include "wire/virtio_blk.h"

#include "wire/shm.h"

void virtio_blk_take(struct virtio_blk_request *request, void *to, uint32_t bytes)
{
	uint8_t *out = to;

	WEFT_ASSERT(bytes <= request->read_len);
	request->read_len -= bytes;
	while (bytes > 0) {
		struct weft_seg *seg = request->read;
		uint32_t part = seg->len < bytes ? seg->len : bytes;

		WEFT_ASSERT(request->nread > 0);
		shm_copy_in(out, seg->base, part);
		out += part;
		bytes -= part;
		seg->base = (uint8_t *)seg->base + part;
		seg->len -= part;
		if (seg->len == 0) {
			request->read++;
			request->nread--;
		}
	}
}

static void cut_status(struct virtio_blk_request *request)
{
	struct weft_seg *last;

	request->status = NULL;
	if (request->nwrite == 0)
		return;
	last = &request->write[request->nwrite - 1];
	WEFT_ASSERT(last->len > 0);
	last->len--;
	request->status = (uint8_t *)last->base + last->len;
	request->write_len--;
	if (last->len == 0)
		request->nwrite--;
}

bool virtio_blk_cut(struct weft_seg *segs, const struct virtq_chain *chain, struct virtio_blk_request *request)
{
	struct virtio_blk_req_header *header = &request->header;

	WEFT_ASSERT(chain->nread <= chain->nsegs);
	request->read = segs;
	request->nread = chain->nread;
	request->write = segs + chain->nread;
	request->nwrite = chain->nsegs - chain->nread;
	request->read_len = chain->read_len;
	request->write_len = chain->write_len;
	cut_status(request);
	if (WEFT_UNLIKELY(request->read_len < sizeof(*header)))
		return false;
	if (WEFT_LIKELY(request->read->len == sizeof(*header))) { /* as nearly every driver does it */
		shm_copy_in(header, request->read->base, sizeof(*header));
		request->read++;
		request->nread--;
		request->read_len -= sizeof(*header);
	} else {
		virtio_blk_take(request, header, sizeof(*header));
	}
	header->type = le32toh(header->type);
	header->sector = le64toh(header->sector);
	return true;
}

void virtio_blk_serial(const uint8_t id[VIRTIO_BLK_ID_BYTES], char text[VIRTIO_BLK_ID_TEXT])
{
	unsigned end = 0;

	for (unsigned i = 0; i < VIRTIO_BLK_ID_BYTES && id[i] != 0; i++) {
		text[i] = id[i] >= ' ' && id[i] <= '~' ? (char)id[i] : '?';
		if (id[i] != ' ')
			end = i + 1;
	}
	WEFT_ASSERT(end <= VIRTIO_BLK_ID_BYTES);
	text[end] = '\0';
}
