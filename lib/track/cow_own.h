/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of struct umem_cow (see cow.c): what the owner's thread and the serving
 * thread share, and which of them may touch what when.
 */
#ifndef UMEM_TRACK_COW_OWN_H
#define UMEM_TRACK_COW_OWN_H

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "lib/kern/pagemap.h"
#include "lib/kern/smaps.h"
#include "lib/kern/uffd.h"
#include "lib/track/cow.h"
#include "lib/track/cow_notes.h"
#include "lib/track/cow_part.h"
#include "lib/track/cow_ring.h"

struct umem_cow_peek_thread;

/**
 * struct umem_cow_peeks - files that show what its threads do; cow_peek.c's.
 * @dir: of all threads.
 * @v, @n: those that were looked at, in the order of the directory.
 */
struct umem_cow_peeks {
	DIR *dir;
	struct umem_cow_peek_thread *v;
	size_t n;
};

/**
 * struct umem_cow_process - a member.
 * @target, @uffd, @index: of it; @uffd is ours.
 * @mem_fd: its /proc/PID/mem, or -1.
 * @which: what the image is to hold; empty for all.
 * @registered: registered, whole mappings.
 * @watched: registered, and of the image: private memory.
 * @guarded: the part of @watched that is protected, with marks where nothing is: a
 *	first touch is told.
 * @unsteady: discarded since; a discard that was told may still be to come, so it is
 *	not guarded again before everything is stopped.
 * @shared: the same of shared memory, which is looked after by object.
 * @stopped: what the caller copies in the stop; @stop says why.
 * @image: what addresses showed at the moment.
 * @now: what they show; the serving thread's from the moment on.
 * @peeks: the serving thread's.
 * @merging: its pages may be merged; new mappings are not trusted.
 * @huge: some of it is or was mapped by huge pages.
 * @gone: its memory exists no longer.
 */
struct umem_cow_process {
	struct umem_target *target;
	int uffd;
	int mem_fd;
	uint32_t index;
	struct umem_ranges which;
	struct umem_ranges registered;
	struct umem_ranges watched;
	struct umem_ranges guarded;
	struct umem_ranges unsteady;
	struct umem_ranges shared;
	struct umem_ranges stopped;
	struct umem_reasons stop;
	struct umem_cow_map image;
	struct umem_cow_map now;
	struct umem_cow_peeks peeks;
	bool merging;
	_Atomic bool huge;
	_Atomic bool gone;
};

/**
 * enum umem_cow_order - what the serving thread is to do.
 * @UMEM_COW_NOTE: let writers go and note where.
 * @UMEM_COW_HOLD: be idle, with nothing pending.
 * @UMEM_COW_COPY: copy before the write.
 * @UMEM_COW_RELEASE: let everybody go.
 * @UMEM_COW_END: end.
 */
enum umem_cow_order {
	UMEM_COW_NOTE,
	UMEM_COW_HOLD,
	UMEM_COW_COPY,
	UMEM_COW_RELEASE,
	UMEM_COW_END,
};

/** UMEM_COW_CHUNK_PAGES - what is copied at once at most: a huge page. */
#define UMEM_COW_CHUNK_PAGES 512

/** UMEM_COW_SWEEP_PAGES - what the sweep copies at once of small pages. */
#define UMEM_COW_SWEEP_PAGES 64

/**
 * struct umem_cow_sweep - the owner's copying in the background.
 * @hot, @i_hot: what was written shortly before the moment comes first,
 * @i_part, @at: then everything: the part, and the page in it.
 * @asked: whether that was mapped anew.
 * @bytes: of a chunk.
 * @chunk, @n_chunk: runs of it that are ours, and where their bytes are in @bytes.
 * @i_chunk: the next to give.
 * @given: what is being given; @i_seen, @given_pages: at which of its addresses.
 * @stalled_ns: since when nothing came, or 0.
 * @n_done: pages.
 */
struct umem_cow_sweep {
	struct umem_cow_runs hot;
	size_t i_hot;
	size_t i_part;
	uint64_t at;
	bool asked;
	uint8_t *bytes;
	struct umem_cow_staged chunk[UMEM_COW_CHUNK_PAGES];
	size_t n_chunk;
	size_t i_chunk;
	struct umem_cow_staged given;
	size_t i_seen;
	uint64_t given_pages;
	uint64_t stalled_ns;
	uint64_t n_done;
};

/** UMEM_COW_N_LIFTS - requests to lift protection that fit in; a power of two. */
#define UMEM_COW_N_LIFTS 256

/**
 * struct umem_cow_lifts - swept pages that need their protection no longer, from the
 * owner to the thread. What does not fit in is lifted when somebody writes.
 */
struct umem_cow_lifts {
	struct umem_cow_run v[UMEM_COW_N_LIFTS];
	_Atomic uint64_t put;
	_Atomic uint64_t got;
};

/** struct umem_cow_held - a fault that waits until a change of the mappings is through. */
struct umem_cow_held {
	struct umem_cow_process *process;
	uint64_t addr;
	uint64_t since_ns;
};

/** UMEM_COW_MAX_HELD - more than these are woken, and fault again. */
#define UMEM_COW_MAX_HELD 1024

/**
 * struct umem_cow_place_state - where the serving thread runs.
 * @home: where it may run; @known: that is known.
 * @cpu: where it is bound to, or -1.
 * @tid, @run: who faulted last, and how often in a row.
 * @n_others: threads that took turns since.
 * @looked_tid, @looked_ns: of whom it was asked where it runs, and when.
 */
struct umem_cow_place_state {
	cpu_set_t home;
	bool known;
	int cpu;
	int tid;
	uint64_t run;
	uint64_t n_others;
	int looked_tid;
	uint64_t looked_ns;
};

/**
 * struct umem_cow_server - the serving thread's own.
 * @thread, @started: it.
 * @wake_fd: eventfd that wakes it.
 * @polls: the userfaultfds, and @wake_fd last.
 * @held, @n_held: faults that wait.
 * @next_addr, @next_process, @ahead: a writer who goes on there is going through memory.
 * @i_moved, @moved_at: process and address where it goes on copying what was moved.
 * @n_moved: pages that are MOVED.
 * @vec, @holes, @maps: scratch.
 * @checked_ns: when it was looked for new mappings of objects.
 * @place: where it runs.
 * @stats: the thread's part.
 */
struct umem_cow_server {
	pthread_t thread;
	bool started;
	int wake_fd;
	struct pollfd *polls;
	struct umem_cow_held held[UMEM_COW_MAX_HELD];
	size_t n_held;
	uint64_t next_addr;
	struct umem_cow_process *next_process;
	uint64_t ahead;
	size_t i_moved;
	uint64_t moved_at;
	_Atomic uint64_t n_moved;
	struct page_region vec[UMEM_COW_CHUNK_PAGES];
	struct umem_ranges holes;
	struct umem_maps maps;
	uint64_t checked_ns;
	struct umem_cow_place_state place;
	struct umem_cow_stats stats;
};

/**
 * struct umem_cow - see cow.h.
 * @v, @n: the members.
 * @parts, @n_parts, @parts_room: all of them.
 * @opened: blocks with open pages; before the moment.
 * @vec, @n_vec: scratch of the owner.
 * @guard_bit: PAGE_IS_GUARD, or 0 where the kernel does not know it.
 * @swaps: there is a swap area.
 * @giving: the last piece is of the ring.
 * @order: the owner's; @ack: what the thread is doing.
 * @section: odd while the thread handles a message.
 * @error: -errno that ended its service, or 0.
 * @overflow: a note could not be kept.
 * @wants_room: the thread waits for staging memory.
 * @n_asked, @n_checked: looks for new mappings of objects that the owner asked for, and
 *	the last one that was answered.
 * @shares: there is an object that is not swept.
 * @stopped: within the moment: nothing may be unregistered unnoticed.
 * @hot_until_ns: until then pages are copied within the moment.
 * @no_room, @no_peek, @slow_us: set by tests.
 * @n_protected, @n_hot, @moment_ns: for the statistics.
 */
struct umem_cow {
	struct umem_cow_options options;
	struct umem_cow_process *v;
	size_t n;
	struct umem_cow_part **parts;
	size_t n_parts;
	size_t parts_room;
	struct umem_cow_runs opened;
	struct page_region *vec;
	size_t n_vec;
	uint64_t guard_bit;
	bool swaps;
	bool stopped;
	bool giving;
	struct umem_cow_notes notes;
	struct umem_cow_ring ring;
	struct umem_cow_lifts lifts;
	struct umem_cow_sweep sweep;
	struct umem_cow_server server;
	_Atomic int order;
	_Atomic int ack;
	_Atomic uint64_t section;
	_Atomic int error;
	_Atomic bool overflow;
	_Atomic bool wants_room;
	_Atomic uint64_t n_asked;
	_Atomic uint64_t n_checked;
	_Atomic bool shares;
	uint64_t hot_until_ns;
	bool no_room;
	bool no_peek;
	uint32_t slow_us;
	uint64_t n_protected;
	uint64_t n_hot;
	uint64_t moment_ns;
};

/* cow_register.c: mappings, by the owner. */

/** umem_cow_forget - [@start, @end) shows nothing of the image any more. Return: 0 or -ENOMEM. */
int umem_cow_forget(struct umem_cow_process *process, uint64_t start, uint64_t end);

/**
 * umem_cow_register - register what is mapped, to be in the image, and not watched yet; what
 * cannot be is left to the caller.
 * @smaps: the flags of its mappings, or NULL.
 *
 * Return: 0, UMEM_GONE, -errno.
 */
int umem_cow_register(struct umem_cow *cow, struct umem_cow_process *process,
	const struct umem_smaps *smaps);

/**
 * umem_cow_adopt - watch and protect what is registered and not watched yet; the list of
 * mappings was read behind the registration. Return: 0, UMEM_GONE, -errno.
 */
int umem_cow_adopt(struct umem_cow *cow, struct umem_cow_process *process);

/** umem_cow_release - lift all protection and unregister everything. */
void umem_cow_release(const struct umem_cow_process *process);

/* cow_guard.c: protecting, by the owner. */

/** umem_cow_gone - its memory exists no longer. Return: UMEM_GONE. */
int umem_cow_gone(struct umem_cow_process *process);

/**
 * umem_cow_guard - protect what is populated in [@start, @end) of one mapping, with the blocks
 * around it, in steps, while everything runs. Return: 0, UMEM_GONE, -errno.
 */
int umem_cow_guard(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end);

/**
 * umem_cow_catch_up - everything is stopped: protect what is populated in [@start, @end), and
 * nothing else. Return: 0, UMEM_GONE, -errno.
 */
int umem_cow_catch_up(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end);

/**
 * umem_cow_protect - protect [@start, @end), all of it, in one call.
 * Return: 0, UMEM_GONE, -ENOENT: a part is not registered; -EAGAIN, -errno.
 */
int umem_cow_protect(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end);

/**
 * umem_cow_protect_run - protect pages, which are wanted, wherever they are seen; what is not
 * registered any more while everything runs is open afterwards. Return: 0, UMEM_GONE, -errno.
 */
int umem_cow_protect_run(struct umem_cow *cow, const struct umem_cow_run *run);

/** umem_cow_close - protect the open pages again. Return: 0, UMEM_GONE, -errno. */
int umem_cow_close(struct umem_cow *cow, struct umem_cow_runs *hot);

/* cow_object.c: shared memory, by object. */

/**
 * umem_cow_object_part - the part of the object behind @region.
 * Return: 0; -EACCES or another -errno: it cannot be opened; -ENOMEM.
 */
int umem_cow_object_part(struct umem_cow *cow, struct umem_cow_process *process,
	const struct umem_region *region, struct umem_cow_part **ret_part);

/**
 * umem_cow_object_show - [@start, @end) of @process shows pages of @part from @page on:
 * protect what it holds. Return: 0, UMEM_GONE, -errno.
 */
int umem_cow_object_show(struct umem_cow *cow, struct umem_cow_process *process,
	struct umem_cow_part *part, uint64_t start, uint64_t end, uint64_t page);

/** umem_cow_objects_sync - find and protect what all objects hold now. Return: 0, -errno. */
int umem_cow_objects_sync(struct umem_cow *cow);

/**
 * umem_cow_objects_check - by the serving thread: were objects mapped anew?
 * Return: could it be told?
 */
bool umem_cow_objects_check(struct umem_cow *cow);

/**
 * umem_cow_object_read - read pages of a shared object.
 * @lost: a byte for each page: 0, or the enum umem_cow_state of why it is lost.
 * Return: 0 or -errno.
 */
int umem_cow_object_read(const struct umem_cow_run *run, uint8_t *bytes, uint8_t *lost);

/* cow_serve.c, cow_copy.c: the serving thread. */

/** umem_cow_serve_start - start it in NOTE. Return: 0, -EAGAIN, -EMFILE. */
int umem_cow_serve_start(struct umem_cow *cow);

/** umem_cow_serve_end - end it and wait for it. */
void umem_cow_serve_end(struct umem_cow *cow);

/**
 * umem_cow_order - tell it what to do, and wait until it does.
 * Return: 0, -EAGAIN when it does not come to rest within a second; -errno of its failure.
 */
int umem_cow_order(struct umem_cow *cow, enum umem_cow_order order);

/** umem_cow_wake - let it look for work. */
void umem_cow_wake(struct umem_cow *cow);

/** umem_cow_awake - by the thread: it was woken, and will look. */
void umem_cow_awake(struct umem_cow *cow);

/** umem_cow_fail - its service ends here. */
void umem_cow_fail(struct umem_cow *cow, int error);

/**
 * umem_cow_lift - lift protection of [@start, @end) and wake who waits there.
 * Return: 0, also where nothing is registered any more; -EAGAIN, -ESRCH.
 */
int umem_cow_lift(struct umem_cow_process *process, uint64_t start, uint64_t end);

/** umem_cow_copy_fault - serve a fault behind the moment. Return: 0, -EAGAIN: hold it. */
int umem_cow_copy_fault(struct umem_cow *cow, struct umem_cow_process *process, uint64_t addr);

/** umem_cow_copy_range - copy what [@start, @end) shows and is not copied yet. */
void umem_cow_copy_range(struct umem_cow *cow, struct umem_cow_process *process, uint64_t start,
	uint64_t end);

/** umem_cow_may_copy_moved - was something moved, and is there room for it? */
bool umem_cow_may_copy_moved(const struct umem_cow *cow);

/** umem_cow_copy_moved - copy some of what was moved. */
void umem_cow_copy_moved(struct umem_cow *cow);

/** umem_cow_copy_event - apply an event behind the moment. */
void umem_cow_copy_event(struct umem_cow *cow, struct umem_cow_process *process,
	const struct uffd_msg *msg);

/** umem_cow_extent - how much is lifted along with @addr: at least its page. */
void umem_cow_extent(struct umem_cow *cow, struct umem_cow_process *process, uint64_t addr,
	struct umem_range *ret_range);

/**
 * umem_cow_intact - which pages of [@start, @end) are there and protected.
 * @ok: a byte for each page is set to 1, else 0.
 * Return: 0, -ESRCH, -errno.
 */
int umem_cow_intact(struct umem_cow_process *process, uint64_t start, uint64_t end,
	struct page_region *vec, size_t n_vec, uint8_t *ok);

/* cow_idle.c */

/** umem_cow_idle_ms - how long the thread may sleep until it has to be idle, as poll(2). */
int umem_cow_idle_ms(const struct umem_cow *cow);

/** umem_cow_idle - do some of what nobody waits for. */
void umem_cow_idle(struct umem_cow *cow);

/* cow_peek.c */

/**
 * umem_cow_peek - an event is pending: copy what is about to be discarded.
 * Return: how many threads wait for their event to be read, as far as is seen.
 */
size_t umem_cow_peek(struct umem_cow *cow, struct umem_cow_process *process);

/** umem_cow_peeks_deinit - close what it looks at. */
void umem_cow_peeks_deinit(struct umem_cow_peeks *peeks);

/* cow_place.c */

/** umem_cow_place_init - by the serving thread, when it begins. */
void umem_cow_place_init(struct umem_cow_place_state *place);

/** umem_cow_place_fault - thread @tid of process @pid faulted: go there, if it is the one. */
void umem_cow_place_fault(struct umem_cow_place_state *place, int pid, int tid, uint64_t now_ns);

/* cow_sweep.c */

/**
 * umem_cow_copy_hot - copy open pages within the moment, as long as there is time for it.
 * Return: 0; UMEM_AGAIN: not copied, protect them; UMEM_GONE, -errno.
 */
int umem_cow_copy_hot(struct umem_cow *cow, const struct umem_cow_run *run);

/** umem_cow_sweep_deinit - free what it owns. */
void umem_cow_sweep_deinit(struct umem_cow_sweep *sweep);

/* cow_result.c */

/** umem_cow_say_gone - note which process is gone, and how. */
void umem_cow_say_gone(const struct umem_cow *cow, struct umem_note *note);

#endif
