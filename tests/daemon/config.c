// SPDX-License-Identifier: LGPL-2.1-or-later
/* umemd.conf: what is taken, what is refused and by which words, and there and back. */
#include "daemon/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"

static void refused(const char *text, const char *words)
{
	struct umem_note note = { 0 };
	struct config config;

	config_defaults(&config);
	T_CHECK(config_parse(&config, "f", text, &note) == -EINVAL, "%s", text);
	T_CHECK(strstr(note.text, words), "%s", note.text);
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = (int)T_SYS(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	T_CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* The main file, then the others by name; the last word holds. */
static void drop_ins(void)
{
	char dir[] = "/tmp/umemd-config-XXXXXX", path[128], inner[160];
	struct umem_note note = { 0 };
	struct config config;

	T_CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/umemd.conf", dir);
	snprintf(inner, sizeof(inner), "%s.d", path);
	T_SYS(mkdir(inner, 0700));
	put(dir, "umemd.conf", "[Quota]\nTargets=1\nConnections=7\n");
	put(inner, "20-b.conf", "[Quota]\nTargets=3\n");
	put(inner, "10-a.conf", "[Quota]\nTargets=2\nUserTargets=5\n");
	put(inner, "30-c.conf.off", "nonsense");
	config_defaults(&config);
	T_OK(config_read(&config, path, &note));
	T_CHECK(config.targets == 3 && config.connections == 7 && config.user_targets == 5);
	put(inner, "40-d.conf", "[Quota]\nTarget=2\n");
	T_CHECK(config_read(&config, path, &note) == -EINVAL);
	T_CHECK(strstr(note.text, "40-d.conf:2: there is no key \"Target\" in [Quota]"), "%s",
		note.text);
	/* Of a rule any file may say more, but it must be about somebody in the end. */
	put(inner, "40-d.conf", "[Reclaim x]\nRate=1M\n");
	T_CHECK(config_read(&config, path, &note) == -EINVAL);
	note = (struct umem_note){ 0 };
	T_CHECK(config_read(&config, path, &note) == -EINVAL &&
		strstr(note.text, "[Reclaim x] needs Name, Cgroup or User"), "%s", note.text);
	put(inner, "50-e.conf", "[Reclaim x]\nName=y\n");
	config_defaults(&config);
	T_OK(config_read(&config, path, &note));
	T_CHECK(config.n_rules == 1 && config.rules[0].rate_bytes_s == 1u << 20);
	for (size_t i = 0; i < 5; i++) {
		static const char *const names[] = { "10-a.conf", "20-b.conf", "30-c.conf.off",
			"40-d.conf", "50-e.conf" };
		char file[256];

		snprintf(file, sizeof(file), "%s/%s", inner, names[i]);
		unlink(file);
	}
	unlink(path);
	rmdir(inner);
	rmdir(dir);
	T_CHECK(config_read(&config, path, NULL) == -ENOENT);
}

int main(void)
{
	UMEM_FREE char *once = NULL;
	UMEM_FREE char *twice = NULL;
	struct umem_note note = { 0 };
	struct config config, again;
	const struct config_rule *rule;
	size_t len;
	FILE *out;

	config_defaults(&config);
	T_OK(config_parse(&config, "f",
		"# comment\n\n[Daemon]\n  Socket = /run/x y/z \r\nSlowReader=1.5s\nLogLevel=debug\n"
		"AdministratorGroup=root\n[Metrics]\nListen=[::1]:9753\nShowTargets=0\n[Quota]\n"
		"; more\nTargets=12\n"
		"[Reclaim a b]\nName=redis*\nCgroup=/x*\nPolicy=age\nRefaultMax=0.25%\n"
		"Rate=2M\n"
		"[Reclaim c]\nUser=root\nDryRun=yes\nFloor=0\n[Reclaim a b]\nInterval=7s\n",
		&note));
	rule = config.rules;
	T_CHECK(config.n_rules == 2 && strcmp(rule->id, "a b") == 0 &&
		strcmp(rule->cgroup, "/x*") == 0 && rule->policy == CONFIG_AGE &&
		rule->uid == CONFIG_ANYBODY && rule->rate_bytes_s == 2u << 20 &&
		rule->refault_max_ppm_min == 2500 && rule->interval_ns == 7000000000);
	rule++;
	T_CHECK(rule->uid == 0 && rule->dry_run && rule->refault_max_ppm_min == 2000);
	T_CHECK(strcmp(config.socket, "/run/x y/z") == 0 && config.slow_reader_ns == 1500000000 &&
		config.log_level == 7 && config.admin_gid == 0 && config.targets == 12 &&
		strcmp(config.metrics, "[::1]:9753") == 0 && config.metrics_targets == 0);
	/* What it prints it reads, and prints the same. */
	out = open_memstream(&once, &len);
	config_print(&config, out);
	fclose(out);
	config_defaults(&again);
	T_OK(config_parse(&again, "f", once, &note));
	out = open_memstream(&twice, &len);
	config_print(&again, out);
	fclose(out);
	T_CHECK(strcmp(once, twice) == 0, "%s\n%s", once, twice);

	refused("Socket=/x", "f:1: there is no key \"Socket\" in []");
	refused("[Daemon]\nNothing=1", "f:2: there is no key \"Nothing\" in [Daemon]");
	refused("[Nothing]\nSocket=/x", "there is no key \"Socket\" in [Nothing]");
	refused("[Daemon]\nSocket=x", "Socket: \"x\" is not a path from the root on");
	refused("[Daemon]\nSlowReader=5", "\"5\" is not a time");
	refused("[Daemon]\nLogLevel=loud", "\"loud\" is not error, warning");
	refused("[Daemon]\nAdministratorGroup=no such", "is not a group");
	refused("[Worker]\nUser=no such", "is not a user");
	refused("[Metrics]\nListen=0.0.0.0:9753", "is not a path from the root on, 127.0.0.1");
	refused("[Metrics]\nShowTargets=-1", "is not auto, or a number");
	refused("[Quota]\nTargets=0", "\"0\" is not a number above 0");
	refused("[Quota]\nTargets=-1", "is not a number above 0");
	refused("[Quota]\nnonsense", "neither [section] nor key=value");
	refused("[Reclaim]\nName=x", "there is no key \"Name\" in [Reclaim]");
	refused("[Reclaim ]\nName=x", "a name of 1 to 31 bytes");
	refused("[Reclaim x]\nTargets=1", "there is no key \"Targets\" in [Reclaim x]");
	refused("[Reclaim x]\nPolicy=hope", "\"hope\" is not probe, age or pressure");
	refused("[Reclaim x]\nRefaultMax=101%", "is not a share");
	refused("[Reclaim x]\nRate=fast", "is not a size");
	refused("[Daemon x]\nSlowReader=1s", "there is no key");
	drop_ins();
	return 0;
}
