// SPDX-License-Identifier: LGPL-2.1-or-later
/* The event loop, on libevent. */
#include "daemon/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "lib/base/attr.h"

#define MAX_SIGNALS 8

/* A signal that is heard. */
struct heard {
	struct event *event;
	void (*heard)(void *user, int signo);
	void *user;
};

struct loop {
	struct event_base *base;
	struct heard signals[MAX_SIGNALS];
	size_t n_signals;
};

struct loop_watch {
	struct loop *loop;
	struct event *event;
	int fd;
	void (*ready)(void *user, unsigned what);
	void *user;
};

struct loop_timer {
	struct event *event;
	void (*due)(void *user);
	void *user;
};

int loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	struct event_config *config = event_config_new();

	/* Timers are as exact as the clock, not in whole milliseconds. */
	if (config)
		event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	if (loop && config)
		loop->base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	if (!loop || !loop->base) {
		free(loop);
		return -ENOMEM;
	}
	*ret_loop = loop;
	return 0;
}

struct loop *loop_free(struct loop *loop)
{
	if (!loop)
		return NULL;
	for (size_t i = 0; i < loop->n_signals; i++)
		event_free(loop->signals[i].event);
	event_base_free(loop->base);
	free(loop);
	return NULL;
}

struct event_base *loop_base(const struct loop *loop)
{
	return loop->base;
}

int loop_run(struct loop *loop)
{
	return event_base_dispatch(loop->base) < 0 ? -EIO : 0;
}

void loop_stop(struct loop *loop)
{
	event_base_loopbreak(loop->base);
}

static void on_ready(evutil_socket_t fd, short what, void *user)
{
	struct loop_watch *watch = user;

	watch->ready(watch->user, (what & EV_READ ? LOOP_READ : 0) |
			(what & EV_WRITE ? LOOP_WRITE : 0));
}

int loop_watch_new(struct loop *loop, int fd, void (*ready)(void *user, unsigned what),
	void *user, struct loop_watch **ret_watch)
{
	struct loop_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return -ENOMEM;
	*watch = (struct loop_watch){ .loop = loop, .fd = fd, .ready = ready, .user = user };
	watch->event = event_new(loop->base, fd, EV_PERSIST, on_ready, watch);
	if (!watch->event) {
		free(watch);
		return -ENOMEM;
	}
	*ret_watch = watch;
	return 0;
}

void loop_watch_for(struct loop_watch *watch, unsigned what)
{
	short events = (short)((what & LOOP_READ ? EV_READ : 0) |
		(what & LOOP_WRITE ? EV_WRITE : 0));
	short now = (short)(event_get_events(watch->event) & (EV_READ | EV_WRITE));
	bool pending = event_pending(watch->event, EV_READ | EV_WRITE, NULL) != 0;

	if (pending ? now == events : events == 0)
		return;
	event_del(watch->event);
	if (events == 0)
		return;
	event_assign(watch->event, watch->loop->base, watch->fd, events | EV_PERSIST, on_ready,
		watch);
	event_add(watch->event, NULL);
}

struct loop_watch *loop_watch_free(struct loop_watch *watch)
{
	if (!watch)
		return NULL;
	event_free(watch->event);
	free(watch);
	return NULL;
}

static void on_due(evutil_socket_t fd, short what, void *user)
{
	struct loop_timer *timer = user;

	timer->due(timer->user);
}

int loop_timer_new(struct loop *loop, void (*due)(void *user), void *user,
	struct loop_timer **ret_timer)
{
	struct loop_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return -ENOMEM;
	*timer = (struct loop_timer){ .due = due, .user = user };
	timer->event = event_new(loop->base, -1, 0, on_due, timer);
	if (!timer->event) {
		free(timer);
		return -ENOMEM;
	}
	*ret_timer = timer;
	return 0;
}

void loop_timer_set(struct loop_timer *timer, uint64_t ns)
{
	struct timeval after = {
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_usec = (suseconds_t)(ns % 1000000000u / 1000),
	};

	if (after.tv_sec == 0 && after.tv_usec == 0)
		after.tv_usec = 1;
	event_add(timer->event, &after);
}

void loop_timer_clear(struct loop_timer *timer)
{
	event_del(timer->event);
}

bool loop_timer_is_set(const struct loop_timer *timer)
{
	return event_pending(timer->event, EV_TIMEOUT, NULL) != 0;
}

struct loop_timer *loop_timer_free(struct loop_timer *timer)
{
	if (!timer)
		return NULL;
	event_free(timer->event);
	free(timer);
	return NULL;
}

static void on_signal(evutil_socket_t signo, short what, void *user)
{
	struct heard *heard = user;

	heard->heard(heard->user, signo);
}

int loop_on_signal(struct loop *loop, int signo, void (*heard)(void *user, int signo),
	void *user)
{
	struct heard *at = &loop->signals[loop->n_signals];

	if (loop->n_signals == MAX_SIGNALS)
		return -ENOMEM;
	*at = (struct heard){ .heard = heard, .user = user };
	at->event = evsignal_new(loop->base, signo, on_signal, at);
	if (!at->event || event_add(at->event, NULL) < 0)
		return -ENOMEM;
	loop->n_signals++;
	return 0;
}
