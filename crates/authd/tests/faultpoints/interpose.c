/* Fault points for tests. This library kills a program at one of its system calls, or lets the call
 * fail.
 *
 * A seccomp filter traps the calls of the table below, whether the program makes them through libc
 * or directly. The SIGSYS handler counts the calls on watched files, and makes the call itself. The
 * handler can kill the program before or after a call, write half of the data first, or let the
 * call fail. clock_gettime(CLOCK_REALTIME) never enters the kernel, so it is replaced as a libc
 * function.
 *
 * Environment:
 *   FAULTPOINTS_CONTROL  a file with one line: run mode classes n errno
 *   FAULTPOINTS_TRACE    a file; every watched call is appended: run index class name path [!]
 *   FAULTPOINTS_UNDER    path prefixes, separated by colons; calls on other files are not watched
 *   FAULTPOINTS_CLOCK    a file with the seconds to add to the wall clock, and to the time since the
 *                        start of the machine (CLOCK_BOOTTIME). A new value takes effect when the
 *                        program reads the clock; its timer of the wall clock is then cancelled.
 * Modes:
 *   off | count | kill (before call n) | after (kill after call n)
 *   | tear (kill in the middle of write n) | error (call n fails)
 *   | from (call n and all later ones fail)
 * Only calls whose class is in `classes` are counted. A new value of `run` resets the count.
 *
 * A program that the watched one starts cannot run under the filter: SIGSYS ends it. fsync and
 * fdatasync of watched files do nothing: these tests kill processes, and the kernel continues.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* The sixth argument of a call that the handler makes: the filter allows it. No trapped call has
 * six. */
#define PASS 0x6661756c74L
#define RAW(nr, a, b, c, d, e) \
    syscall((long)(nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), PASS)

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#define ARG(n) (context->uc_mcontext.gregs[(const int[]){REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8}[n]])
#define RESULT (context->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#define ARG(n) (context->uc_mcontext.regs[n])
#define RESULT (context->uc_mcontext.regs[0])
#else
#error "the fault points support x86_64 and aarch64"
#endif

/* How a call refers to its file: by descriptor, by path, or by a directory and a path, in
 * arguments 0 and 1. */
enum by { FD, PATH, AT, BUS, TIMER };

/* Classes: o open to read, c open to write, d data, f fsync, m make or move a name, u unlink, p
 * permissions, s stat, r read, l list a directory, b send to the bus, v receive from the bus. */
static const struct call { int nr; enum by by; char class; const char *name; } CALLS[] = {
#ifdef SYS_open
    {SYS_open, PATH, 'o', "open"},      {SYS_creat, PATH, 'c', "creat"},
    {SYS_rename, PATH, 'm', "rename"},  {SYS_mkdir, PATH, 'm', "mkdir"},
    {SYS_link, PATH, 'm', "link"},      {SYS_symlink, PATH, 'm', "symlink"},
    {SYS_unlink, PATH, 'u', "unlink"},  {SYS_rmdir, PATH, 'u', "rmdir"},
    {SYS_chmod, PATH, 'p', "chmod"},    {SYS_stat, PATH, 's', "stat"},
    {SYS_lstat, PATH, 's', "lstat"},    {SYS_access, PATH, 's', "access"},
#endif
#ifdef SYS_renameat
    {SYS_renameat, AT, 'm', "rename"},
#endif
    {SYS_openat, AT, 'o', "open"},      {SYS_renameat2, AT, 'm', "rename"},
    {SYS_mkdirat, AT, 'm', "mkdir"},    {SYS_linkat, AT, 'm', "link"},
    {SYS_unlinkat, AT, 'u', "unlink"},  {SYS_fchmodat, AT, 'p', "chmod"},
    {SYS_newfstatat, AT, 's', "stat"},  {SYS_statx, AT, 's', "stat"},
    {SYS_faccessat, AT, 's', "access"}, {SYS_truncate, PATH, 'd', "truncate"},
    {SYS_write, FD, 'd', "write"},      {SYS_pwrite64, FD, 'd', "pwrite"},
    {SYS_writev, FD, 'd', "writev"},    {SYS_ftruncate, FD, 'd', "ftruncate"},
    {SYS_fsync, FD, 'f', "fsync"},      {SYS_fdatasync, FD, 'f', "fdatasync"},
    {SYS_fchmod, FD, 'p', "fchmod"},    {SYS_fstat, FD, 's', "fstat"},
    {SYS_read, FD, 'r', "read"},        {SYS_pread64, FD, 'r', "pread"},
    {SYS_getdents64, FD, 'l', "list"},  {SYS_sendmsg, BUS, 'b', "sendmsg"},
    {SYS_recvmsg, BUS, 'v', "recvmsg"}, {SYS_timerfd_settime, TIMER, 't', "timerfd_settime"},
};
enum { N_CALLS = sizeof CALLS / sizeof *CALLS };

static char control[4096], trace[4096], under[8192], clock_file[4096];
static atomic_flag busy = ATOMIC_FLAG_INIT;
static long run, counted;

/* The descriptor of the wall-clock timer, and whether its cancellation is still to be reported. */
static atomic_int timer = -1, clock_was_set;
static atomic_long offset_before;

/* Reads a small file without being counted. */
static int read_small_file(const char *path, char *text, size_t size) {
    long fd = RAW(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0, 0);
    long length = fd < 0 ? 0 : RAW(SYS_read, fd, text, size - 1, 0, 0);
    if (fd >= 0) RAW(SYS_close, fd, 0, 0, 0, 0);
    text[length > 0 ? length : 0] = 0;
    return length > 0;
}

/* The seconds to add to the wall clock, and to the time since the start of the machine. */
static void offsets(long *wall, long *boot) {
    char text[64];
    *wall = *boot = 0;
    if (*clock_file && read_small_file(clock_file, text, sizeof text)) sscanf(text, "%ld %ld", wall, boot);
}

/* The path of a call; empty if it has none. */
static void path_of(const struct call *call, ucontext_t *context, char *path, size_t size) {
    char link[64];
    long fd = (long)ARG(0);
    const char *name = call->by == PATH ? (const char *)ARG(0) : call->by == AT ? (const char *)ARG(1) : NULL;
    *path = 0;
    if (call->by == BUS) { snprintf(path, size, "bus"); return; }
    if (name && (*name == '/' || call->by == PATH)) { snprintf(path, size, "%s", name); return; }
    if (fd < 0) return;
    snprintf(link, sizeof link, "/proc/self/fd/%ld", fd);
    long length = RAW(SYS_readlinkat, AT_FDCWD, link, path, size - 1, 0);
    path[length > 0 ? length : 0] = 0;
    if (name && *name) { strncat(path, "/", size - strlen(path) - 1); strncat(path, name, size - strlen(path) - 1); }
}

static int watched(const char *path) {
    for (const char *prefix = under; *prefix;) {
        size_t length = strcspn(prefix, ":");
        if (length && !strncmp(path, prefix, length) && (path[length] == '/' || !path[length])) return 1;
        prefix += length + (prefix[length] == ':');
    }
    return 0;
}

static void kill_self(void) {
    RAW(SYS_kill, getpid(), SIGKILL, 0, 0, 0);
    for (;;) RAW(SYS_ppoll, 0, 0, 0, 0, 0);
}

static long do_call(const struct call *call, ucontext_t *context) {
    return RAW(call->nr, ARG(0), ARG(1), ARG(2), ARG(3), ARG(4));
}

/* Counts a call, writes it to the trace, and returns the action. Sets the error of a call that
 * fails. */
enum action { PASS_CALL, KILL_BEFORE, KILL_AFTER, TEAR, FAIL };

static enum action decide(const struct call *call, char class, const char *path, int *error) {
    char line[256] = "", mode[16] = "", classes[32] = "", note[4400];
    long now = 0, n = 0;
    if (!read_small_file(control, line, sizeof line)) return PASS_CALL;
    if (sscanf(line, "%ld %15s %31s %ld %d", &now, mode, classes, &n, error) != 5 || !strcmp(mode, "off"))
        return PASS_CALL;
    if (now != run) { run = now; counted = 0; }
    int counts = strchr(classes, class) != NULL;
    long index = counts ? ++counted : 0;
    enum action action = PASS_CALL;
    if (counts && !strcmp(mode, "from") && index >= n) action = FAIL;
    if (counts && index == n) {
        if (!strcmp(mode, "kill")) action = KILL_BEFORE;
        if (!strcmp(mode, "after")) action = KILL_AFTER;
        if (!strcmp(mode, "tear")) action = TEAR;
        if (!strcmp(mode, "error")) action = FAIL;
    }
    int length = snprintf(note, sizeof note, "%ld %ld %c %s %s%s\n", run, index, class, call->name, path,
                          action == PASS_CALL ? "" : " !");
    long fd = RAW(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600, 0);
    if (fd >= 0) { RAW(SYS_write, fd, note, length, 0, 0); RAW(SYS_close, fd, 0, 0, 0, 0); }
    if (action == KILL_BEFORE) kill_self();
    return action;
}

/* Sets a timer to the program's time; the kernel's clocks have no offset. The timer of the wall
 * clock has TFD_TIMER_CANCEL_ON_SET. If the program's clock was set, the call fails with
 * ECANCELED. */
static long set_timer(ucontext_t *context) {
    struct itimerspec moved, *requested = (struct itimerspec *)ARG(2);
    long wall, boot, of_wall = ARG(1) & TFD_TIMER_CANCEL_ON_SET;
    if (!(ARG(1) & TFD_TIMER_ABSTIME)) return RAW(SYS_timerfd_settime, ARG(0), ARG(1), ARG(2), ARG(3), 0);
    moved = *requested;
    offsets(&wall, &boot);
    /* Zero would switch the timer off. */
    if (moved.it_value.tv_sec && (moved.it_value.tv_sec -= of_wall ? wall : boot) < 1) moved.it_value.tv_sec = 1;
    if (!of_wall) return RAW(SYS_timerfd_settime, ARG(0), ARG(1), &moved, ARG(3), 0);
    timer = (int)ARG(0);
    long result = RAW(SYS_timerfd_settime, ARG(0), ARG(1), &moved, ARG(3), 0);
    if (result || !atomic_exchange(&clock_was_set, 0)) return result;
    errno = ECANCELED;
    return -1;
}

/* Lets the timer of the wall clock expire at once, if the offset has changed: the kernel cancels
 * it then. */
static void cancel_timer(long now) {
    struct itimerspec at_once = {.it_value = {.tv_sec = 1}};
    if (atomic_exchange(&offset_before, now) == now || timer < 0) return;
    clock_was_set = 1;
    RAW(SYS_timerfd_settime, timer, TFD_TIMER_ABSTIME, &at_once, 0, 0);
}

static long handle(const struct call *call, ucontext_t *context) {
    char path[4096], class = call->class;
    int error = EIO;
    if (call->by == TIMER) return *clock_file ? set_timer(context) : do_call(call, context);
    if (call->nr == SYS_read && (int)ARG(0) == timer && atomic_exchange(&clock_was_set, 0)) {
        do_call(call, context);
        errno = ECANCELED;
        return -1;
    }
    path_of(call, context, path, sizeof path);
    if (call->by != BUS && !watched(path)) return do_call(call, context);
    if (class == 'o') {
        long flags = call->by == AT ? (long)ARG(2) : (long)ARG(1);
        if (flags & (O_CREAT | O_TRUNC) || (flags & O_ACCMODE) != O_RDONLY) class = 'c';
    }
    while (atomic_flag_test_and_set(&busy)) RAW(SYS_sched_yield, 0, 0, 0, 0, 0);
    enum action action = decide(call, class, path, &error);
    int halves = call->nr == SYS_write && (action == TEAR || (action == FAIL && error == ENOSPC));
    if (halves) RAW(SYS_write, ARG(0), ARG(1), ARG(2) / 2, 0, 0);
    if (action == TEAR) kill_self();
    if (action == KILL_AFTER) { do_call(call, context); kill_self(); }
    atomic_flag_clear(&busy);
    if (action == FAIL) { errno = error; return -1; }
    return class == 'f' ? 0 : do_call(call, context);
}

static void on_sigsys(int signal, siginfo_t *info, void *of) {
    ucontext_t *context = of;
    int kept = errno;
    (void)signal;
    for (int i = 0; i < N_CALLS; i++)
        if (CALLS[i].nr == info->si_syscall) {
            long result = handle(&CALLS[i], context);
            RESULT = result == -1 ? -errno : result;
            break;
        }
    errno = kept;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_BOOTTIME) && *clock_file) {
        long wall, boot;
        offsets(&wall, &boot);
        cancel_timer(wall);
        at->tv_sec += id == CLOCK_REALTIME ? wall : boot;
    }
    return result;
}

/* Keeps SIGSYS unblocked: a trapped call in a thread that blocks it would kill the program. GLib's
 * worker threads block all signals. */
static int mask(const char *name, int how, const sigset_t *set, sigset_t *old) {
    int (*real)(int, const sigset_t *, sigset_t *) =
        (int (*)(int, const sigset_t *, sigset_t *))dlsym(RTLD_NEXT, name);
    sigset_t allowed;
    if (set && how != SIG_UNBLOCK) {
        allowed = *set;
        sigdelset(&allowed, SIGSYS);
        set = &allowed;
    }
    return real(how, set, old);
}

int pthread_sigmask(int how, const sigset_t *set, sigset_t *old) { return mask("pthread_sigmask", how, set, old); }
int sigprocmask(int how, const sigset_t *set, sigset_t *old) { return mask("sigprocmask", how, set, old); }

static void copy_env(char *text, size_t size, const char *variable) {
    const char *value = getenv(variable);
    snprintf(text, size, "%s", value ? value : "");
}

__attribute__((constructor)) static void start(void) {
    struct sock_filter filter[2 * N_CALLS + 16];
    int at = 0;
    copy_env(control, sizeof control, "FAULTPOINTS_CONTROL");
    copy_env(trace, sizeof trace, "FAULTPOINTS_TRACE");
    copy_env(under, sizeof under, "FAULTPOINTS_UNDER");
    copy_env(clock_file, sizeof clock_file, "FAULTPOINTS_CLOCK");
    if (!*control && !*clock_file) return;
    long wall, boot;
    offsets(&wall, &boot);
    offset_before = wall;
#define ADD(...) filter[at++] = (struct sock_filter)__VA_ARGS__
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    for (int i = 0; i < N_CALLS; i++)
        ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALLS[i].nr, (unsigned char)(N_CALLS - i), 0));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)PASS, 0, 1));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
    struct sock_fprog program = {(unsigned short)at, filter};
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_RESTART};
    if (sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) {
        perror("faultpoints: the seccomp filter cannot be installed");
        _exit(86);
    }
}
