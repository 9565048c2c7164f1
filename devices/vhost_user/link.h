/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The connection to the server, on the control reactor. One message at a time: what needs an answer is waited for
 * before the next goes out.
 *
 *                     connected                    agreed
 *      AWAY ---------------------> AGREEING ---------------------> READY
 *        ^   reconnect=, again          |  answers, agree.c          |  the first time: identity.c; rings and regions, rings.c
 *        +------------------------------+----------------------------+  it has closed its end
 *        |                                                           |
 *        +------------------------- LEAVING <------------------------+  broken, too late, a request is to be aborted
 *           it has closed its end            our end is closed
 *
 * A server that was given rings may touch memory as long as it lives, whatever we think of it: silence proves nothing, and a
 * mapping cannot be taken away. What proves that it has done with our memory is that its end of the connection is closed: by itself
 * after its last request, or by the kernel after its death.
 *
 * Invariants:
 *  L1  A server that was given a ring on this connection has gone (AWAY) only when its end is closed. Until then no other is asked.
 *  L2  What is in a ring ends by the answer of the server that has it, or after that server has gone: ended anew by the next one,
 *      failed (timeout=), or aborted. An aborted request is taken out of the ring before the next server is asked.
 *  L3  What waits outside of the rings can end at any time.
 *  L4  When the device stops, nothing is in flight, and our own memory is not used for anything else afterwards: nobody has to go.
 *  L5  A server is back when it has taken our memory and every ring that is wanted; one of them at least, when rings were refused.
 *      Until then the time that we are without one runs on (timeout=), and a connection that ends by its doing is a refusal
 *      (refusals=), but for one that has answered nothing: that may be nobody, or somebody who serves another one first.
 */
#ifndef DEVICES_VHOST_USER_LINK_H
#define DEVICES_VHOST_USER_LINK_H

#include "devices/vhost_user/vhost_user.h"

#include "wire/vhost_user.h"

enum {
	VU_CONFIG_SIZE = 60,              /* of virtio_blk_config, as far as every server knows it */
	VU_SHARED_MAX = 32,               /* regions with ADD_MEM_REG, our own included */
};
#define VU_ANSWER_NS 10000000000ull       /* a server that takes longer for one answer is given up */

enum vu_link_state { VU_AWAY, VU_AGREEING, VU_READY, VU_LEAVING };

/* vu_queue.state */
enum vu_ring_state {
	VU_RING_OFF,        /* the server does not run it */
	VU_RING_PREPARING,  /* its reactor has been told to prepare */
	VU_RING_PREPARED,   /* to be set up: step says how far */
	VU_RING_STARTING,   /* its reactor has been told that it is up */
	VU_RING_ON,
	VU_RING_STOPPING,   /* GET_VRING_BASE was sent */
	VU_RING_FAILING,    /* its reactor has been told to fail what can be failed */
};

/* How far the first look at the server's ring and serial number is: identity.c. */
enum vu_identity { VU_IDENTITY_UNKNOWN, VU_IDENTITY_ASKED, VU_IDENTITY_KNOWN };

enum vu_region_state { VU_REGION_FREE, VU_REGION_NEW, VU_REGION_SHARED, VU_REGION_REFUSED, VU_REGION_GONE };

/* Memory that the server has, or is to have. region[0] of a link: our own. */
struct vu_region {
	uint64_t base, size, fd_offset;
	int fd, number;
	uint32_t generation;
	uint8_t state;                    /* enum vu_region_state */
	bool sent;                        /* the server is being told of it: it stays as it is until that is answered */
};

/* A message that is being read. */
struct vu_stream_in {
	struct vhost_user_msg msg;
	size_t have;                      /* bytes of header and payload so far */
	int fds[VHOST_USER_MAX_FDS];
	unsigned nfds;
};

struct vu_link {
	struct vu_device *device;
	struct env_stream *stream;
	struct env_stream *requests;      /* of the server to us: BACKEND_REQ */
	struct vu_stream_in in, requests_in;
	enum vu_link_state state;
	uint8_t step, identity;           /* identity: enum vu_identity */
	uint32_t awaited;                 /* request whose answer is awaited; 0: none */
	uint32_t heard;                   /* on this connection: request that the server has answered last; 0: none */
	bool taken;                       /* on this connection: it serves us (L5) */
	bool rings_given;                 /* on this connection: the server may touch memory (L1) */
	bool closed;                      /* the server has closed its end */
	bool agreed_once;                 /* features and sizes are fixed from now on */
	bool stopping, closed_said;
	bool given_up;                    /* there has been no server for too long: requests fail */
	bool reread;                      /* the configuration has changed: ask for it */
	struct weft_task *task;           /* start or stop, under way */
	struct weft_timer timer;          /* the next attempt, or the latest moment for an answer */
	uint64_t away_since_ns;           /* 0: there is a server */
	unsigned refused;                 /* how often, since a server has taken us last */
	char refusal[160];                /* why, the last time */
	bool rings_refused;               /* that time it was when it had been given rings */
	unsigned orders;                  /* given to reactors and not yet answered */
	struct vu_queue *turn;            /* its ring is being set up or stopped */
	struct vu_region region[VU_SHARED_MAX];
	struct vu_region *region_turn;
	unsigned regions_max;             /* what the server takes */
	int inflight_fd;                  /* -1: none */
	uint64_t inflight_size, inflight_offset;
};

/* After vu_send: the message is out, and no answer to it will come. */
static inline bool vu_sent(const struct vu_link *link)
{
	return (link->state == VU_AGREEING || link->state == VU_READY) && link->awaited == 0;
}

/* link.c */
/* Sends a message; with `answer` the next one waits for the reply, else for the acknowledgement if the server gives any.
 * Descriptors stay the caller's. The link may be lost afterwards. */
void vu_send(struct vu_link *link, uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned nfds,
	bool answer);
/* The connection is of no use: start fails, or a new attempt is due, once the server has gone. */
void vu_link_lost(struct vu_link *link, int error, const char *format, ...) WEFT_PRINTF(3, 4);
/* The same, and it was the server's will: with what it is, or as it has been told, it does not serve us. */
void vu_link_refused(struct vu_link *link, int error, const char *format, ...) WEFT_PRINTF(3, 4);
/* The server has shown for the first time that it serves us: the device has started. */
void vu_link_agreed(struct vu_link *link);
/* For people: is there a server that serves us, and if not, why. */
void vu_link_tell(const struct vu_link *link, char *text, size_t size);
/* Goes on with whatever is to be done next. */
void vu_link_go_on(struct vu_link *link);
/* An answer is to come within VU_ANSWER_NS from now; the timer is disarmed when a reply comes. */
void vu_answer_expect(struct vu_link *link);
/* The connection on which the server asks us; owned by the link from now on. */
void vu_requests_adopt(struct vu_link *link, struct env_stream *stream);

/* identity.c */
/* On an agreed connection whose memory is shared, until the device has started; false: the server is waited for. */
bool vu_identity_step(struct vu_link *link);
/* The connection is given up: nothing is waited for any more. */
void vu_identity_drop(struct vu_link *link);

/* agree.c */
/* Sends the next message of the handshake, or skips a step; false: that was all. */
bool vu_agree_step(struct vu_link *link);
/* The awaited reply (or acknowledgement) to a message of the handshake. */
void vu_agree_answer(struct vu_link *link, const struct vhost_user_msg *msg);
void vu_config_take(struct vu_link *link, const struct vhost_user_msg *msg);
void vu_config_ask(struct vu_link *link);

/* rings.c */
bool vu_rings_step(struct vu_link *link);                     /* false: nothing to do */
bool vu_rings_stop_step(struct vu_link *link);                /* false: no ring that could be stopped now */
/* Sends the next of the messages that start a prepared ring; false: that was all. */
bool vu_ring_step(struct vu_link *link, struct vu_queue *queue);
/* Asks the server to stop a ring; vu_rings_answer finds it off. */
void vu_ring_stop(struct vu_link *link, struct vu_queue *queue);
void vu_rings_answer(struct vu_link *link, const struct vhost_user_msg *msg);
/* The server runs all that are wanted, and these are at least so many. */
bool vu_rings_taken(const struct vu_link *link, unsigned least);
void vu_inflight_drop(struct vu_link *link);
void vu_rings_lost(struct vu_link *link);                     /* the server runs no ring any more */
void vu_ring_noted(struct vu_link *link, struct vu_queue *queue); /* its reactor has something to say */
void vu_regions_open(struct vu_link *link);                   /* our own memory is there */
void vu_memory_set(struct vu_link *link);                     /* sends SET_MEM_TABLE with all regions that are to be shared */

#endif
