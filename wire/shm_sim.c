/* SPDX-License-Identifier: BSD-2-Clause */
/* The hook of the shared-memory accessor: exists in the simulation's build only. */
#include "wire/shm.h"

#if WEFT_SIM
_Thread_local void (*shm_hook)(enum shm_kind kind, const void *address, size_t bytes);
#endif
